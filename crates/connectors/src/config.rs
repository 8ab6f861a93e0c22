//! What an operator sets about a source.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use url::Url;
use yibiao_topics::duration;

/// Whether a connector ends at the end of its source or waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Once,
    Follow,
}

/// Where a feed comes from. Which form its records have is the contract's business.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SourceConfig {
    /// CSV, JSON lines or workbooks, in a folder of ordered files or alone.
    File(FileSource),
    /// A table with an update time and a key.
    Postgres(PostgresSource),
    /// A paged JSON interface with a token.
    Http(HttpSource),
    /// Another department's topic.
    Kafka(KafkaSource),
}

impl SourceConfig {
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(FileSource { path: path.into(), settle: FileSource::settle(), pace: Pace::default() })
    }

    pub(crate) fn pace(&self) -> &Pace {
        match self {
            SourceConfig::File(source) => &source.pace,
            SourceConfig::Postgres(source) => &source.pace,
            SourceConfig::Http(source) => &source.pace,
            SourceConfig::Kafka(source) => &source.pace,
        }
    }

    /// What a cursor belongs to: a cursor of another source is not used. Holds no secrets.
    pub(crate) fn identity(&self) -> String {
        match self {
            // Files are told apart by their names and contents, so a folder may move.
            SourceConfig::File(_) => "file".into(),
            SourceConfig::Postgres(source) => {
                format!("postgres {} {}", without_secrets(&source.url), source.table)
            }
            SourceConfig::Http(source) => format!("http {}", without_secrets(&source.url)),
            SourceConfig::Kafka(source) => format!("kafka {}", source.topic),
        }
    }
}

/// How often a source is asked for more, and how its absence is waited for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Between two looks for more, where the source cannot wake us.
    #[serde(with = "duration")]
    pub poll: Duration,
    /// The first back-off; it doubles, with jitter.
    #[serde(with = "duration")]
    pub back_off: Duration,
    #[serde(with = "duration")]
    pub back_off_max: Duration,
    /// [`Mode::Once`] gives up on an absent source after this; [`Mode::Follow`] never does.
    #[serde(with = "duration")]
    pub give_up_after: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(5),
            back_off: Duration::from_secs(1),
            back_off_max: Duration::from_secs(60),
            give_up_after: Duration::from_secs(600),
        }
    }
}

/// Files on a disk that this process can read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// A folder, a file, or a file name with `*` and `?`. The files of a folder are read in the order of the
    /// numbers in their names (`full-0001.csv`, `increment-0002.csv`), then of their names.
    pub path: PathBuf,
    /// A last line without its line break is waited for until the file has not changed for this long, or a later
    /// file is there; and so is the end of a full dump before it counts.
    #[serde(with = "duration", default = "FileSource::settle")]
    pub settle: Duration,
    #[serde(default)]
    pub pace: Pace,
}

impl FileSource {
    fn settle() -> Duration {
        Duration::from_secs(60)
    }
}

/// A table (or view) in PostgreSQL. The contract names its update-time and key columns (`ingest.cursor`).
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSource {
    /// `postgresql://user:password@host:port/database`. Without a password here it comes from the environment
    /// variable PGPASSWORD.
    pub url: String,
    /// With or without a schema.
    pub table: String,
    /// Rows a query.
    #[serde(default = "PostgresSource::page")]
    pub page: u32,
    /// For how long rows are looked for again after their update time, so that those that appear late are seen. Must
    /// be longer than the time from a row's update time until it can be read: the longest transaction, where the
    /// source's programs write the time also the error of their clocks, and on a replica its delay. Times without a
    /// zone are of the contract's zone: if that is wrong, so is the overlap.
    #[serde(with = "duration", default = "PostgresSource::overlap")]
    pub overlap: Duration,
    /// How long one query may take.
    #[serde(with = "duration", default = "PostgresSource::timeout")]
    pub timeout: Duration,
    #[serde(default)]
    pub pace: Pace,
}

impl PostgresSource {
    pub fn new(url: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            table: table.into(),
            page: Self::page(),
            overlap: Self::overlap(),
            timeout: Self::timeout(),
            pace: Pace::default(),
        }
    }

    fn page() -> u32 {
        1000
    }

    fn overlap() -> Duration {
        Duration::from_secs(300)
    }

    fn timeout() -> Duration {
        Duration::from_secs(60)
    }
}

/// `GET <url>?cursor=…&limit=…` with a bearer token, answering `{"items":[…],"next":"<cursor>"|null}`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSource {
    pub url: String,
    pub token: String,
    /// Items a page.
    #[serde(default = "HttpSource::page")]
    pub page: u32,
    /// A longer answer is refused.
    #[serde(default = "HttpSource::page_bytes_max")]
    pub page_bytes_max: usize,
    /// How long one request may take.
    #[serde(with = "duration", default = "HttpSource::timeout")]
    pub timeout: Duration,
    #[serde(default)]
    pub pace: Pace,
}

impl HttpSource {
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            page: Self::page(),
            page_bytes_max: Self::page_bytes_max(),
            timeout: Self::timeout(),
            pace: Pace::default(),
        }
    }

    fn page() -> u32 {
        1000
    }

    fn page_bytes_max() -> usize {
        16 << 20
    }

    fn timeout() -> Duration {
        Duration::from_secs(30)
    }
}

/// A topic on another cluster, or on ours.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSource {
    pub bootstrap: String,
    pub topic: String,
    /// librdkafka's properties, for security.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    #[serde(default)]
    pub pace: Pace,
}

impl KafkaSource {
    pub fn new(bootstrap: impl Into<String>, topic: impl Into<String>) -> Self {
        let (bootstrap, topic) = (bootstrap.into(), topic.into());
        Self { bootstrap, topic, properties: BTreeMap::new(), pace: Pace::default() }
    }
}

/// A URL as it may be shown: scheme, host, port and path.
pub(crate) fn without_secrets(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) => {
            // Both fail only for URLs that cannot have these parts.
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        Err(_) => "(an unreadable url)".into(),
    }
}

impl fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresSource {{ {} {} }}", without_secrets(&self.url), self.table)
    }
}

impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpSource {{ {} }}", without_secrets(&self.url))
    }
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaSource {{ {} {} }}", self.bootstrap, self.topic)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_source_is_written_with_its_type_and_unknown_fields_are_denied() {
        let source: SourceConfig =
            serde_json::from_str(r#"{"type":"file","path":"/data/gas","pace":{"poll":"2s"}}"#).unwrap();
        assert_eq!(source.pace().poll, Duration::from_secs(2));
        assert!(
            serde_json::from_str::<SourceConfig>(r#"{"type":"file","path":"/d","folder":"/e"}"#).is_err()
        );
        assert!(serde_json::from_str::<SourceConfig>(r#"{"type":"ftp","path":"/d"}"#).is_err());
    }

    #[test]
    fn passwords_and_tokens_are_never_shown() {
        let postgres = PostgresSource::new("postgresql://reader:geheim@db:5432/police", "t");
        let http = HttpSource::new("https://user:geheim@api/v1?key=geheim", "geheim");
        for source in [SourceConfig::Postgres(postgres), SourceConfig::Http(http)] {
            let shown = format!("{source:?} {}", source.identity());
            assert!(!shown.contains("geheim"), "{shown}");
        }
    }
}
