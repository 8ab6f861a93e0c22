//! Full dumps: which records belong to one, and where its end is told.

use std::{collections::BTreeMap, io::Write, sync::Arc, time::Duration};

use yibiao_connectors::{Error, HttpSource, Mode, SourceConfig};
use yibiao_contracts::FullDump;
use yibiao_records::Provenance;

use crate::bench::{Bench, until, until_sent};

const HEADER: &str = "户号,用水地址,抄表日期,用水量（吨）,水表状态";

async fn bench(files: Option<&str>) -> Bench {
    let mut bench = Bench::start("utilities/water-readings").await;
    let contract = Arc::make_mut(&mut bench.contract);
    contract.ingest.full_dump = Some(FullDump { files: files.map(str::to_owned), gone_max_percent: 20 });
    bench
}

fn dump(readings: std::ops::Range<usize>) -> Vec<u8> {
    let mut text = String::from(HEADER);
    readings.for_each(|n| text.push_str(&format!("\nS{n:07},鼓楼区样例路{n}号,2025/11/3,1.5,正常")));
    encoding_rs::GBK.encode(&text).0.into_owned()
}

/// Of each partition in its order: the file, the number of its dump, and whether it is the end.
async fn told(bench: &Bench) -> BTreeMap<i32, Vec<Provenance>> {
    let mut told: BTreeMap<i32, Vec<Provenance>> = BTreeMap::new();
    for message in bench.raw().await {
        let provenance = message.provenance().unwrap().unwrap();
        assert_eq!(message.value().is_none() && message.key().is_none(), provenance.ends_dump);
        told.entry(message.partition).or_default().push(provenance);
    }
    told
}

/// What is told of each partition: file by file the records' numbers, which are one, then the end.
fn runs(of: &[Provenance]) -> Vec<(String, u64, usize, usize)> {
    of.chunk_by(|a, b| (&a.source, a.dump) == (&b.source, b.dump))
        .map(|run| {
            let ends = run.iter().filter(|it| it.ends_dump).count();
            let after = run.iter().skip_while(|it| !it.ends_dump).filter(|it| !it.ends_dump).count();
            assert!(after == 0 || ends > 1, "records lie before the end");
            (run[0].source.clone(), run[0].dump, run.len() - ends, ends)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dumps_end_is_told_to_every_partition_after_all_of_its_records() {
    let bench = bench(Some("full-*")).await;
    bench.write("full-0001.csv", dump(0..50));
    bench.write("increment-0002.csv", dump(50..60));
    bench.write("full-0003.csv", dump(0..40));
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 100);
    bench.write("full-0003.csv", dump(0..30));
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 30);
    let told = told(&bench).await;
    assert_eq!(told.len(), 2);
    let mut numbers = Vec::new();
    for of in told.values() {
        let runs = runs(of);
        let names: Vec<_> = runs.iter().map(|run| (run.0.as_str(), run.1 > 0, run.3)).collect();
        let (first, third) = ("full-0001.csv", "full-0003.csv");
        assert_eq!(
            names,
            [(first, true, 1), ("increment-0002.csv", false, 0), (third, true, 1), (third, true, 1)]
        );
        assert!(runs[0].1 < runs[2].1 && runs[2].1 < runs[3].1, "later dumps have larger numbers");
        numbers.push([runs[0].1, runs[2].1, runs[3].1]);
        let end = of.iter().find(|it| it.ends_dump).unwrap();
        assert_eq!((end.position, end.source.as_str()), (50, first));
    }
    assert_eq!(numbers[0], numbers[1], "a dump has one number in all partitions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_keeps_its_number_when_the_connector_was_killed_within_it() {
    let bench = bench(None).await;
    bench.write("full-0001.csv", dump(0..60_000));
    let running = bench.start_connector(&bench.files(), Mode::Once);
    until_sent(&running, 30_000).await;
    running.kill().await;
    bench.once(&bench.files()).await.unwrap();
    let mut rows = std::collections::BTreeSet::new();
    for of in told(&bench).await.values() {
        let last = of.last().unwrap();
        assert!(last.ends_dump);
        assert!(of.iter().filter(|it| it.ends_dump).all(|it| it.dump == last.dump));
        rows.extend(of.iter().filter(|it| !it.ends_dump && it.dump == last.dump).map(|it| it.position));
    }
    assert_eq!(rows.len(), 60_000, "every record was sent within the dump that ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_still_written_has_no_end_yet() {
    let bench = bench(None).await;
    let SourceConfig::File(mut source) = bench.files() else { unreachable!() };
    source.settle = Duration::from_secs(2);
    bench.write("full-0001.csv", dump(0..50));
    let running = bench.start_connector(&SourceConfig::File(source), Mode::Follow);
    until_sent(&running, 49).await;
    let more = dump(50..100).split_off(dump(0..0).len());
    let file = std::fs::OpenOptions::new().append(true).open(bench.source().join("full-0001.csv"));
    file.unwrap().write_all(&more).unwrap();
    let ends = || async {
        told(&bench)
            .await
            .values()
            .flatten()
            .filter(|it| it.ends_dump)
            .map(|it| it.position)
            .collect::<Vec<_>>()
    };
    until("the end is told", || async { ends().await.len() == 2 }).await;
    assert_eq!(ends().await, [100, 100]);
    assert_eq!(running.stop().await.records, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_knows_no_end_of_a_dump_is_refused() {
    let mut bench = Bench::start("justice/mediation-cases").await;
    let full = FullDump { files: None, gone_max_percent: 20 };
    Arc::make_mut(&mut bench.contract).ingest.full_dump = Some(full);
    let source = HttpSource::new("http://127.0.0.1:1/", "token");
    let error = bench.once(&SourceConfig::Http(source)).await.unwrap_err();
    assert!(matches!(error, Error::NoDump { .. }), "{error}");
}
