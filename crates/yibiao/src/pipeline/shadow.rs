//! The same stages beside the real ones: over a view of the cluster, and in a data folder of their own.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use yibiao_connectors::Mode;
use yibiao_records::FeedId;
use yibiao_topics::Client;

use super::Pipeline;
use crate::{
    config::{Config, Layout, Stage},
    installation::Installation,
};

impl Pipeline {
    /// Normalise, fusion and projection of some feeds, up to the end of what `client` sees of their raw topics. Without
    /// `builds_gazetteer` the one in the layout's folder is in force to the end.
    pub async fn open_shadow(
        config: Config,
        layout: Layout,
        installation: Installation,
        client: Client,
        feeds: BTreeSet<FeedId>,
        builds_gazetteer: bool,
    ) -> Result<Self> {
        let config = config.with_own_shards();
        let stages = [Stage::Normalise, Stage::Fusion];
        let mut pipeline = Self::over(config, layout, installation, client, feeds, &stages, Mode::Once)?;
        pipeline.builds_gazetteer = builds_gazetteer;
        let of = &pipeline.config.topics;
        let quarantine = pipeline.feeds.iter().map(|feed| of.quarantine(feed));
        let std = pipeline.installation.kinds.iter().map(|kind| of.std(&kind.name));
        let topics: Vec<_> = quarantine.chain(std).collect();
        pipeline.client.ensure(&topics).await.context("making the shadow's topics")?;
        Ok(pipeline)
    }
}
