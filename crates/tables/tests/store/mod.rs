//! An object store that speaks S3 on loopback (moto's server), and a way to it on which things go wrong.
//!
//! Where `YIBIAO_PYTHON` names no interpreter that has moto, there is none, and who asks says that it skips.
#![allow(dead_code, clippy::unwrap_used)]

mod way;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

pub use way::Way;
// Not every test meets with any.
#[allow(unused_imports)]
pub use way::Trouble;

pub const KEY: &str = "yibiao";

/// A server of its own, and buckets that are empty.
pub struct Store {
    server: Child,
    way: Way,
}

impl Store {
    /// With this bucket.
    pub fn start(bucket: &str) -> Option<Self> {
        let Some(python) = std::env::var_os("YIBIAO_PYTHON") else {
            eprintln!(
                "SKIPPED: set YIBIAO_PYTHON (scripts/test does) to an interpreter with moto and deltalake"
            );
            return None;
        };
        // It says where it listens, and then goes on writing about each request.
        let mut server = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let found = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| Some(line.split("Running on ").nth(1)?.to_owned()));
        std::thread::spawn(move || lines.for_each(drop));
        let url = found.expect("moto's server did not start: is moto[server] installed for YIBIAO_PYTHON?");
        let store = Self { server, way: Way::to(url.trim()) };
        store.way.make_bucket(bucket);
        Some(store)
    }

    pub fn way(&self) -> &Way {
        &self.way
    }

    /// What a process needs to know, that reaches it by the way.
    pub fn variables(&self) -> Vec<(String, String)> {
        let url = self.way.url();
        let variables = [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
