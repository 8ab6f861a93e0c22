//! Making a shadow, and going on with it.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use yibiao_normalise::GazetteerFolder;
use yibiao_records::FeedId;
use yibiao_topics::Client;

use super::{
    Folder, Gazetteer, Name, Plan, folder,
    plan::{self, Asked},
    ranges,
};
use crate::{
    config::{Config, Layout},
    installation::Installation,
    pipeline::Pipeline,
};

/// What the operator asked for. Of a shadow that was begun nothing has to be said again.
#[derive(Debug, Default)]
pub struct Wanted {
    /// None: the configuration's.
    pub pipelines: Option<PathBuf>,
    pub asked: Asked,
    /// None: the one that is in force when the shadow is begun.
    pub gazetteer: Option<Gazetteer>,
    /// Go on to the end that the topics have now.
    pub extend: bool,
}

/// A shadow that is ready to run, or complete already.
pub struct Ready {
    pub folder: Folder,
    pub plan: Plan,
    pub pipeline: Pipeline,
    /// Feeds with a contract, of which there is no raw topic.
    pub without_topic: Vec<FeedId>,
}

/// Begins a shadow, or opens the one that was begun, with its stages; nothing runs yet.
pub async fn run(config: Config, name: &Name, wanted: Wanted) -> Result<Ready> {
    let client = Client::new(&config.kafka)?;
    let folder = Folder::open(&config, name)?;
    let (plan, installation, without_topic) = match folder.plan()? {
        Some(plan) => {
            let installation = Installation::load(&plan.pipelines)?;
            let plan = go_on(&client, &folder, plan, &wanted, &installation).await?;
            (plan, installation, Vec::new())
        }
        None => match begin(&config, &client, &folder, name, &wanted).await {
            Ok(begun) => begun,
            Err(error) => {
                folder.abandon();
                return Err(error);
            }
        },
    };
    if plan.std_partitions != config.topics.std_partitions {
        bail!(
            "the shadow {name} was begun with {} std partitions, and the configuration has {}: drop it, and begin anew",
            plan.std_partitions,
            config.topics.std_partitions
        );
    }
    let layout = folder.layout();
    let gazetteer = GazetteerFolder::new(&layout.gazetteer)?;
    if let (Some(Gazetteer::Version(version)), None) = (&plan.gazetteer, gazetteer.current()?) {
        GazetteerFolder::new(&config.layout().gazetteer)?.lend(version, &gazetteer)?;
    }
    // Once: what another one answers otherwise would have to be sent through the raw topic again.
    let builds = plan.gazetteer == Some(Gazetteer::Own) && gazetteer.current()?.is_none();
    let view = client.seeing(plan.view())?;
    let feeds = plan.feeds.keys().cloned().collect();
    let config = Config { sources: BTreeMap::new(), ..config };
    let pipeline = Pipeline::open_shadow(config, layout, installation, view, feeds, builds).await?;
    Ok(Ready { folder, plan, pipeline, without_topic })
}

async fn begin(
    config: &Config,
    client: &Client,
    folder: &Folder,
    name: &Name,
    wanted: &Wanted,
) -> Result<(Plan, Installation, Vec<FeedId>)> {
    if wanted.extend {
        bail!("there is no shadow {name} yet, which could be extended");
    }
    if !folder::topics(client, name).await?.is_empty() {
        bail!(
            "the cluster has topics of an earlier shadow {name}: remove them with `yibiao shadow drop {name}`"
        );
    }
    let pipelines = wanted.pipelines.as_ref().unwrap_or(&config.pipelines);
    let pipelines = std::path::absolute(pipelines).context("the folder of pipelines")?;
    let installation = Installation::load(&pipelines)?;
    let (feeds, without_topic) = feeds(client, &installation, &wanted.asked).await?;
    let needs = feeds.keys().any(|feed| !defines_places(&installation, feed));
    let gazetteer = match (&wanted.gazetteer, needs) {
        (_, false) => None,
        (Some(Gazetteer::Own), true) if !feeds.keys().any(|feed| kind(&installation, feed) == "place") => {
            bail!(
                "a gazetteer of its own is made of standard addresses, and no feed of them is among those to be read"
            );
        }
        (Some(Gazetteer::Own), true) => Some(Gazetteer::Own),
        (Some(Gazetteer::Version(version)), true) => Some(named(&config.layout(), Some(version))?),
        (None, true) => Some(named(&config.layout(), None)?),
    };
    let plan = Plan {
        name: name.clone(),
        begun_at: Utc::now(),
        pipelines_hash: plan::hash(&installation).await?,
        pipelines,
        gazetteer,
        std_partitions: config.topics.std_partitions,
        asked: wanted.asked.clone(),
        feeds,
        is_complete: false,
    };
    folder.write(&plan)?;
    Ok((plan, installation, without_topic))
}

