//! What a checkpoint consists of.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::Subject;

/// Of manifests; another one is not read.
pub const FORMAT: u32 = 1;

/// Checkpoints are in the order of epoch and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub epoch: u64,
    /// From 1 in each epoch.
    pub number: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint-{:010}-{:010}.json", self.epoch, self.number)
    }
}

impl Name {
    pub fn parse(name: &str) -> Option<Self> {
        let (epoch, number) = name.strip_prefix("checkpoint-")?.strip_suffix(".json")?.split_once('-')?;
        Some(Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
    }
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// None: of the normaliser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
    /// What the state says of itself: its own format; of a shard also its number and buckets.
    pub layout: String,
    /// Of a shard the last batch in it, and the change log's last sequence.
    pub batch: u64,
    pub sequence: u64,
    /// Where each std or raw topic is read on.
    pub next: Vec<(String, i32, i64)>,
    pub made_at: String,
    /// The version of the program that made it.
    pub program: String,
    pub files: Vec<File>,
}

/// One file of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// In the state's folder.
    pub path: String,
    /// In the subject's folder of the checkpoints.
    pub object: String,
    pub bytes: u64,
    pub xxh3: String,
}

pub fn hash(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

impl Manifest {
    /// One line of JSON and one with its checksum.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a manifest is JSON");
        let checksum = hash(&bytes);
        bytes.extend(format!("\n{checksum}\n").into_bytes());
        bytes
    }

    /// Or what is wrong with it.
    pub fn from_bytes(bytes: &[u8], subject: Subject, layout: &str) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        let (body, checksum) = text.split_once('\n').ok_or("it ends before its checksum")?;
        if hash(body.as_bytes()) != checksum.trim_end() {
            return Err("its checksum does not fit its content".into());
        }
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let found: Versioned = serde_json::from_str(body).map_err(|error| error.to_string())?;
        if found.format != FORMAT {
            return Err(format!("it has format {}, this program reads {FORMAT}", found.format));
        }
        let manifest: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let found = manifest.shard.map_or(Subject::Normaliser, Subject::Shard);
        if found != subject || manifest.layout != layout {
            return Err(format!("it is of {found} ({}), wanted is {subject} ({layout})", manifest.layout));
        }
        let is_inside = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        match manifest.files.iter().find(|file| !is_inside(&file.path) || !is_inside(&file.object)) {
            Some(file) => Err(format!("it names a file outside of the state: {}", file.path)),
            None => Ok(manifest),
        }
    }
}
