//! The program while it follows its sources, and what it shows to Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::world::PATIENCE;

pub struct Running {
    child: Child,
    log: PathBuf,
}

/// A time series: what Prometheus knows it by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Running {
    /// Its log, which says where its metrics are, goes to `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        Self { child: command.spawn().unwrap(), log }
    }

    /// What it shows as soon as nothing is `missing`.
    pub fn metrics_when(
        mut self,
        missing: impl Fn(&BTreeSet<Series>) -> Vec<&'static str>,
    ) -> BTreeSet<Series> {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "the program has ended:\n{log}");
            let series = address(&log).map(|address| series(&scrape(address))).unwrap_or_default();
            let missing = missing(&series);
            if missing.is_empty() {
                return series;
            }
            assert!(Instant::now() < until, "{missing:?} are not shown within {PATIENCE:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of the line `listening address=127.0.0.1:41234 what="metrics"`.
fn address(log: &str) -> Option<&str> {
    let line = log.lines().find(|line| line.contains("what=\"metrics\""))?;
    line.split("address=").nth(1)?.split_whitespace().next()
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// Of the lines `name{label="value",…} 1`.
fn series(text: &str) -> BTreeSet<Series> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (label, value) = label.split_once("=\"").unwrap();
                (label.to_owned(), value.trim_end_matches('"').to_owned())
            });
            Series { name: name.to_owned(), labels: labels.collect() }
        })
        .collect()
}
