//! The broker of a test: the embedded one, or an Apache Kafka where the environment names one.
//!
//! `YIBIAO_TEST_BOOTSTRAP` is its address, `YIBIAO_TEST_KAFKA_DIR` the folder that deploy/kafka/kafka.sh started it
//! in, so that tests may stop it.

use std::process::Command;

use tempfile::TempDir;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use yibiao_broker::{Broker as Embedded, Config};
use yibiao_topics::{Client, ClientConfig};

pub struct Broker {
    bootstrap: String,
    embedded: Option<Embedded>,
    folder: TempDir,
    _turn: Turn,
}

/// Who stops a broker that all tests share has it alone.
static TURNS: RwLock<()> = RwLock::const_new(());

enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Broker {
    pub async fn start() -> Self {
        Self::start_in(Turn::Shared { _guard: TURNS.read().await }).await
    }

    async fn start_in(turn: Turn) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        match std::env::var("YIBIAO_TEST_BOOTSTRAP") {
            Ok(bootstrap) => Self { bootstrap, embedded: None, folder, _turn: turn },
            Err(_) => {
                let embedded = Embedded::start(Config::new(folder.path())).await.expect("the broker starts");
                Self { bootstrap: embedded.bootstrap(), embedded: Some(embedded), folder, _turn: turn }
            }
        }
    }

    /// A broker that the test may stop. None where there is only an Apache Kafka that it may not.
    pub async fn start_own() -> Option<Self> {
        let outside = std::env::var("YIBIAO_TEST_BOOTSTRAP").is_ok();
        if outside && std::env::var("YIBIAO_TEST_KAFKA_DIR").is_err() {
            eprintln!("skipped: YIBIAO_TEST_KAFKA_DIR does not say how to stop the broker");
            return None;
        }
        Some(match outside {
            true => Self::start_in(Turn::Alone { _guard: TURNS.write().await }).await,
            false => Self::start().await,
        })
    }

    fn script(command: &[&str]) {
        let dir = std::env::var("YIBIAO_TEST_KAFKA_DIR").expect("a folder of kafka.sh");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kafka/kafka.sh");
        let status = Command::new(script).args(command).args(["--dir", &dir]).status();
        assert!(status.expect("kafka.sh runs").success());
    }

    pub async fn stop(&mut self) {
        match self.embedded.take() {
            Some(embedded) => embedded.stop().await.expect("the broker stops"),
            None => Self::script(&["stop", "--force"]),
        }
    }

    pub async fn start_again(&mut self) {
        if std::env::var("YIBIAO_TEST_BOOTSTRAP").is_ok() {
            return Self::script(&["start"]);
        }
        let listen = self.bootstrap.parse().expect("an address");
        let config = Config { listen, ..Config::new(self.folder.path()) };
        self.embedded = Some(Embedded::start(config).await.expect("the broker starts again"));
    }

    pub fn client(&self) -> Client {
        Client::new(&ClientConfig::at(&self.bootstrap)).expect("the configuration is right")
    }
}
