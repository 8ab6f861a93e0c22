//! All of one centre: its tables, its topic, its accounting.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;
use yibiao_tables::Lake;
use yibiao_topics::{Client, Layout};

use crate::{
    Audit, Config, Error, Grant,
    audit::{self, Entry},
    ship::{Context, Shipment, Shipped},
    warnings::Topic,
};

/// What one centre received of one table since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableReport {
    pub table: String,
    /// The source's version that the centre has.
    pub version: u64,
    /// read = delivered + filtered + repeated
    pub read: u64,
    pub delivered: u64,
    pub filtered: u64,
    pub repeated: u64,
    /// Records on the topic of warnings.
    pub sent: u64,
}

/// What one centre received since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CentreReport {
    pub centre: String,
    pub title: String,
    pub area: String,
    pub tables: Vec<TableReport>,
    /// Why the last round did not end well.
    pub trouble: Option<String>,
}

impl CentreReport {
    /// The sums over all tables; its name is empty.
    pub fn total(&self) -> TableReport {
        self.tables.iter().fold(TableReport::default(), |mut total, table| {
            total.read += table.read;
            total.delivered += table.delivered;
            total.filtered += table.filtered;
            total.repeated += table.repeated;
            total.sent += table.sent;
            total
        })
    }
}

/// One centre at work.
pub struct Centre {
    grant: Grant,
    personal: BTreeSet<String>,
    shipments: Vec<Shipment>,
    topic: Option<Topic>,
    report: CentreReport,
    refusal_entered: bool,
    maintained_at: Instant,
}

impl Centre {
    /// `out` is the folder or URL of all deliveries.
    pub fn new(grant: Grant, lake: &Lake, out: &str) -> Self {
        let folder = format!("{}/{}", out.trim_end_matches('/'), grant.form.delta.folder);
        let mut shipments = Vec::new();
        for granted in &grant.tables {
            for source in lake.tables().filter(|table| table.fused == granted.name) {
                let location = format!("{folder}/{}", source.name);
                shipments.push(Shipment::new(source.clone(), granted, location));
            }
        }
        let tables = shipments
            .iter()
            .map(|shipment| TableReport { table: shipment.table().to_owned(), ..TableReport::default() });
        let report = CentreReport {
            centre: grant.id.clone(),
            title: grant.title.clone(),
            area: grant.area.clone(),
            tables: tables.collect(),
            trouble: None,
        };
        let personal = crate::privacy::personal_names(lake.layout());
        metrics::gauge!("yibiao_grant_ends_at_seconds", "stage" => "deliver", "centre" => grant.id.clone())
            .set(grant.ends_at().timestamp() as f64);
        Self {
            grant,
            personal,
            shipments,
            topic: None,
            report,
            refusal_entered: false,
            maintained_at: Instant::now(),
        }
    }

    pub fn report(&self) -> &CentreReport {
        &self.report
    }

    /// One round over all tables. Trouble with one table does not hold back the others; the first is returned.
    pub async fn deliver(
        &mut self,
        lake: &Lake,
        client: Option<&Client>,
        topics: &Layout,
        audit: &Mutex<Audit>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let outcome = self.try_deliver(lake, client, topics, audit, now).await;
        self.report.trouble = outcome.as_ref().err().map(ToString::to_string);
        metrics::gauge!("yibiao_delivery_failing", "stage" => "deliver", "centre" => self.grant.id.clone())
            .set(f64::from(outcome.is_err()));
        if let Err(error) = &outcome {
            metrics::counter!(
                "yibiao_errors_total",
                "stage" => "deliver", "centre" => self.grant.id.clone(), "code" => error.fault().code()
            )
            .increment(1);
        }
        outcome
    }

    /// Compacts, vacuums and checkpoints the centre's tables at every interval, between two rounds: nothing
    /// else writes them then. Trouble is told, and does not hold up the deliveries.
    pub async fn maintain_if_due(&mut self, config: &Config) {
        if self.maintained_at.elapsed() < config.maintain_interval {
            return;
        }
        for shipment in &mut self.shipments {
            if let Err(error) = shipment.maintain(config.files_max, config.retention).await {
                tracing::warn!(%error, centre = self.grant.id, table = shipment.table(), "maintaining a centre's table failed");
                metrics::counter!(
                    "yibiao_errors_total",
                    "stage" => "deliver", "centre" => self.grant.id.clone(), "code" => error.fault().code()
                )
                .increment(1);
            }
        }
        self.maintained_at = Instant::now();
    }

