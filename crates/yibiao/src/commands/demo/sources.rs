//! The departments of the synthetic city: folders, an HTTP interface, a topic of their own.

use std::path::Path;

use anyhow::{Context, Result};
use yibiao_connectors::{HttpSource, KafkaSource, SourceConfig};
use yibiao_synth::{ElectricityApi, hazard_messages, serve_electricity};
use yibiao_topics::{Cleanup, Client, Outgoing, TopicSpec};

use crate::config::Config;

/// The topic of the grid's own system, as its department named it.
const HAZARDS: &str = "grid.hazards.v1";
const TOKEN: &str = "demo-token";

/// Every source is there to be read.
pub struct Sources {
    /// With the sources filled in.
    pub config: Config,
    electricity: ElectricityApi,
}

/// Serves and sends what is not a file.
pub async fn open(mut config: Config, city: &Path) -> Result<Sources> {
    let client = Client::new(&config.kafka)?;
    let topic = TopicSpec {
        name: HAZARDS.into(),
        partitions: 2,
        replication: 1,
        cleanup: Cleanup::Delete { retention: None },
        max_record_bytes: None,
    };
    client.ensure(&[topic]).await?;
    let producer = client.producer()?;
    for message in hazard_messages(city)? {
        let (key, value) = message?;
        producer.send(Outgoing {
            topic: HAZARDS,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(&value),
            headers: &[],
            timestamp_ms: None,
        })?;
    }
    producer.flush().await.context("sending the grid's hazard reports")?;

    let electricity = serve_electricity(city, TOKEN, ([127, 0, 0, 1], 0).into()).await?;
    for (feed, source) in [
        ("police/standard-addresses", None),
        ("police/housing-registrations", None),
        ("civil-affairs/place-names", None),
        ("civil-affairs/organisations", None),
        ("justice/mediation-cases", None),
        ("utilities/water-readings", None),
        ("utilities/gas-readings", None),
        (
            "utilities/electricity-readings",
            Some(SourceConfig::Http(HttpSource::new(electricity.url(), TOKEN))),
        ),
        (
            "grid/hazard-reports",
            Some(SourceConfig::Kafka(KafkaSource::new(&config.kafka.bootstrap, HAZARDS))),
        ),
    ] {
        let source = source.unwrap_or_else(|| SourceConfig::file(city.join("sources").join(feed)));
        config.sources.insert(feed.parse()?, source);
    }
    Ok(Sources { config, electricity })
}

impl Sources {
    pub async fn stop(self) {
        self.electricity.stop().await;
    }
}
