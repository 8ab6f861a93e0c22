//! The feeds' own samples, from file through connector and raw topic to the decoder.

use std::path::PathBuf;

use yibiao_contracts::load_fact_kinds;

use crate::bench::Bench;

/// `accepted` or the reason, per record in order; unchanged repetitions are accepted here.
fn expected(feed: &str) -> Vec<String> {
    let path = pipelines().join(format!("feeds/{feed}.expected.yaml"));
    let text = std::fs::read_to_string(path).unwrap();
    let records = text.split_once("\nrecords:\n").unwrap().1;
    let items = format!("\n{records}");
    items
        .split("\n  - ")
        .skip(1)
        .map(|item| match item.split_once("rejected: ") {
            Some((_, rest)) => rest.split([',', ' ', '\n', '}']).next().unwrap().to_owned(),
            None => "accepted".to_owned(),
        })
        .collect()
}

fn pipelines() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipelines"))
}

async fn check(feed: &str, ending: &str) {
    let bench = Bench::start(feed).await;
    let sample = std::fs::read(pipelines().join(format!("feeds/{feed}.sample.{ending}"))).unwrap();
    bench.write(&format!("full-0001.{ending}"), sample);
    bench.once(&bench.files()).await.unwrap();
    let kinds = load_fact_kinds(&pipelines().join("facts")).unwrap();
    let mut decoder = bench.contract.decoder(&kinds).unwrap();
    let mut outcomes: Vec<(u64, String)> = Vec::new();
    for message in bench.raw().await {
        let provenance = message.provenance().unwrap().unwrap();
        if provenance.ends_dump {
            continue;
        }
        let columns = (!provenance.columns.is_empty()).then_some(&provenance.columns[..]);
        let outcome = match decoder.decode(message.value().unwrap(), columns) {
            Ok(_) => "accepted".to_owned(),
            Err(reject) => reject.reason.code().to_owned(),
        };
        outcomes.push((provenance.position, outcome));
    }
    outcomes.sort();
    let outcomes: Vec<String> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, expected(feed), "{feed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_feeds_sample_comes_out_of_its_raw_topic_as_its_contract_expects() {
    for (feed, ending) in [
        ("police/standard-addresses", "csv"),
        ("police/housing-registrations", "jsonl"),
        ("civil-affairs/place-names", "csv"),
        ("civil-affairs/organisations", "xlsx"),
        ("justice/mediation-cases", "jsonl"),
        ("utilities/water-readings", "csv"),
        ("utilities/electricity-readings", "jsonl"),
        ("utilities/gas-readings", "csv"),
    ] {
        check(feed, ending).await;
    }
}
