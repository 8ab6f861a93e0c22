//! The departments' own systems: files, a topic and a table.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prost::Message;
use tokio_postgres::NoTls;
use yibiao_synth::HazardReport;
use yibiao_topics::{Cleanup, Client, ClientConfig, Outgoing, TopicSpec};

use crate::{
    script::{self, Dwelling, Statement, Step, date},
    servers::Postgres,
};

pub const HAZARDS: &str = "grid.hazards.v1";
const FILES: [&str; 3] = ["police/standard-addresses", "utilities/water-readings", "justice/mediation-cases"];
pub const TABLE: &str = "housing_registrations";
const NOON_IN_CHINA_MS: i64 = 4 * 3_600_000;
const DAY_MS: i64 = 86_400_000;

pub struct Departments {
    sources: PathBuf,
    client: Client,
    files: u32,
}

impl Departments {
    /// Fills the police's standard addresses, makes the grid's topic and the housing office's table.
    pub async fn open(dir: &Path, bootstrap: &str, postgres: &Postgres, city: &[Dwelling]) -> Result<Self> {
        let sources = dir.join("sources");
        for feed in FILES {
            std::fs::create_dir_all(sources.join(feed))?;
        }
        dump_cases_in_full(dir)?;
        let client = Client::new(&ClientConfig::at(bootstrap))?;
        let cleanup = Cleanup::Delete { retention: None };
        client
            .ensure(&[TopicSpec {
                name: HAZARDS.into(),
                partitions: 2,
                replication: 3,
                cleanup,
                max_record_bytes: None,
            }])
            .await?;
        let table = format!(
            "drop table if exists {TABLE}; create table {TABLE} (registration_id text primary key, address text, \
             area_m2 numeric, rooms int, is_rental boolean, registered_count int, valid_from date not null, \
             updated_at timestamptz not null default clock_timestamp(), landlord_id_card text, landlord_phone text)"
        );
        let departments = Self { sources, client, files: 0 };
        departments.register(city, "full-0001.csv", |dwelling| !script::is_late(dwelling))?;
        departments.execute(postgres, &table).await?;
        Ok(departments)
    }

    async fn execute(&self, postgres: &Postgres, statements: &str) -> Result<()> {
        let (client, connection) = tokio_postgres::connect(&postgres.url(), NoTls).await?;
        let connection = tokio::spawn(connection);
        client.batch_execute(statements).await?;
        drop(client);
        connection.await?.context("the connection to PostgreSQL")
    }

    /// The police's rows of some dwellings, as a file.
    fn register(&self, city: &[Dwelling], name: &str, which: impl Fn(usize) -> bool) -> Result<()> {
        let rows = city.iter().enumerate().filter(|(n, _)| which(*n)).map(|(_, dwelling)| dwelling.row());
        let text = format!("{}\n{}\n", script::STANDARD_ADDRESSES, rows.collect::<Vec<_>>().join("\n"));
        self.place("police/standard-addresses", name, text.as_bytes())
    }

    /// The police registers the rest of its dwellings.
    pub fn register_late(&self, city: &[Dwelling]) -> Result<()> {
        self.register(city, "increment-0002.csv", script::is_late)
    }

    /// A file that appears whole.
    fn place(&self, feed: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let aside = self.sources.join("aside");
        std::fs::write(&aside, bytes)?;
        Ok(std::fs::rename(aside, self.sources.join(feed).join(name))?)
    }

    /// A full dump of the cases.
    fn dump_cases(&self, step: &Step, city: &[Dwelling]) -> Result<()> {
        let Some(cases) = &step.dump else { return Ok(()) };
        let line = |case: &script::Case| {
            let (day, address) = (date(case.day), city[case.dwelling].address());
            format!(
                "{{\"case_no\":\"RM{:06}\",\"category\":\"邻里纠纷\",\"accepted_at\":\"{day}T09:00:00\",\
                 \"closed_at\":null,\"address\":\"{address}\",\"outcome\":null}}\n",
                case.number
            )
        };
        let text: String = cases.iter().map(line).collect();
        self.place("justice/mediation-cases", &format!("full-{:04}.jsonl", self.files), text.as_bytes())
    }

