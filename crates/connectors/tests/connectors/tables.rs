//! A PostgreSQL table.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use yibiao_connectors::{Mode, PostgresSource, SourceConfig, State};
use yibiao_records::Party;

use crate::{
    bench::{Bench, quick, until, until_sent},
    database::{PASSWORD, Server},
};

const TABLE: &str = "create table housing_registrations (
    registration_id text primary key, address text, area_m2 numeric, rooms int, is_rental boolean,
    registered_count int, valid_from date, updated_at timestamptz, landlord_id_card text, landlord_phone text)";

fn source(server: &Server, password: &str) -> SourceConfig {
    let source = PostgresSource::new(server.url(password), "housing_registrations");
    SourceConfig::Postgres(PostgresSource { page: 100, pace: quick(), ..source })
}

/// `minutes` before the present; many rows share one update time.
async fn insert(client: &Client, rows: std::ops::Range<i32>, minutes: i32) {
    let insert = "insert into housing_registrations
        select 'F' || lpad(n::text, 6, '0'), '鼓楼区样例路' || n || '号', 58.50, 2, true, 3, '2025-06-01',
            date_trunc('minute', now()) - make_interval(mins => $3), '32010619000101001X', '13800000001'
        from generate_series($1::int, $2::int - 1) n";
    client.execute(insert, &[&rows.start, &rows.end, &minutes]).await.unwrap();
}

