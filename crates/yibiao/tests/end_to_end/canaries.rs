//! Where an identifier of a person could be, and may not be.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use yibiao_topics::{Client, ClientConfig, NextOffset, TopicPartition};

use crate::world::{HAZARDS, World, city};

impl World {
    pub fn sources_contain(&self, text: &str) -> bool {
        let file = city().join("city/sources/police/housing-registrations");
        let mut files = std::fs::read_dir(file).unwrap().flatten();
        files.any(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).contains(text))
    }

    /// Reads every record of every topic of ours and every row of every table.
    pub fn assert_absent_everywhere(&self, text: &str) {
        self.runtime.block_on(self.assert_absent_in_topics(text));
        for folder in ["lake", "deliveries/jiangsu", "deliveries/nanjing", "deliveries/suzhou"] {
            let tables = self.sql_at(
                folder,
                "select table_name from information_schema.tables where table_schema = 'public'",
            );
            for table in tables.as_array().unwrap() {
                let name = table["table_name"].as_str().unwrap();
                let rows = self.sql_at(folder, &format!("select * from {name}")).to_string();
                assert!(!rows.contains(text), "{folder}/{name} holds {text}");
            }
        }
        for file in walk(&self.path("data")) {
            assert!(!holds(&std::fs::read(&file).unwrap(), text), "{} holds {text}", file.display());
        }
        let log = std::fs::read_to_string(self.path("run.log")).unwrap();
        assert!(!log.contains(text), "the log holds {text}");
    }

    async fn assert_absent_in_topics(&self, text: &str) {
        let client = Client::new(&ClientConfig::at(&self.bootstrap)).unwrap();
        let mut read = 0;
        for (topic, partitions) in client.topics().await.unwrap() {
            if topic == HAZARDS {
                continue; // the department's own
            }
            for partition in 0..partitions {
                let tp = TopicPartition::new(topic.as_str(), partition as i32);
                let end = client.watermarks(&tp).await.unwrap().high;
                if end == NextOffset::START {
                    continue;
                }
                let mut reader = client.reader("canaries", vec![(tp.clone(), NextOffset::START)]).unwrap();
                let mut next = NextOffset::START;
                while next < end {
                    let batch = reader.next_batch(1000, Duration::from_secs(1)).await.unwrap();
                    for message in &batch.messages {
                        read += 1;
                        let mut bytes = message.value().unwrap_or_default().to_vec();
                        bytes.extend_from_slice(message.key().unwrap_or_default());
                        message.headers().for_each(|(_, value)| bytes.extend_from_slice(value));
                        assert!(!holds(&bytes, text), "{tp} holds {text}");
                    }
                    next = batch.next_offsets().into_iter().map(|(_, next)| next).max().unwrap_or(next);
                }
            }
        }
        assert!(read > 1000, "{read} records were read");
    }
}

/// Whether the bytes hold an ASCII text; what is not UTF-8 is replaced, which ASCII never is.
fn holds(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(walk(&path)),
            path => files.push(path),
        }
    }
    files
}
