//! The broker of a test.

use std::process::Command;

use yibiao_topics::{Client, ClientConfig};

pub struct Broker {
    bootstrap: String,
}

impl Broker {
    pub async fn start() -> Self {
        let bootstrap = std::env::var("YIBIAO_TEST_BOOTSTRAP").expect("bootstrap");
        Self { bootstrap }
    }

    /// A broker that the test may stop. Apache Kafka: where `YIBIAO_TEST_KAFKA_DIR` names the folder of kafka.sh.
    pub async fn start_own() -> Option<Self> {
        std::env::var("YIBIAO_TEST_KAFKA_DIR").ok()?;
        Some(Self::start().await)
    }

    fn script(command: &[&str]) {
        let dir = std::env::var("YIBIAO_TEST_KAFKA_DIR").expect("kafka dir");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kafka/kafka.sh");
        let status = Command::new(script).args(command).args(["--dir", &dir]).status();
        assert!(status.expect("kafka.sh runs").success());
    }

    pub async fn stop(&mut self) {
        Self::script(&["stop", "--force"]);
    }

    pub async fn start_again(&mut self) {
        Self::script(&["start"]);
    }

    pub fn client(&self) -> Client {
        Client::new(&ClientConfig::at(&self.bootstrap)).expect("the configuration is right")
    }
}