    /// One step's records, each by its own department's way.
    pub async fn send(&mut self, step: &Step, city: &[Dwelling], postgres: &Postgres) -> Result<()> {
        self.write_readings(step, city)?;
        self.dump_cases(step, city)?;
        self.report_hazards(step, city).await?;
        let rows: Vec<String> = step
            .statements
            .iter()
            .filter_map(|s| match s {
                Statement::Registration { number, dwelling, rooms, is_rental, people } => Some(format!(
                    "insert into {TABLE} values ('FW{number:06}', '{}', 50, {rooms}, {is_rental}, {people}, '{}', \
                     clock_timestamp(), 'CANARY-card', 'CANARY-phone') on conflict (registration_id) do update set \
                     address = excluded.address, rooms = excluded.rooms, is_rental = excluded.is_rental, \
                     registered_count = excluded.registered_count, updated_at = excluded.updated_at;",
                    city[*dwelling].address(),
                    date(19_000 + *number as i32),
                )),
                _ => None,
            })
            .collect();
        if rows.is_empty() { Ok(()) } else { self.execute(postgres, &rows.concat()).await }
    }

    /// A file that appears whole, in the department's own encoding.
    fn write_readings(&mut self, step: &Step, city: &[Dwelling]) -> Result<()> {
        let lines: Vec<String> = step
            .statements
            .iter()
            .filter_map(|s| match s {
                Statement::Water { meter, day, dwelling, hundredths } => Some(format!(
                    "W{meter:06},{},{},{}.{:02},正常",
                    city[*dwelling].address(),
                    date(*day),
                    hundredths / 100,
                    hundredths % 100
                )),
                Statement::Refused { line, .. } => Some(line.clone()),
                _ => None,
            })
            .collect();
        self.files += 1;
        let text = format!("{}\n{}\n", script::WATER, lines.join("\n"));
        let name = format!("day-{:04}.csv", self.files);
        self.place("utilities/water-readings", &name, &encoding_rs::GBK.encode(&text).0)
    }

    async fn report_hazards(&self, step: &Step, city: &[Dwelling]) -> Result<()> {
        let producer = self.client.producer()?;
        for statement in &step.statements {
            let Statement::Hazard { report, day, dwelling, category, severity } = statement else { continue };
            let report_id = format!("HZ{report:06}");
            let message = HazardReport {
                report_id: report_id.clone(),
                category: (*category).to_owned(),
                place_text: city[*dwelling].address(),
                observed_at: i64::from(*day) * DAY_MS + NOON_IN_CHINA_MS,
                severity: *severity,
                note: String::new(),
            };
            let value = message.encode_to_vec();
            let (key, value) = (Some(report_id.as_bytes()), Some(value.as_slice()));
            producer.send(Outgoing {
                topic: HAZARDS,
                partition: None,
                key,
                value,
                headers: &[],
                timestamp_ms: None,
            })?;
        }
        Ok(producer.flush().await?)
    }

    /// The program's configuration for these sources.
    pub fn config(&self, dir: &Path, bootstrap: &str, postgres: &Postgres) -> String {
        let mut text = format!(
            "data = {:?}\npipelines = {:?}\nstages = [\"connect\", \"normalise\", \"fusion\", \"deliver\"]\n[kafka]\nbootstrap = {bootstrap:?}\n\
             [topics]\nreplication = 3\n[normalise]\nbatch_records_max = 50\ngazetteer_settled = \"300ms\"\n\
             gazetteer_pause = \"1s\"\n",
            dir.join("data"),
            dir.join("pipelines"),
        );
        for feed in FILES {
            let path = self.sources.join(feed);
            text.push_str(&format!(
                "[sources.{feed:?}]\ntype = \"file\"\npath = {path:?}\nsettle = \"200ms\"\n"
            ));
        }
        text.push_str(&format!(
            "[sources.\"police/housing-registrations\"]\ntype = \"postgres\"\nurl = {:?}\ntable = {TABLE:?}\n\
             [sources.\"grid/hazard-reports\"]\ntype = \"kafka\"\nbootstrap = {bootstrap:?}\ntopic = {HAZARDS:?}\n",
            postgres.url()
        ));
        text
    }
}

/// The project's pipelines beside the seed's data, but that the cases come as full dumps.
fn dump_cases_in_full(dir: &Path) -> Result<()> {
    let contract = dir.join("pipelines/feeds/justice/mediation-cases.odcs.yaml");
    let text = std::fs::read_to_string(&contract)?;
    let ingest = "      form: json\n";
    ensure!(text.contains(ingest), "{} has no form", contract.display());
    let text = text.replace(ingest, "      form: json\n      full_dump: { gone_max_percent: 100 }\n");
    Ok(std::fs::write(contract, text)?)
}
