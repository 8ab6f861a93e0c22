//! CSV and JSON lines.

use std::{collections::BTreeSet, io::Write, time::Duration};

use encoding_rs::{GB18030, GBK};
use yibiao_connectors::{Mode, SourceConfig, State};

use crate::bench::{Bench, until, until_sent};

const HEADER: &str = "户号,用水地址,抄表日期,用水量（吨）,水表状态";

fn gbk(text: &str) -> Vec<u8> {
    GBK.encode(text).0.into_owned()
}

fn reading(n: usize) -> String {
    format!("S{n:07},鼓楼区样例路{n}号,2025/11/3,1.5,正常")
}

#[tokio::test(flavor = "multi_thread")]
async fn gbk_records_with_quotes_and_line_breaks_arrive_untouched_with_their_header() {
    let bench = Bench::start("utilities/water-readings").await;
    // 誠 ends in 0x5C and 鎈 in 0x7C: backslash and bar to a reader that knows no GBK.
    let records = [
        "S1,\"样例花园,3幢\n2单元402室\",20251103,１２.５,正常".to_owned(),
        "S2,\"誠鎈\"\"里\"\"弄\",2025年11月3日,0,正常".to_owned(),
        reading(3),
    ];
    bench.write(
        "full-0001.csv",
        gbk(&format!("{HEADER}\r\n{}\r\n\r\n{}\n{}", records[0], records[1], records[2])),
    );
    let summary = bench.once(&bench.files()).await.unwrap();
    assert_eq!((summary.records, summary.truncated, summary.withheld), (3, 0, 0));
    let mut raw = bench.raw().await;
    raw.sort_by_key(|message| message.provenance().unwrap().unwrap().position);
    for (index, (message, record)) in raw.iter().zip(&records).enumerate() {
        let provenance = message.provenance().unwrap().unwrap();
        assert_eq!(message.value().unwrap(), gbk(record));
        assert_eq!((provenance.position, provenance.columns), (index as u64 + 1, gbk(HEADER)));
        assert_eq!(
            (provenance.feed.as_str(), provenance.source.as_str()),
            (bench.contract.feed.as_str(), "full-0001.csv")
        );
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        assert!(
            key.starts_with(&format!(
                "S{}",
                if index == 2 { "0000003".into() } else { (index + 1).to_string() }
            )),
            "{key}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gb18030_records_are_parted_by_semicolons_and_characters_of_four_bytes_stay_whole() {
    let bench = Bench::start("utilities/gas-readings").await;
    let text = "燃气户号;地址;日期;用气量(方);表型\nG1;\"㐂乐坊;25-402\";2025-11-03;1.25;膜式\n";
    bench.write("full-0001.csv", GB18030.encode(text).0);
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 1);
    let raw = bench.raw().await;
    assert_eq!(raw[0].key().unwrap(), "G1\u{1f}2025-11-03".as_bytes());
    assert_eq!(raw[0].value().unwrap(), &*GB18030.encode("G1;\"㐂乐坊;25-402\";2025-11-03;1.25;膜式").0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_was_killed_goes_on_and_no_record_is_lost() {
    let bench = Bench::start("utilities/water-readings").await;
    const RECORDS: usize = 60_000;
    for (name, from) in [("full-0001.csv", 0), ("increment-0002.csv", RECORDS / 2)] {
        let mut text = String::from(HEADER);
        (from..from + RECORDS / 2).for_each(|n| text.push_str(&format!("\n{}", reading(n))));
        bench.write(name, gbk(&text));
    }
    for kill_at in [15_000, 10_000] {
        let running = bench.start_connector(&bench.files(), Mode::Once);
        until_sent(&running, kill_at).await;
        running.kill().await;
    }
    let summary = bench.once(&bench.files()).await.unwrap();
    assert!(summary.records as usize <= RECORDS);
    let raw = bench.raw().await;
    let keys: BTreeSet<&[u8]> = raw.iter().map(|message| message.key().unwrap()).collect();
    assert_eq!(keys.len(), RECORDS);
    // A finished source is not read again.
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_and_grown_files_are_followed_and_a_torn_line_waits_for_its_end() {
    let bench = Bench::start("utilities/water-readings").await;
    bench.write("full-0001.csv", gbk(&format!("{HEADER}\n{}\nS2,torn", reading(1))));
    let running = bench.start_connector(&bench.files(), Mode::Follow);
    until_sent(&running, 1).await;
    until("it waits", || async { running.progress.snapshot().state == State::Waiting }).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.progress.snapshot().records, 1);

    let path = bench.source().join("full-0001.csv");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&gbk(" no longer,2025/11/3,2,正常\n")).unwrap();
    until_sent(&running, 2).await;
    bench.write(
        "increment-0002.csv",
        gbk(&format!("{HEADER}\n{}\nlast without a break,a,2025/11/3,1,b", reading(3))),
    );
    until_sent(&running, 3).await;
    // A later file tells that the one before is finished.
    bench.write("increment-0003.csv", gbk(&format!("{HEADER}\n{}\n", reading(4))));
    until_sent(&running, 5).await;
    // A file of the same name with other records is another file.
    bench.write("increment-0003.csv", gbk(&format!("{HEADER}\n{}\n{}\n", reading(5), reading(6))));
    until_sent(&running, 7).await;
    assert_eq!(running.stop().await.records, 7);
    let raw = bench.raw().await;
    let torn = raw.iter().find(|message| message.key().unwrap().starts_with(b"S2")).unwrap();
    assert_eq!(torn.value().unwrap(), gbk("S2,torn no longer,2025/11/3,2,正常"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_away_is_waited_for() {
    let bench = Bench::start("justice/mediation-cases").await;
    let running = bench.start_connector(&bench.files(), Mode::Once);
    until("it is away", || async { matches!(running.progress.snapshot().state, State::Away(_)) }).await;
    bench.write("cases.jsonl", "{\"case_no\":\"T1\"}\r\n\n{\"case_no\":\"T2\"}");
    let summary = running.task.await.unwrap().unwrap();
    assert_eq!(summary.records, 2);
    assert_eq!(bench.raw_texts().await, ["{\"case_no\":\"T1\"}", "{\"case_no\":\"T2\"}"]);
    assert_eq!(running.progress.snapshot().state, State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_source_is_given_up_after_the_configured_time() {
    let bench = Bench::start("justice/mediation-cases").await;
    let SourceConfig::File(mut source) = bench.files() else { unreachable!() };
    source.pace.give_up_after = Duration::from_millis(200);
    let error = bench.once(&SourceConfig::File(source)).await.unwrap_err().to_string();
    assert!(error.contains("given up") && error.contains("source"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_field_of_ten_megabytes_only_the_beginning_arrives_and_its_neighbours_are_whole() {
    let bench = Bench::start("justice/mediation-cases").await;
    let long = "纠".repeat(10 << 20 >> 1);
    bench.write(
        "cases.jsonl",
        format!(
            "{{\"case_no\":\"T1\"}}\n{{\"case_no\":\"T2\",\"address\":\"{long}\"}}\n{{\"case_no\":\"T3\"}}\n"
        ),
    );
    let summary = bench.once(&bench.files()).await.unwrap();
    assert_eq!((summary.records, summary.truncated), (3, 1));
    let raw = bench.raw().await;
    let limit = bench.contract.ingest.max_record_bytes;
    let cut = raw.iter().find(|message| message.provenance().unwrap().unwrap().truncated).unwrap();
    assert_eq!(cut.value().unwrap().len(), limit + 1);
    assert_eq!(raw.iter().filter(|message| message.value().unwrap().len() == 16).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_fields_of_json_lines_never_reach_the_raw_topic() {
    let bench = Bench::start("police/housing-registrations").await;
    let person = "32010619000101001X";
    let lines = [
        format!(
            "{{\"registration_id\":\"F1\",\"landlord_id_card\":\"{person}\",\"address\":\"样例路1号\",\"landlord_phone\":\"13800000001\"}}"
        ),
        format!("{{\"registration_id\":\"F2\",\"landlord_id_card\":\"{person}"),
        format!(
            "{{\"registration_id\":\"F3\",\"tenant_phone\":\"13800000001\",\"note\":\"{}\"}}",
            person.repeat(2000)
        ),
    ];
    bench.write("full-0001.jsonl", lines.join("\n"));
    let summary = bench.once(&bench.files()).await.unwrap();
    assert_eq!((summary.records, summary.withheld), (3, 2));
    for message in bench.raw().await {
        let headers: Vec<u8> = message.headers().flat_map(|(_, value)| value.to_vec()).collect();
        for bytes in [message.key().unwrap(), message.value().unwrap(), &headers] {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains("3201061900") && !text.contains("138000"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_whose_broker_is_away_shows_it_and_stops_when_asked_and_goes_on_later() {
    let mut bench = Bench::start("utilities/water-readings").await;
    if !bench.can_stop_broker() {
        return;
    }
    let file = |rows: std::ops::Range<usize>| {
        gbk(&rows.fold(format!("{HEADER}\n"), |text, n| format!("{text}{}\n", reading(n))))
    };
    bench.write("full-0001.csv", file(0..1000));
    let running = bench.start_connector(&bench.files(), Mode::Follow);
    until_sent(&running, 1000).await;
    bench.stop_broker().await;
    bench.write("increment-0002.csv", file(1000..3000));
    until("it is away", || async { matches!(running.progress.snapshot().state, State::Away(_)) }).await;
    let began = std::time::Instant::now();
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(8));
    bench.start_broker_again().await;
    bench.once(&bench.files()).await.unwrap();
    let raw = bench.raw().await;
    let keys: BTreeSet<&[u8]> = raw.iter().map(|message| message.key().unwrap()).collect();
    assert_eq!(keys.len(), 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_county_are_read_beside_hundreds_of_others_and_none_twice() {
    let bench = Bench::start("utilities/water-readings").await;
    for n in 0..300 {
        let name = format!("320110-2025-11-{n:03}.csv");
        bench.write(&name, gbk(&format!("{HEADER}\n{}\n", reading(n))));
    }
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 300);
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 0);
    for (n, name) in [(900, "320106-2025-11-03.csv"), (901, "01-01.csv"), (902, "水表.csv")] {
        bench.write(name, gbk(&format!("{HEADER}\n{}\n", reading(n))));
    }
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 3);
    std::fs::remove_file(bench.source().join("01-01.csv")).unwrap();
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 0);
    bench.write("01-01.csv", gbk(&format!("{HEADER}\n{}\n", reading(903))));
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 1);
}
