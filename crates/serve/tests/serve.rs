//! The ports as clients see them: tokio-postgres, the real psql, HTTP.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, process::Command, sync::Arc};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use yibiao_records::{Column, ColumnType, TableSchema, Value};
use yibiao_serve::{
    Error, Format, Metrics, Server, Status,
    postgres::{Config, postgres},
    run_sql, sql, status,
};
use yibiao_tables::{
    Lake,
    lake::{Commit, Fused, Layout, batch},
};

fn layout() -> Layout {
    use ColumnType::{Bool, Date, Decimal, Int, Text, Timestamp};
    let columns = [
        ("place_id", Int, "地点"),
        ("address", Text, "标准地址"),
        ("area_m2", Decimal, "面积"),
        ("is_rental", Bool, "是否出租"),
        ("last_event_on", Date, "最近事件"),
        ("updated_at", Timestamp, "更新时间"),
    ];
    let columns = columns.into_iter().map(|(name, t, title)| Column::new(name, t, title)).collect();
    let schema = TableSchema { name: "places".into(), columns };
    let places = Fused { schema, title: "地点融合表".into(), keyed: true };
    Layout { tables: vec![places], shards: 1, buckets_per_shard: 1 }
}

async fn lake() -> (TempDir, Lake) {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(dir.path().to_str().unwrap(), layout()).unwrap();
    let base = lake.layout().tables[0].base().unwrap();
    let row = |place: i64, address: &str| {
        vec![
            Value::Int(place),
            Value::Text(address.into()),
            Value::Decimal(48_500),
            Value::Bool(true),
            Value::Date(20_395),
            Value::Timestamp(1_762_128_000_000),
            Value::Int(0),
        ]
    };
    let rows = [row(1, "鼓楼区国泰新村25幢402室"), row(2, "鼓楼区国泰新村25幢403室")];
    let mut table = lake.open_table(&base).await.unwrap();
    let mut writer = table.writer().unwrap();
    writer.write(&batch(&base.schema, &rows).unwrap()).await.unwrap();
    let add = writer.finish().await.unwrap();
    table.commit(Commit { add, ..Commit::default() }).await.unwrap();
    (dir, lake)
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn serve(lake: &Lake) -> (Server, CancellationToken) {
    let shutdown = CancellationToken::new();
    let config = Config { listen: any_port(), ..Config::default() };
    (postgres(&config, lake.session([]).unwrap(), shutdown.clone()).await.unwrap(), shutdown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_reads_every_type_with_parameters_and_cannot_write() {
    let (_dir, lake) = lake().await;
    let (server, shutdown) = serve(&lake).await;
    let address = format!("host=127.0.0.1 port={} user=analyst dbname=yibiao", server.address.port());
    let (client, connection) = tokio_postgres::connect(&address, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = "select address, is_rental, last_event_on::text, area_m2::text from places where place_id = $1";
    let rows = client.query(sql, &[&2i64]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<_, &str>(0), "鼓楼区国泰新村25幢403室");
    assert!(rows[0].get::<_, bool>(1));
    assert_eq!(rows[0].get::<_, &str>(2), "2025-11-03");
    assert_eq!(rows[0].get::<_, &str>(3), "48.500");
    for sql in [
        "delete from places",
        "insert into places values (3)",
        "create table copied as select * from places",
        "copy places to '/tmp/yibiao-out.csv'",
        "drop table places",
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
        assert!(error.message().contains("read only"), "{sql}: {}", error.message());
        assert_eq!(error.code().code(), "25006");
        let error = client.prepare(sql).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("read only"), "{sql}");
    }
    // The connection is still good, and what comes later is seen by a prepared statement.
    let count = client.prepare("select count(*) from places").await.unwrap();
    assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 2);
    let base = lake.layout().tables[0].base().unwrap();
    let mut table = lake.open_table(&base).await.unwrap();
    table.commit(Commit { replace_buckets: [0].into(), ..Commit::default() }).await.unwrap();
    assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 0);
    shutdown.cancel();
    server.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_describes_and_queries() {
    if Command::new("psql").arg("--version").output().is_err() {
        eprintln!("skipped: psql is not installed");
        return;
    }
    let (_dir, lake) = lake().await;
    let (server, shutdown) = serve(&lake).await;
    let url = format!("postgresql://analyst@127.0.0.1:{}/yibiao", server.address.port());
    let psql = |command: &'static str| {
        let url = url.clone();
        async move {
            let run = move || Command::new("psql").args([&url, "-X", "-c", command]).output().unwrap();
            let output = tokio::task::spawn_blocking(run).await.unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.success(), text(&output.stdout) + &text(&output.stderr))
        }
    };
    for (command, parts) in [
        ("\\d", vec!["places", "places_changes", "catalogue"]),
        ("\\dt", vec!["places", "table"]),
        ("\\d places", vec!["place_id", "bigint", "area_m2", "numeric", "updated_at", "timestamp"]),
        (
            "select * from places order by place_id",
            vec!["国泰新村25幢402室", "48.500", "2025-11-03", "(2 rows)"],
        ),
        ("select table_name from information_schema.tables where table_schema = 'public'", vec!["places"]),
        ("explain select * from places where place_id = 1", vec!["plan"]),
        ("\\l", vec!["yibiao"]),
        ("\\dn", vec!["public"]),
    ] {
        let (good, output) = psql(command).await;
        assert!(good, "{command}: {output}");
        for part in parts {
            assert!(output.contains(part), "{command}: {part}: {output}");
        }
    }
    let (good, output) = psql("truncate places").await;
    assert!(!good && output.contains("read only"), "{output}");
    let (good, output) = psql("select nothing from places").await;
    assert!(!good && output.contains("nothing"), "{output}");
    shutdown.cancel();
    server.task.await.unwrap();
}

