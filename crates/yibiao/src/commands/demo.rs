//! `yibiao demo`: a synthetic city through every stage in this process, with a report at the end.

mod scoring;
mod sources;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;
use yibiao_broker::Broker;
use yibiao_connectors::Mode;
use yibiao_serve::Metrics;
use yibiao_synth::{Plan, write_city};

use super::{feed::Pipelines, synth::PlanArgs};
use crate::{
    config::{Config, Serve, Stage},
    pipeline::Pipeline,
    progress::{Line, grouped},
    report,
};

/// A folder with this file in it was made by a demo, and may be cleared by the next one.
const MARK: &str = ".yibiao-demo";

/// Make a synthetic city, run everything on it in this process, and report.
#[derive(Debug, clap::Args)]
pub struct Demo {
    #[command(flatten)]
    plan: PlanArgs,

    #[command(flatten)]
    pipelines: Pipelines,

    /// Where the city, the state, the tables and the deliveries are kept. An earlier demo's folder is cleared.
    #[arg(long, default_value = "data/demo")]
    data: PathBuf,

    /// Keep serving SQL, metrics and the status page when all is done.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub async fn run(self) -> Result<()> {
        let plan = self.plan.plan();
        prepare(&self.data)?;
        let figures = self.keep.then(Metrics::install).transpose()?;
        let mut line = Line::default();

        eprintln!("making a city of {} dwellings (seed {}) …", grouped(plan.dwellings.into()), plan.seed);
        let began = Instant::now();
        let city_dir = self.data.join("city");
        let city = {
            let (plan, dir) = (plan.clone(), city_dir.clone());
            tokio::task::spawn_blocking(move || {
                let mut line = Line::default();
                let report = write_city(&plan, &dir, |step| {
                    line.show(&format!("{} {}/{}", step.what, step.done, step.of));
                });
                line.clear();
                report
            })
            .await??
        };
        eprintln!("{city}\nmade in {:.1} s", began.elapsed().as_secs_f64());

        let broker = Broker::start(yibiao_broker::Config::new(self.data.join("broker"))).await?;
        eprintln!(
            "embedded broker at {}: for trying and testing only; production runs on Apache Kafka",
            broker.bootstrap()
        );
        let config = self.config(&broker.bootstrap())?;
        let sources = sources::open(config, &city_dir).await?;

        let began = Instant::now();
        let mut pipeline = Pipeline::open(
            sources.config.clone(),
            &[Stage::Connect, Stage::Normalise, Stage::Fusion, Stage::Deliver],
            Mode::Once,
        )
        .await?;
        let status = pipeline.status();
        let gazetteer = line.while_working(|| status.line(), pipeline.run_to_end()).await?;
        let gazetteer = gazetteer.context("the demo builds a gazetteer")?;
        let took = began.elapsed();

        self.report(&pipeline, &plan, &city_dir, took, &gazetteer)?;
        sources.stop().await;
        if let Some(figures) = figures {
            let shutdown = CancellationToken::new();
            let _ends_with_the_demo = shutdown.clone().drop_guard();
            figures.serve(pipeline.config.serve.metrics, shutdown).await?;
            pipeline.serve(super::until_stopped()).await?;
        }
        drop(pipeline);
        broker.stop().await?;
        Ok(())
    }

    fn config(&self, bootstrap: &str) -> Result<Config> {
        Ok(Config {
            data: self.data.clone(),
            lake: None,
            pipelines: self.pipelines.pipelines.clone(),
            stages: Stage::ALL.to_vec(),
            kafka: yibiao_topics::ClientConfig::at(bootstrap),
            topics: yibiao_topics::Layout::default(),
            sources: Default::default(),
            normalise: Default::default(),
            fusion: Default::default(),
            project: Default::default(),
            serve: Serve::default(),
        })
    }

    fn report(
        &self,
        pipeline: &Pipeline,
        plan: &Plan,
        city: &Path,
        took: Duration,
        gazetteer: &yibiao_normalise::GazetteerReport,
    ) -> Result<()> {
        let accounting = pipeline.accounting.as_ref().context("the demo normalises")?;
        println!("\n== Accounting\n{}", report::accounting(&accounting.feeds()));
        println!(
            "\ngazetteer {}: {} standard addresses, {} names",
            gazetteer.version,
            grouped(gazetteer.standard_addresses),
            grouped(gazetteer.name_changes)
        );
        let scores = scoring::score(&pipeline.shards, city, plan)?;
        println!("\n== Addresses matched, against the truth (which no stage reads)\n{}", scores.matches);
        println!("\n== Warnings, against the truth\n{}", scores.warnings);
        println!("{}", scores.silence);
        println!("\n== Some warnings in words");
        for warning in scoring::examples(&pipeline.shards)? {
            println!("{warning}\n");
        }
        let received = accounting.total().received;
        let seconds = took.as_secs_f64();
        println!(
            "== {} records in {seconds:.1} s, {} a second, on {} cores; peak memory {} MB",
            grouped(received),
            grouped((received as f64 / seconds) as u64),
            std::thread::available_parallelism().map_or(1, usize::from),
            report::peak_memory_bytes() >> 20
        );
        let (lake, deliveries) = (&pipeline.layout.lake, &pipeline.layout.deliveries);
        println!(
            "\nfused tables (Delta): {}\ncentres' tables (Delta): {}",
            lake.display(),
            deliveries.display()
        );
        let program = std::env::args().next().unwrap_or_else(|| "yibiao".into());
        println!("\nTry:");
        for query in EXAMPLES {
            println!("  {program} sql --lake {} \"{query}\"", lake.display());
        }
        if self.keep {
            let serve = Serve::default();
            println!(
                "  psql -h {} -p {} -U yibiao -d yibiao\n\nstatus page: http://{}/   (Ctrl-C ends)",
                serve.sql.ip(),
                serve.sql.port(),
                serve.status
            );
        } else {
            println!("\n`demo --keep` leaves SQL for psql, the status page and metrics running.");
        }
        Ok(())
    }
}

/// What a newcomer may ask first.
const EXAMPLES: [&str; 3] = [
    "select county, count(*) as firing from warnings where state <> 'cleared' group by county order by firing desc",
    "select address, area_m2, rooms, registered_count, water_m3_30d, electricity_kwh_30d from places where is_rental and level = 'dwelling' order by water_m3_30d desc nulls last limit 10",
    "select match_reason, count(*) from fact_water group by match_reason",
];

/// An empty folder: new, or that of an earlier demo.
fn prepare(data: &Path) -> Result<()> {
    crate::in_use::refuse_half_done(data)?;
    if data.exists() {
        let is_empty = std::fs::read_dir(data)?.next().is_none();
        if !is_empty && !data.join(MARK).exists() {
            bail!(
                "{} is not empty and was not made by a demo: give another folder with --data",
                data.display()
            );
        }
        std::fs::remove_dir_all(data).with_context(|| format!("clearing {}", data.display()))?;
    }
    std::fs::create_dir_all(data).with_context(|| format!("making {}", data.display()))?;
    std::fs::write(data.join(MARK), "made by `yibiao demo`; the next one clears this folder\n")?;
    Ok(())
}
