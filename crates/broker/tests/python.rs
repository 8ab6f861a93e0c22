//! kafka-python and confluent-kafka against the broker, by `python_clients.py`, where `YIBIAO_PYTHON` names an
//! interpreter that has both; and against Apache Kafka too where `YIBIAO_KAFKA` gives its address.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use yibiao_broker::{Broker, Config};

#[tokio::test]
async fn the_python_clients_produce_consume_and_commit() {
    let Ok(python) = std::env::var("YIBIAO_PYTHON") else {
        println!("skipped: YIBIAO_PYTHON does not name an interpreter with kafka-python and confluent-kafka");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(Config::new(folder.path())).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_clients.py");
    for bootstrap in [Some(broker.bootstrap()), std::env::var("YIBIAO_KAFKA").ok()].into_iter().flatten() {
        let ran = Command::new(&python).arg(script).arg(&bootstrap).output().unwrap();
        let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        println!("{bootstrap}: {}", said[0]);
        assert!(ran.status.success(), "against {bootstrap}: {}\n{}", said[0], said[1]);
    }
    broker.stop().await.unwrap();
}
