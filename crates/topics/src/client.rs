//! The door to one cluster: questions about topics, their creation, and the makers of producers and readers.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use yibiao_records::{NextOffset, TopicPartition};

use crate::{
    ClientConfig, Cursors, Error, Group, Membership, Producer, Reader, TopicSpec, View,
    error::{passes, unknown_topic},
    health::{Health, Watch},
};

/// The first back-off after a broker did not answer; it doubles up to [`BACK_OFF_MAX`].
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// A broker that has just come back does not know all topics yet: it is believed when it has said so this many times in a row, which
/// takes some ten seconds. Not by the clock: who was away or stood still meanwhile was not asked.
const UNKNOWN_BELIEVED: u32 = 9;
/// How long one question may take before it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One cluster. Cloning is cheap.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: ClientConfig,
    admin: AdminClient<Watch>,
    health: Arc<Health>,
    view: Option<Arc<View>>,
}

/// A topic that is not as its [`TopicSpec`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub topic: String,
    pub setting: String,
    pub expected: String,
    pub found: String,
    /// True where the system would give wrong results (the number of partitions, the clean-up policy); others
    /// are told and left.
    pub breaks: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, expected, found, .. } = self;
        write!(f, "{topic} has {setting} {found}, expected {expected}")
    }
}

/// The offsets of the oldest record that is still there, and of the next record to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    pub low: NextOffset,
    pub high: NextOffset,
}

impl Client {
    /// Checks the configuration; connects later, by itself.
    pub fn new(config: &ClientConfig) -> Result<Self, Error> {
        Self::with(config, None)
    }

    /// The same cluster, of which no more is seen than this.
    pub fn seeing(&self, view: View) -> Result<Self, Error> {
        Self::with(&self.0.config, Some(Arc::new(view)))
    }

    fn with(config: &ClientConfig, view: Option<Arc<View>>) -> Result<Self, Error> {
        config.check()?;
        let health = Health::new("admin");
        let admin = AdminClient::from_config_and_context(&config.admin(), Watch(health.clone()))
            .map_err(Error::config)?;
        Ok(Self(Arc::new(Inner { config: config.clone(), admin, health, view })))
    }

    pub fn config(&self) -> &ClientConfig {
        &self.0.config
    }

    pub(crate) fn view(&self) -> Option<&Arc<View>> {
        self.0.view.as_ref()
    }

