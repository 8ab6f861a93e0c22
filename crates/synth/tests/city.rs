//! A written city, looked at as the departments' receivers see it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use yibiao_contracts::{load_dir, load_fact_kinds, try_files};
use yibiao_synth::{CANARY, Kind, Plan, Report, hazard_messages, score, serve_electricity, write_city};

/// One small city for all tests that only read.
static CITY: LazyLock<(tempfile::TempDir, Report)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let report = write_city(&small(), dir.path(), |_| {}).unwrap();
    (dir, report)
});

fn small() -> Plan {
    Plan { dwellings: 800, days: 7, ..Plan::default() }
}

fn city() -> (&'static Path, &'static Report) {
    (CITY.0.path(), &CITY.1)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn rows(dir: &Path, name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(dir.join("truth").join(name)).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn the_same_plan_gives_the_same_bytes_and_another_seed_gives_others() {
    let plan = Plan { dwellings: 300, days: 7, ..Plan::default() };
    let written = |plan: &Plan| {
        let dir = tempfile::tempdir().unwrap();
        write_city(plan, dir.path(), |_| {}).unwrap();
        let relative = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().to_path_buf();
        files(dir.path()).iter().map(|path| (relative(path), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    let (once, twice) = (written(&plan), written(&plan));
    assert_eq!(once.len(), twice.len());
    for ((path, a), (_, b)) in once.iter().zip(&twice) {
        assert!(a == b, "{} differs", path.display());
    }
    let other = written(&Plan { seed: 2, ..plan });
    assert!(
        once.iter()
            .filter(|(path, _)| path.starts_with("sources"))
            .zip(&other)
            .all(|((_, a), (_, b))| a != b)
    );
}

/// What the contracts make of each feed: outcomes by reason, "" for what was accepted.
fn outcomes(dir: &Path) -> BTreeMap<String, BTreeMap<String, u64>> {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let kinds = load_fact_kinds(&pipelines.join("facts")).unwrap();
    let contracts = load_dir(&pipelines.join("feeds"), &kinds).unwrap();
    let mut outcomes: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for contract in contracts.iter() {
        let feed = contract.feed.to_string();
        for path in files(&dir.join("sources").join(&feed)) {
            let tried = try_files(contract, &kinds, &path, None).unwrap();
            for record in tried.records {
                let reason = record.outcome.err().map(|reject| reject.reason.code()).unwrap_or_default();
                *outcomes.entry(feed.clone()).or_default().entry(reason.to_owned()).or_default() += 1;
            }
        }
    }
    outcomes
}

#[test]
fn the_contracts_refuse_exactly_the_records_that_were_broken_and_for_that_reason() {
    let (dir, report) = city();
    let mut found = outcomes(dir);
    assert_eq!(found.len(), 9);
    for (feed, written) in &report.feeds {
        let mut expected = written.broken.clone();
        // Whether an address lies in another province is seen later, when it is resolved.
        let abroad = expected.remove("other_province").unwrap_or(0);
        let accepted = written.records - written.broken_total() + abroad;
        expected.insert(String::new(), accepted);
        assert_eq!(found.remove(feed).unwrap(), expected, "{feed}");
    }
}

#[test]
fn every_feed_shows_every_kind_of_broken_record_that_its_form_can_have() {
    let (_, report) = city();
    let broken = |feed: &str| report.feeds[feed].broken.keys().map(String::as_str).collect::<HashSet<_>>();
    for feed in ["utilities/water-readings", "utilities/gas-readings"] {
        for reason in [
            "undecodable",
            "malformed",
            "bad_date",
            "out_of_range",
            "bad_number",
            "empty_address",
            "other_province",
            "missing_key",
        ] {
            assert!(broken(feed).contains(reason), "{feed} {reason}");
        }
    }
    for feed in [
        "utilities/water-readings",
        "utilities/electricity-readings",
        "police/standard-addresses",
        "justice/mediation-cases",
    ] {
        assert!(broken(feed).contains("unknown_column"), "{feed}");
    }
    assert!(broken("grid/hazard-reports").contains("wrong_schema"));
    assert!(broken("civil-affairs/organisations").contains("empty_address"));
    assert!(broken("police/housing-registrations").contains("withheld"));
    assert!(report.feeds.values().all(|feed| feed.records > 0 && feed.bytes > 0));
    for feed in ["utilities/water-readings", "utilities/electricity-readings", "utilities/gas-readings"] {
        let it = &report.feeds[feed];
        assert!(
            it.late > 0 && it.repeated > 0 && it.corrected > 0 && it.missing > 0 && it.strangers > 0,
            "{feed}"
        );
    }
}

#[test]
fn the_truth_knows_every_account_that_reads_and_every_place_that_it_names() {
    let (dir, report) = city();
    let places: HashSet<String> = rows(dir, "places.csv").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(places.len() as u32, report.places);
    let matches = rows(dir, "matches.csv");
    let keys: HashSet<(&str, &str)> = matches.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    assert_eq!(keys.len(), matches.len(), "a key has two truths");
    assert!(matches.iter().all(|row| row[2] == "NONE" || places.contains(&row[2])));
    let log = dir.join("sources/utilities/electricity-readings/readings.jsonl");
    for line in fs::read_to_string(log).unwrap().lines() {
        let item: serde_json::Value = serde_json::from_str(line).unwrap();
        let meter = item["meter_no"].as_str().unwrap();
        let is_refused = meter.is_empty() || item["service_address"] == "";
        assert!(is_refused || keys.contains(&("utilities/electricity-readings", meter)), "{line}");
    }
    let listed = fs::read(dir.join("sources/police/standard-addresses/full-0005.csv")).unwrap();
    let listed = String::from_utf8_lossy(&listed);
    let listed: HashSet<&str> = listed.lines().filter_map(|line| line.split(',').next()).collect();
    assert!(places.iter().all(|place| listed.contains(place.as_str())), "the last dump holds every place");
}

#[test]
fn increments_bring_new_places_and_withdraw_old_ones() {
    let (dir, _) = city();
    let read = |name: &str| {
        let bytes = fs::read(dir.join("sources/police/standard-addresses").join(name)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let codes = |text: &str| {
        text.lines()
            .skip(1)
            .filter_map(|line| line.split(',').next().map(str::to_owned))
            .collect::<HashSet<_>>()
    };
    let first = codes(&read("full-0001.csv"));
    let increments = format!("{}{}", read("increment-0002.csv"), read("increment-0003.csv"));
    assert!(codes(&increments).iter().any(|code| !first.contains(code)), "nothing new");
    assert!(codes(&increments).iter().any(|code| first.contains(code)), "nothing changed");
    assert!(increments.contains(",注销,"), "nothing withdrawn");
    let names = fs::read(dir.join("sources/civil-affairs/place-names/increment-0002.csv")).unwrap();
    assert!(String::from_utf8_lossy(&names).contains("更名"));
}

#[test]
fn personal_values_are_canaries_wherever_they_stand() {
    let (dir, _) = city();
    let holds = |feed: &str| {
        files(&dir.join("sources").join(feed)).iter().any(|path| {
            let bytes = fs::read(path).unwrap();
            bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
        })
    };
    for feed in [
        "police/housing-registrations",
        "justice/mediation-cases",
        "utilities/water-readings",
        "police/standard-addresses",
    ] {
        assert!(holds(feed), "{feed}");
    }
    assert!(!holds("utilities/gas-readings") && !holds("grid/hazard-reports"));
    let script = fs::read_to_string(dir.join("postgres/housing_registrations.sql")).unwrap();
    let data: Vec<&str> = script
        .lines()
        .skip_while(|line| !line.starts_with("COPY"))
        .skip(1)
        .take_while(|line| *line != "\\.")
        .collect();
    assert!(data.len() > 700 && data.iter().all(|line| line.split('\t').count() == 10));
}

#[test]
fn hazard_messages_come_with_their_keys_and_those_that_cannot_be_read_have_one_too() {
    let (dir, report) = city();
    let messages: Vec<(String, Vec<u8>)> = hazard_messages(dir).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(messages.len() as u64, report.feeds["grid/hazard-reports"].records);
    assert!(messages.iter().all(|(key, value)| !key.is_empty() && !value.is_empty()));
    assert!(messages.iter().any(|(key, _)| key.starts_with("unreadable-")));
    assert!(messages.iter().filter(|(key, _)| key.starts_with("HZ")).count() > messages.len() / 2);
}

#[test]
fn a_perfect_pipeline_scores_one() {
    let (dir, report) = city();
    let truth = score::Truth::open(dir).unwrap();
    let matches = rows(dir, "matches.csv");
    let answers = matches
        .iter()
        .map(|row| (row[0].as_str(), row[1].as_str(), if row[2] == "NONE" { "" } else { row[2].as_str() }));
    let score = score::matches(&truth, answers);
    assert_eq!(score.feeds.len(), 7);
    assert!(score.feeds.values().all(|it| it.precision == 1.0 && it.recall == 1.0 && it.unknown_keys == 0));
    let dwellings = rows(dir, "dwellings.csv");
    let crowded = dwellings.iter().filter(|row| row[1] == Kind::Crowded.name() && row[10].is_empty());
    let warnings = score::warnings(&truth, crowded.map(|row| row[0].as_str()), report.plan.end);
    assert_eq!((warnings.precision, warnings.recall), (1.0, 1.0));
    let silent = dwellings.iter().filter(|row| !row[11].is_empty());
    assert_eq!(silent.clone().count() as u32, report.silent);
    let silence = score::silence(&truth, silent.map(|row| row[0].as_str()), report.plan.end, 30);
    assert_eq!((silence.precision, silence.recall), (1.0, 1.0));
    let kinds: HashMap<&str, usize> = dwellings.iter().fold(HashMap::new(), |mut kinds, row| {
        *kinds.entry(row[1].as_str()).or_default() += 1;
        kinds
    });
    assert!(
        report
            .dwellings_by_kind
            .iter()
            .all(|(kind, n)| kinds.get(kind.name()).copied().unwrap_or(0) == *n as usize)
    );
}

#[test]
fn a_folder_that_holds_a_city_is_not_overwritten_and_a_foolish_plan_is_refused() {
    let (dir, _) = city();
    let again = write_city(&small(), dir, |_| {}).unwrap_err();
    assert!(again.to_string().contains("already holds a city"));
    let elsewhere = tempfile::tempdir().unwrap();
    let plan = Plan { dwellings: 3, ..Plan::default() };
    assert!(write_city(&plan, elsewhere.path(), |_| {}).unwrap_err().to_string().contains("300"));
}

/// Status and body of a GET, without a client library.
fn get(url: &str, token: &str, query: &str) -> (u16, String) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!(
        "GET /{path}{query} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_electricity_service_gives_every_reading_once_to_who_has_the_token() {
    let (dir, report) = city();
    let api = serve_electricity(dir, "secret", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = api.url();
    assert_eq!(get(&url, "guess", "").0, 401);
    assert_eq!(get(&url, "secret", "?limit=5001").0, 400);
    assert_eq!(get(&url, "secret", "?cursor=7").0, 400);
    api.set_away(true);
    assert_eq!(get(&url, "secret", "").0, 503);
    api.set_away(false);
    let mut items = Vec::new();
    let mut query = "?limit=3000".to_owned();
    loop {
        let (status, body) = get(&url, "secret", &query);
        assert_eq!(status, 200, "{body}");
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        items.extend(page["items"].as_array().unwrap().iter().map(ToString::to_string));
        match page["next"].as_str() {
            Some(cursor) => query = format!("?limit=3000&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(items.len() as u64, report.feeds["utilities/electricity-readings"].records);
    let log = fs::read_to_string(dir.join("sources/utilities/electricity-readings/readings.jsonl")).unwrap();
    assert!(items.iter().map(String::as_str).eq(log.lines()));
    api.stop().await;
    assert!(TcpStream::connect(url.strip_prefix("http://").unwrap().split('/').next().unwrap()).is_err());
}