async fn counts(bench: &Bench) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in bench.raw().await {
        *counts.entry(String::from_utf8(message.key().unwrap().to_vec()).unwrap()).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_by_update_time_and_key_through_ties_late_commits_and_an_outage() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::start("police/housing-registrations").await;
    let source = source(&server, PASSWORD);
    let client = server.client().await;
    client.batch_execute(TABLE).await.unwrap();
    insert(&client, 0..1000, 60).await;
    insert(&client, 1000..1250, 30).await;
    client
        .batch_execute("insert into housing_registrations (registration_id) values ('no update time')")
        .await
        .unwrap();
    let summary = bench.once(&source).await.unwrap();
    assert_eq!((summary.records, summary.dropped), (1250, 1));
    let raw = bench.raw().await;
    for message in &raw {
        let text = std::str::from_utf8(message.value().unwrap()).unwrap();
        assert!(
            !text.contains("landlord") && !text.contains("3201061900") && !text.contains("138000"),
            "{text}"
        );
    }
    let text = std::str::from_utf8(raw[0].value().unwrap()).unwrap();
    assert!(text.contains("\"area_m2\":58.50,\"rooms\":2,\"is_rental\":true"), "{text}");
    assert!(text.contains("+08:00\"") && text.contains("\"valid_from\":\"2025-06-01\""), "{text}");
    assert!(!raw[0].provenance().unwrap().unwrap().source.contains(PASSWORD));

    // The next start goes on: only what lies within the overlap comes again.
    let running = bench.start_connector(&source, Mode::Follow);
    until("it waits", || async { running.progress.snapshot().state == State::Waiting }).await;
    // A transaction that began before others and commits after they were read.
    let late = server.client().await;
    late.batch_execute("begin").await.unwrap();
    insert(&late, 2000..2001, 1).await;
    insert(&client, 3000..3010, 0).await;
    until("the others are read", || async { counts(&bench).await.contains_key("F003009") }).await;
    late.batch_execute("commit").await.unwrap();
    until("the late one is read", || async { counts(&bench).await.contains_key("F002000") }).await;
    // A row of the future does not hide what comes after it.
    client.batch_execute("update housing_registrations set updated_at = now() + interval '1 year' where registration_id = 'F000001'").await.unwrap();
    until("the future is read", || async { counts(&bench).await["F000001"] == 2 }).await;

    drop((client, late));
    server.stop();
    until("it is away", || async { matches!(running.progress.snapshot().state, State::Away(_)) }).await;
    server.start_again();
    let client = server.client().await;
    insert(&client, 4000..4001, 0).await;
    until("it is back", || async { counts(&bench).await.contains_key("F004000") }).await;
    running.stop().await;
    let counts = counts(&bench).await;
    assert_eq!(counts.len(), 1250 + 1 + 10 + 1);
    assert!(
        (0..1000).filter(|n| *n != 1).all(|n| counts[&format!("F{n:06}")] == 1),
        "old rows were read once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_that_was_killed_goes_on_and_what_an_operator_must_mend_is_told_without_the_password() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::start("police/housing-registrations").await;
    let refused = async |source: &SourceConfig| {
        let error = bench.once(source).await.unwrap_err();
        assert_eq!(error.fault().party, Party::Operator, "{error}");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
        error.to_string()
    };
    assert!(refused(&source(&server, "wrong")).await.contains("password"));
    assert!(refused(&source(&server, PASSWORD)).await.contains("housing_registrations"));
    let client = server.client().await;
    client
        .batch_execute("create table housing_registrations (registration_id text, updated_at timestamp)")
        .await
        .unwrap();
    assert!(refused(&source(&server, PASSWORD)).await.contains("rooms"));
    client.batch_execute("drop table housing_registrations").await.unwrap();
    client.batch_execute(&TABLE.replace("updated_at timestamptz", "updated_at bigint")).await.unwrap();
    let message = refused(&source(&server, PASSWORD)).await;
    assert!(message.contains("updated_at is of type bigint, not a time"), "{message}");

    client.batch_execute("drop table housing_registrations").await.unwrap();
    client.batch_execute(TABLE).await.unwrap();
    client
        .batch_execute("create index on housing_registrations (updated_at, registration_id)")
        .await
        .unwrap();
    // All with one update time: only the key tells them apart.
    insert(&client, 0..20_000, 5).await;
    let running = bench.start_connector(&source(&server, PASSWORD), Mode::Once);
    until_sent(&running, 5000).await;
    running.kill().await;
    bench.once(&source(&server, PASSWORD)).await.unwrap();
    assert_eq!(counts(&bench).await.len(), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_older_than_the_overlap_are_not_asked_for_again_even_where_nothing_is_newer() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::start("police/housing-registrations").await;
    let source = source(&server, PASSWORD);
    let client = server.client().await;
    client.batch_execute(TABLE).await.unwrap();
    // One bulk update: all rows have the same time, and no later row is there.
    insert(&client, 0..3000, 10).await;
    assert_eq!(bench.once(&source).await.unwrap().records, 3000);
    // Each start knows nothing of what was sent before, so what is asked for is sent.
    assert_eq!(bench.once(&source).await.unwrap().records, 0);
    insert(&client, 4000..4010, 2).await;
    assert_eq!(bench.once(&source).await.unwrap().records, 10);
    // Rows younger than the overlap come again, and one that was committed before them in time is seen.
    insert(&client, 5000..5001, 3).await;
    assert_eq!(bench.once(&source).await.unwrap().records, 11);
    assert_eq!(counts(&bench).await.len(), 3011);

    // The same with days instead of times.
    client
        .batch_execute(
            "alter table housing_registrations alter updated_at type date using updated_at::date - 3",
        )
        .await
        .unwrap();
    let bench = Bench::start("police/housing-registrations").await;
    assert_eq!(bench.once(&source).await.unwrap().records, 3011);
    assert_eq!(bench.once(&source).await.unwrap().records, 0);
}

/// Runs itself in a process of its own, because the environment belongs to all tests of a process.
#[test]
fn a_url_without_a_password_gets_it_from_the_environment_and_a_missing_one_is_the_operators() {
    const MARKER: &str = "YIBIAO_TEST_OWN_PROCESS";
    const NAME: &str =
        "tables::a_url_without_a_password_gets_it_from_the_environment_and_a_missing_one_is_the_operators";
    if std::env::var_os(MARKER).is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(without_password());
        return;
    }
    for password in [Some(PASSWORD), None] {
        let mut own = std::process::Command::new(std::env::current_exe().unwrap());
        own.args(["--exact", NAME, "--nocapture"]).env(MARKER, "1").env_remove("PGPASSWORD");
        if let Some(password) = password {
            own.env("PGPASSWORD", password);
        }
        let output = own.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
}

async fn without_password() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::start("police/housing-registrations").await;
    let client = server.client().await;
    client.batch_execute(TABLE).await.unwrap();
    insert(&client, 0..5, 10).await;
    let url = server.url_without_password();
    let source = PostgresSource { pace: quick(), ..PostgresSource::new(url, "housing_registrations") };
    let outcome = bench.once(&SourceConfig::Postgres(source)).await;
    if std::env::var_os("PGPASSWORD").is_some() {
        assert_eq!(outcome.unwrap().records, 5);
    } else {
        let error = outcome.unwrap_err();
        assert_eq!(error.fault().party, Party::Operator, "{error}");
        assert!(error.to_string().contains("PGPASSWORD"), "{error}");
    }
}