    fn on_cluster<'a>(&self, topic: &'a str) -> Cow<'a, str> {
        self.view().map_or(Cow::Borrowed(topic), |view| view.on_cluster(topic))
    }

    /// A producer of its own, with its own queue and thread.
    pub fn producer(&self) -> Result<Producer, Error> {
        Producer::new(&self.0.config, self.0.view.clone())
    }

    /// Reads the given partitions from the given positions. [`NextOffset::START`] is the oldest record that is
    /// still there; any other position that is gone is an error. `name` appears in logs, and as the group
    /// `yibiao.<name>` under which positions are shown.
    pub fn reader(&self, name: &str, start: Vec<(TopicPartition, NextOffset)>) -> Result<Reader, Error> {
        Reader::new(self, name, start)
    }

    /// Joins a group, whose topic must be there: what it gives to this process comes later, and changes.
    pub fn join(&self, group: &Group) -> Result<Membership, Error> {
        Membership::join(self, group)
    }

    /// Where connectors resume.
    pub fn cursors(&self) -> Result<Cursors, Error> {
        Ok(self.cursors_through(&self.producer()?))
    }

    /// Where connectors resume, saved through a producer that is there already.
    pub fn cursors_through(&self, producer: &Producer) -> Cursors {
        Cursors::new(self, producer.clone())
    }

    /// Creates what is missing and compares the rest. Differences that would give wrong results are an error, all
    /// of them at once; others are logged.
    pub async fn ensure(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        let found = self.topics().await?;
        let missing: Vec<&TopicSpec> = topics.iter().filter(|spec| !found.contains_key(&spec.name)).collect();
        if !missing.is_empty() {
            self.create(&missing).await?;
            self.wait_until_usable(&missing).await?;
            for spec in missing {
                tracing::info!(topic = spec.name, partitions = spec.partitions, "topic created");
            }
        }
        let differences = self.differences(topics).await?;
        for difference in differences.iter().filter(|difference| !difference.breaks) {
            tracing::warn!(%difference, "a topic's setting differs from its description, left as it is");
        }
        let breaking: Vec<String> =
            differences.iter().filter(|difference| difference.breaks).map(ToString::to_string).collect();
        if breaking.is_empty() { Ok(()) } else { Err(Error::Differs(breaking)) }
    }

    /// How existing topics differ from their description. Topics that do not exist are not mentioned.
    pub async fn differences(&self, topics: &[TopicSpec]) -> Result<Vec<Difference>, Error> {
        let found = self.topics().await?;
        let existing: Vec<&TopicSpec> = topics.iter().filter(|spec| found.contains_key(&spec.name)).collect();
        if existing.is_empty() {
            return Ok(Vec::new());
        }
        let mut differences = Vec::new();
        for spec in &existing {
            let partitions = found[&spec.name];
            if partitions != spec.partitions {
                differences.push(Difference {
                    topic: spec.name.clone(),
                    setting: "partitions".into(),
                    expected: spec.partitions.to_string(),
                    found: partitions.to_string(),
                    breaks: true,
                });
            }
        }
        let settings = self.settings(&existing).await?;
        for (spec, settings) in existing.iter().zip(settings) {
            for (setting, expected) in spec.settings() {
                let Some(found) = settings.get(setting) else { continue };
                if *found != expected {
                    differences.push(Difference {
                        topic: spec.name.clone(),
                        setting: setting.to_owned(),
                        breaks: setting == "cleanup.policy",
                        expected,
                        found: found.clone(),
                    });
                }
            }
        }
        Ok(differences)
    }

    /// All topics of the cluster with the number of their partitions.
    pub async fn topics(&self) -> Result<BTreeMap<String, u32>, Error> {
        let metadata = self
            .ask("asking for the topics".into(), |inner, wait| {
                let metadata = inner.admin.inner().fetch_metadata(None, wait)?;
                Ok(metadata
                    .topics()
                    .iter()
                    .filter(|topic| topic.error().is_none())
                    .map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32))
                    .collect::<BTreeMap<_, _>>())
            })
            .await?;
        let Some(view) = self.view() else { return Ok(metadata) };
        let seen = |(topic, partitions): (String, u32)| Some((view.name_of(&topic)?.to_owned(), partitions));
        Ok(metadata.into_iter().filter_map(seen).collect())
    }

    /// How many partitions a topic has.
    pub async fn partitions(&self, topic: &str) -> Result<u32, Error> {
        let topics = self.topics().await?;
        topics
            .get(topic)
            .copied()
            .ok_or_else(|| Error::UnknownTopic { topic: topic.to_owned(), partition: None })
    }

    /// The oldest and the next offset of one partition.
    pub async fn watermarks(&self, of: &TopicPartition) -> Result<Watermarks, Error> {
        if let Some(range) = self.view().and_then(|view| view.range(of)) {
            return Ok(Watermarks { low: range.from, high: range.to });
        }
        let tp = TopicPartition::new(&*self.on_cluster(&of.topic), of.partition);
        let doing = format!("asking for the watermarks of {of}");
        let (low, high) = self
            .ask(doing.clone(), move |inner, wait| {
                inner.admin.inner().fetch_watermarks(&tp.topic, tp.partition, wait)
            })
            .await
            .map_err(|error| match error {
                Error::UnknownTopic { .. } => {
                    Error::UnknownTopic { topic: of.topic.to_string(), partition: Some(of.partition) }
                }
                other => other,
            })?;
        match (NextOffset::new(low), NextOffset::new(high)) {
            (Some(low), Some(high)) => Ok(Watermarks { low, high }),
            _ => Err(Error::Refused { doing, detail: format!("impossible offsets {low} and {high}") }),
        }
    }

    /// The offset of the first record that is not older than this (ms since the epoch, by the records' own times); None
    /// where all are older.
    pub async fn offset_at(&self, of: &TopicPartition, at_ms: i64) -> Result<Option<NextOffset>, Error> {
        let (topic, partition) = (self.on_cluster(&of.topic).into_owned(), of.partition);
        let consumer = self.0.config.reader("times");
        let doing = format!("asking for the first record of a time in {of}");
        let found = self
            .ask(doing, move |_, wait| {
                let consumer: BaseConsumer = consumer.create()?;
                let mut asked = TopicPartitionList::with_capacity(1);
                asked.add_partition_offset(&topic, partition, Offset::Offset(at_ms))?;
                let found = consumer.offsets_for_times(asked, wait)?;
                found.elements().first().map_or(Ok(None), |found| {
                    found.error()?;
                    Ok(found.offset().to_raw())
                })
            })
            .await?;
        Ok(found.and_then(NextOffset::new))
    }

    /// Deletes these topics; those that are not there are no error.
    pub async fn delete(&self, topics: &[String]) -> Result<(), Error> {
        if topics.is_empty() {
            return Ok(());
        }
        let doing = "deleting topics";
        let on_cluster = |topic: &String| match self.view() {
            Some(view) => view.to_change(topic, "deleting").map(Cow::into_owned),
            None => Ok(topic.clone()),
        };
        let names = topics.iter().map(on_cluster).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let timeout = Some(self.0.config.request_timeout);
        let options = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
        for result in self.repeat(doing.into(), || self.0.admin.delete_topics(&names, &options)).await? {
            if let Err((topic, code)) = result
                && !unknown_topic(code)
            {
                return Err(Error::Refused {
                    doing: format!("deleting topic {topic}"),
                    detail: code.to_string(),
                });
            }
        }
        self.wait_until_gone(topics).await
    }

    /// Brokers answer before all of them have forgotten a topic.
    async fn wait_until_gone(&self, deleted: &[String]) -> Result<(), Error> {
        let deadline = Instant::now() + self.0.config.patience;
        let mut back_off = Duration::from_millis(10);
        loop {
            let there = self.topics().await?;
            let Some(left) = deleted.iter().find(|topic| there.contains_key(*topic)) else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(self.away(format!("waiting until {left} is deleted"), "it is still there".into()));
            }
            tokio::time::sleep(back_off).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    async fn create(&self, missing: &[&TopicSpec]) -> Result<(), Error> {
        let doing = "creating topics";
        let settings: Vec<_> =
            missing.iter().map(|spec| (self.on_cluster(&spec.name), spec.settings())).collect();
        let topics: Vec<NewTopic<'_>> = missing
            .iter()
            .zip(&settings)
            .map(|(spec, (name, settings))| {
                let replication = TopicReplication::Fixed(i32::from(spec.replication));
                settings
                    .iter()
                    .fold(NewTopic::new(name, spec.partitions as i32, replication), |topic, (name, value)| {
                        topic.set(name, value)
                    })
            })
            .collect();
        let timeout = Some(self.0.config.request_timeout);
        let options = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
        let results = self.repeat(doing.into(), || self.0.admin.create_topics(&topics, &options)).await?;
        for result in results {
            if let Err((topic, code)) = result
                && code != RDKafkaErrorCode::TopicAlreadyExists
            {
                return Err(Error::Refused {
                    doing: format!("creating topic {topic}"),
                    detail: code.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Brokers answer before all of them know the new topics, and their leaders are chosen later still.
    async fn wait_until_usable(&self, created: &[&TopicSpec]) -> Result<(), Error> {
        let deadline = Instant::now() + self.0.config.patience;
        let mut back_off = Duration::from_millis(10);
        loop {
            let led: BTreeSet<String> = self
                .ask("asking for the new topics".into(), |inner, wait| {
                    let metadata = inner.admin.inner().fetch_metadata(None, wait)?;
                    Ok(metadata
                        .topics()
                        .iter()
                        .filter(|topic| {
                            topic.error().is_none()
                                && !topic.partitions().is_empty()
                                && topic.partitions().iter().all(|partition| partition.leader() >= 0)
                        })
                        .map(|topic| topic.name().to_owned())
                        .collect())
                })
                .await?;
            if created.iter().all(|spec| led.contains(&*self.on_cluster(&spec.name))) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.away("waiting for the new topics".into(), "no leaders were chosen".into()));
            }
            tokio::time::sleep(back_off).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    async fn settings(&self, of: &[&TopicSpec]) -> Result<Vec<BTreeMap<String, String>>, Error> {
        let doing = "asking for the settings of topics";
        let names: Vec<_> = of.iter().map(|spec| self.on_cluster(&spec.name)).collect();
        let specifiers: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.0.config.request_timeout));
        let results =
            self.repeat(doing.into(), || self.0.admin.describe_configs(&specifiers, &options)).await?;
        results
            .into_iter()
            .map(|result| match result {
                Ok(resource) => Ok(resource
                    .entries
                    .into_iter()
                    .filter_map(|entry| Some((entry.name, entry.value?)))
                    .collect()),
                Err(code) => Err(Error::Refused { doing: doing.into(), detail: code.to_string() }),
            })
            .collect()
    }

    /// Runs a blocking question on a thread for that, again while the broker is away.
    async fn ask<T: Send + 'static>(
        &self,
        doing: String,
        question: impl Fn(&Inner, Duration) -> KafkaResult<T> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let question = Arc::new(question);
        let wait = self.0.config.request_timeout.min(ANSWER_WITHIN);
        self.repeat(doing, || {
            let (question, inner) = (question.clone(), self.0.clone());
            let answer = tokio::task::spawn_blocking(move || question(&inner, wait));
            async { answer.await.unwrap_or(Err(KafkaError::Canceled)) }
        })
        .await
    }

    /// Repeats what failed because the broker was away, until it is answered or the patience is over.
    async fn repeat<T, F: Future<Output = KafkaResult<T>>>(
        &self,
        doing: String,
        question: impl Fn() -> F,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.0.config.patience;
        let (mut back_off, mut unknown) = (BACK_OFF, 0);
        loop {
            let error = match question().await {
                Ok(answer) => {
                    self.0.health.is_back();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let code = match &error {
                KafkaError::AdminOp(code) => Some(*code),
                KafkaError::Canceled => return Err(Error::Panicked { doing }),
                other => other.rdkafka_error_code(),
            };
            let is_unknown = code.is_some_and(unknown_topic);
            unknown = if is_unknown { unknown + 1 } else { 0 };
            match code {
                _ if is_unknown && unknown < UNKNOWN_BELIEVED => {}
                _ if is_unknown => {
                    return Err(Error::UnknownTopic { topic: doing, partition: None });
                }
                Some(code) if passes(code) => self.0.health.went_away(&error.to_string()),
                _ => return Err(Error::Refused { doing, detail: error.to_string() }),
            }
            if Instant::now() + back_off > deadline {
                return Err(self.away(doing, error.to_string()));
            }
            tokio::time::sleep(back_off).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    fn away(&self, doing: String, detail: String) -> Error {
        Error::Away {
            doing,
            bootstrap: self.0.config.bootstrap.clone(),
            waited_s: self.0.config.patience.as_secs(),
            detail,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const UNKNOWN: KafkaError = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);

    #[tokio::test]
    async fn who_stood_still_for_long_does_not_believe_the_first_word_of_a_missing_topic() {
        let client = Client::new(&ClientConfig::at("127.0.0.1:1")).unwrap();
        let answers = AtomicU32::new(0);
        let question = || {
            let nth = answers.fetch_add(1, Ordering::Relaxed);
            async move {
                if nth == 0 {
                    tokio::time::sleep(Duration::from_millis(10_200)).await;
                }
                if nth < 3 { Err(UNKNOWN) } else { Ok(nth) }
            }
        };
        assert_eq!(client.repeat("asking for a topic".into(), question).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_broker_that_says_it_again_and_again_is_believed() {
        let client = Client::new(&ClientConfig::at("127.0.0.1:1")).unwrap();
        let answers = AtomicU32::new(0);
        let question = || {
            answers.fetch_add(1, Ordering::Relaxed);
            std::future::ready(KafkaResult::<()>::Err(UNKNOWN))
        };
        let error = client.repeat("asking for a topic".into(), question).await.unwrap_err();
        assert!(matches!(error, Error::UnknownTopic { .. }), "{error}");
        assert_eq!(answers.into_inner(), UNKNOWN_BELIEVED);
    }
}
