//! What was fused is seen by SQL at once, whether or not the lake has it.
#![allow(clippy::unwrap_used)]

mod support;

use datafusion::{arrow::util::pretty::pretty_format_batches, prelude::SessionContext};
use support::*;
use yibiao_fusion::Applier;
use yibiao_tables::{
    Lake, Live, Projector,
    lake::{Config, Layout},
};

async fn ask(session: &SessionContext, sql: &str) -> String {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// Nothing in the lake, some of it, all of it: the answers are those of a lake that has everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_warnings_and_facts_are_seen_before_and_after_the_lake_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let (tables, folder) = (tables(), dir.path().join("lake"));
    let shard = open(&dir.path().join("shard"), &tables);
    let mut rules = rules(&tables).await;
    let mut applier = Applier::new(&shard, 1).unwrap();
    applier.refresh(&mut rules).await.unwrap();
    let lake = Lake::open(folder.to_str().unwrap(), Layout::new(&tables, 1)).unwrap();
    let live = lake.live_session(Live::new([shard.clone()]), []).unwrap();
    let mut projector = Projector::new(lake.clone(), vec![shard.clone()], Config::default());
    let queries = [
        "select place_id, rooms, hazards_90d, water_m3_30d, bucket from places order by 1".to_owned(),
        "select warning_id, state, severity, bucket from warnings order by 1".to_owned(),
        "select sequence, statement, source_key from fact_hazard order by 1".to_owned(),
        "select sequence, operation, place_id from places_changes order by 1".to_owned(),
        "select p.place_id, count(w.warning_id) from places p left join warnings w using (place_id) group by 1 order by 1".to_owned(),
        format!("select hazards_90d, bucket from places where place_id = {}", place("a").get()),
    ];
    let mut log = Log::default();
    let mut number = 0;
    for round in 0..4 {
        let from = log.frames.len();
        for name in ["a", "b", "c"] {
            log.push(vec![registration(place(name), round + 1, true, 1)]);
            for _ in 0..2 {
                number += 1;
                log.push(vec![hazard(place(name), number, round as i32, "燃气隐患", 3 + round % 3)]);
            }
        }
        apply(&mut applier, &mut rules, &log, from, log.frames.len(), 3).await;
        let mut before = Vec::new();
        for sql in &queries {
            before.push(ask(&live, sql).await);
        }
        assert!(before[1].contains("raised") || before[1].contains("updated") || round == 0, "{}", before[1]);
        if round == 1 {
            // The next round is shown over this one.
            projector.project_once().await.unwrap();
        }
        if round == 3 {
            projector.project_once().await.unwrap();
            let level = lake.session([]).unwrap();
            for (sql, before) in queries.iter().zip(&before) {
                assert_eq!(ask(&level, sql).await, *before, "{sql}");
                assert_eq!(ask(&live, sql).await, *before, "{sql}");
            }
        }
    }
}