#[tokio::test]
async fn one_statement_is_shown_as_table_csv_and_json_and_only_reads() {
    let (_dir, lake) = lake().await;
    let session = lake.session([]).unwrap();
    let answer =
        run_sql(&session, "select place_id, address, area_m2 from places order by 1;").await.unwrap();
    assert_eq!(answer.rows(), 2);
    let show = |format| {
        let mut out = Vec::new();
        sql::write(&answer, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert!(show(Format::Table).contains("| 1        | 鼓楼区国泰新村25幢402室"), "{}", show(Format::Table));
    assert!(show(Format::Csv).starts_with("place_id,address,area_m2\n1,鼓楼区国泰新村25幢402室,48.500\n"));
    let json: serde_json::Value = serde_json::from_str(&show(Format::Json)).unwrap();
    assert_eq!(json[1]["place_id"], 2);
    let empty = run_sql(&session, "select place_id from places where place_id = 9").await.unwrap();
    let mut out = Vec::new();
    sql::write(&empty, Format::Csv, &mut out).unwrap();
    assert_eq!(out, b"place_id\n");
    for sql in ["drop table places", "delete from places", "copy places to 'x.csv'", "set a = 1"] {
        let error = run_sql(&session, sql).await.unwrap_err();
        assert!(matches!(error, Error::ReadOnly(_)), "{sql}: {error}");
    }
    let error = run_sql(&session, "select nothing from places").await.unwrap_err();
    assert!(matches!(error, Error::Sql(_)), "{error}");
}

async fn get(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_status_page_health_and_metrics_answer_and_only_on_loopback() {
    let metrics = Metrics::install().unwrap();
    metrics::counter!("yibiao_received_records_total", "stage" => "test").increment(3);
    let shutdown = CancellationToken::new();
    let source: status::Source = Arc::new(|| Status {
        title: "一标".into(),
        feeds: vec![status::Feed { feed: "a/b".into(), received: 2, accepted: 2, ..Default::default() }],
        troubles: vec!["苏州市数据中心的授权已到期".into()],
        ..Status::default()
    });
    let remote = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = status::status(remote, source.clone(), None, shutdown.clone()).await;
    assert!(matches!(refused, Err(Error::NotLoopback { .. })));
    let server = status::status(any_port(), source, Some(&metrics), shutdown.clone()).await.unwrap();
    assert!(get(server.address, "/").await.contains("授权已到期"));
    assert!(get(server.address, "/status").await.contains("\"received\":2"));
    assert!(get(server.address, "/healthz").await.starts_with("HTTP/1.1 503"));
    let figures = get(server.address, "/metrics").await;
    assert!(figures.contains("yibiao_received_records_total{stage=\"test\"} 3"), "{figures}");
    let alone = metrics.serve(any_port(), shutdown.clone()).await.unwrap();
    assert!(get(alone.address, "/metrics").await.contains("stage=\"test\""));
    shutdown.cancel();
    server.task.await.unwrap();
}