    async fn try_deliver(
        &mut self,
        lake: &Lake,
        client: Option<&Client>,
        topics: &Layout,
        audit: &Mutex<Audit>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if let Err(refusal) = self.grant.check(now) {
            self.enter_refusal(audit, now, &refusal).await?;
            return Err(refusal);
        }
        let mut trouble = None;
        for index in 0..self.shipments.len() {
            let outcome = self.ship(index, lake, client, topics, audit, now).await;
            match outcome {
                Ok(Some(shipped)) => self.count(index, &shipped),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, centre = self.grant.id, table = self.shipments[index].table(), "delivery failed");
                    trouble = trouble.or(Some(error));
                }
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn ship(
        &mut self,
        index: usize,
        lake: &Lake,
        client: Option<&Client>,
        topics: &Layout,
        audit: &Mutex<Audit>,
        now: DateTime<Utc>,
    ) -> Result<Option<Shipped>, Error> {
        let shipment = &mut self.shipments[index];
        let with_topic = shipment.is_warnings() && self.grant.form.warnings_topic;
        if let (true, Some(client)) = (with_topic, client) {
            let fingerprint = shipment.fingerprint(lake, &self.grant.area, &self.personal).await?;
            if self.topic.as_ref().is_some_and(|topic| topic.is_broken() || !topic.is_for(fingerprint)) {
                self.topic = None;
            }
            if self.topic.is_none() {
                let target = shipment.target().await?;
                let mut committed = BTreeMap::new();
                for partition in 0..Topic::partitions(topics, &self.grant.id) {
                    if let Some(offset) = target.position(&Topic::position(partition)).await? {
                        committed.insert(partition, offset);
                    }
                }
                self.topic =
                    Some(Topic::open(client, topics, &self.grant.id, &committed, fingerprint).await?);
            }
        }
        let context = Context { lake, grant: &self.grant, personal: &self.personal, audit, now };
        let topic = if with_topic { self.topic.as_mut() } else { None };
        shipment.ship(&context, topic).await
    }

    fn count(&mut self, index: usize, shipped: &Shipped) {
        let report = &mut self.report.tables[index];
        report.version = shipped.to;
        report.read += shipped.read;
        report.delivered += shipped.delivered;
        report.filtered += shipped.filtered;
        report.repeated += shipped.repeated;
        report.sent += shipped.sent;
        let centre = || self.grant.id.clone();
        metrics::counter!("yibiao_received_records_total", "stage" => "deliver", "centre" => centre())
            .increment(shipped.read);
        metrics::counter!("yibiao_sent_records_total", "stage" => "deliver", "centre" => centre())
            .increment(shipped.delivered);
        for (reason, count) in [("other_area", shipped.filtered), ("repeated", shipped.repeated)] {
            metrics::counter!(
                "yibiao_dropped_records_total",
                "stage" => "deliver", "centre" => centre(), "reason" => reason
            )
            .increment(count);
        }
        tracing::debug!(centre = self.grant.id, table = report.table, ?shipped, "delivered");
    }

    /// A refusal is entered once in the life of a process.
    async fn enter_refusal(
        &mut self,
        audit: &Mutex<Audit>,
        now: DateTime<Utc>,
        refusal: &Error,
    ) -> Result<(), Error> {
        if std::mem::replace(&mut self.refusal_entered, true) {
            return Ok(());
        }
        tracing::error!(centre = self.grant.id, error = %refusal, "delivery refused");
        audit.lock().await.append(Entry {
            at: audit::time(now),
            centre: self.grant.id.clone(),
            purposes: self.grant.purposes.clone(),
            area: self.grant.area.clone(),
            table: String::new(),
            from: None,
            to: 0,
            read: 0,
            delivered: 0,
            filtered: 0,
            repeated: 0,
            outcome: format!("refused: {refusal}"),
        })
    }
}