async fn go_on(
    client: &Client,
    folder: &Folder,
    mut plan: Plan,
    wanted: &Wanted,
    installation: &Installation,
) -> Result<Plan> {
    let name = &plan.name;
    let pipelines = wanted.pipelines.as_ref().map(std::path::absolute).transpose()?;
    let another = pipelines.is_some_and(|pipelines| pipelines != plan.pipelines)
        || (wanted.asked != Asked::default() && wanted.asked != plan.asked)
        || (wanted.gazetteer.is_some() && wanted.gazetteer != plan.gazetteer);
    if another {
        bail!(
            "the shadow {name} was begun with other feeds, times, pipelines or gazetteer: `yibiao shadow run {name}` goes on \
             with what it was begun with; for another, take another name, or drop this one"
        );
    }
    plan.check_pipelines(&plan::hash(installation).await?)?;
    if wanted.extend {
        if plan.asked.to.is_some() {
            bail!("the shadow {name} was to end at a time: there is nothing to go on to");
        }
        for (feed, partitions) in &mut plan.feeds {
            for (partition, now) in ranges::of_feed(client, feed, None, None).await? {
                let range = partitions.entry(partition).or_insert(now);
                range.to = range.to.max(now.to);
            }
        }
        plan.is_complete = false;
        folder.write(&plan)?;
    }
    Ok(plan)
}

type Ranges = BTreeMap<FeedId, BTreeMap<i32, yibiao_topics::Range>>;

/// What is read of each feed, and which feeds nobody has sent anything of.
async fn feeds(client: &Client, installation: &Installation, asked: &Asked) -> Result<(Ranges, Vec<FeedId>)> {
    if let Some(unknown) = asked.feeds.iter().find(|feed| installation.contracts.get(feed).is_none()) {
        bail!("there is no contract of {unknown} in these pipelines");
    }
    let topics = client.topics().await?;
    let (mut ranges, mut without_topic) = (BTreeMap::new(), Vec::new());
    for contract in installation.contracts.iter() {
        let feed = &contract.feed;
        if !asked.feeds.is_empty() && !asked.feeds.contains(feed) {
            continue;
        }
        if !topics.contains_key(&feed.raw_topic()) {
            without_topic.push(feed.clone());
            continue;
        }
        ranges.insert(feed.clone(), ranges::of_feed(client, feed, asked.from, asked.to).await?);
    }
    if ranges.is_empty() {
        bail!("none of these feeds has a raw topic on the cluster: there is nothing to replay");
    }
    Ok((ranges, without_topic))
}

fn kind<'a>(installation: &'a Installation, feed: &FeedId) -> &'a str {
    installation.contracts.get(feed).map_or("", |contract| contract.fact.kind.as_str())
}

fn defines_places(installation: &Installation, feed: &FeedId) -> bool {
    crate::pipeline::GAZETTEER_KINDS.contains(&kind(installation, feed))
}

/// The version, or the one in force, if it can be opened.
fn named(layout: &Layout, version: Option<&str>) -> Result<Gazetteer> {
    let folder = GazetteerFolder::new(&layout.gazetteer)?;
    let version = match version {
        Some(version) => version.to_owned(),
        None => folder.current()?.context(
            "no gazetteer is in force here: run the stages first, name one with --gazetteer, or let the shadow build one of \
             its own standard addresses with --gazetteer own",
        )?,
    };
    folder.open(&version).with_context(|| {
        format!("the gazetteers of {} are named gazetteer-VERSION.ybg there", folder.path().display())
    })?;
    Ok(Gazetteer::Version(version))
}

impl Ready {
    /// Brings everything in the plan to the shadow's lake.
    pub async fn work(&mut self) -> Result<()> {
        self.pipeline.run_to_end().await?;
        self.plan.is_complete = true;
        self.folder.write(&self.plan)
    }

    /// One line: how much of what is to be read was normalised, and what the stages did.
    pub fn progress(&self) -> impl Fn() -> String + use<> {
        let (status, records) = (self.pipeline.status(), self.plan.records().max(1));
        move || {
            let read =
                status.stages().accounting.as_ref().map_or(0, |accounting| accounting.total().received);
            format!("{:>3} % · {}", (read * 100 / records).min(100), status.line())
        }
    }
}
