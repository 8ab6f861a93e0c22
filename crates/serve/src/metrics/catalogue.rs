//! Every metric of the program, in the order of the flow: the one list that `/metrics`, the alarms and the operator's
//! page are checked against (crates/yibiao/tests/alarms.rs).

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and begins anew with the process.
    Counter,
    /// A state now.
    Gauge,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    pub name: &'static str,
    pub kind: Kind,
    /// All labels that it may have; not every series has each.
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// There from the start of a healthy process on; others show first when what they count happens.
    pub always: bool,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, kind: Kind::Counter, labels, help, always: true }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, kind: Kind::Gauge, labels, help, always: true }
}

const fn in_trouble(described: Described) -> Described {
    Described { always: false, ..described }
}

/// Only where SQL is served in this process.
const fn where_served(described: Described) -> Described {
    Described { always: false, ..described }
}

/// Only once a shard was loaded at once in this process.
const fn where_loaded(described: Described) -> Described {
    Described { always: false, ..described }
}

/// Only where something lies in an object store.
const fn where_in_object_store(described: Described) -> Described {
    Described { always: false, ..described }
}

const fn where_shards_move(described: Described) -> Described {
    Described { always: false, ..described }
}

/// The values of the label `stage` where `yibiao_stage_up` shows them. Errors of topics, which all stages use, come as
/// `topics`.
pub const STAGES: &[&str] =
    &["connectors", "normalise", "gazetteer", "fusion", "project", "checkpoint", "deliver", "serve"];

/// See the module.
pub const CATALOGUE: &[Described] = &[
    gauge("yibiao_started_at_seconds", &[], "when the process started, since the epoch"),
    gauge("yibiao_stage_up", &["stage"], "1 while the stage runs in this process"),
    // The five that each stage shows.
    counter("yibiao_received_records_total", &["stage", "feed", "centre"], "records that came in"),
    counter(
        "yibiao_sent_records_total",
        &["stage", "feed", "centre"],
        "records, facts or changes that went on",
    ),
    counter(
        "yibiao_dropped_records_total",
        &["stage", "feed", "centre", "reason"],
        "what did not go on, and why: unchanged, repeated, of another area, or in quarantine by its reason",
    ),
    in_trouble(counter(
        "yibiao_errors_total",
        &["stage", "feed", "centre", "code"],
        "errors by whose they are: ours, operator, outside_away, outside_bad_input",
    )),
    gauge(
        "yibiao_event_lag_seconds",
        &["stage", "feed", "centre"],
        "age of the newest record of the last batch when it was done",
    ),
    // Before and between the stages.
    gauge("yibiao_source_away", &["feed"], "1 while a connector's source does not answer; it is tried again"),
    gauge("yibiao_source_failed", &["feed"], "1 after a connector ended by an error; it is not tried again"),
    in_trouble(gauge(
        "yibiao_broker_away",
        &["client"],
        "1 while a client of this process reaches no broker",
    )),
    gauge(
        "yibiao_waiting_records",
        &["stage", "feed", "shard"],
        "what lies in the stage's topics and was not read yet: records for normalise, frames for fusion",
    ),
    gauge("yibiao_retention_seconds", &["stage"], "how long the stage's topics keep what was not read"),
    // normalise
    gauge(
        "yibiao_unbalanced_records",
        &["stage", "feed"],
        "received less accepted, quarantined and unchanged; 0, or an invariant is broken",
    ),
    gauge(
        "yibiao_waits_for_gazetteer",
        &["stage", "feed"],
        "1 while the feed is not read, because there is no gazetteer",
    ),
    gauge("yibiao_gazetteer_unusable", &["stage"], "1 while CURRENT names a gazetteer that is not in force"),
    in_trouble(counter(
        "yibiao_revised_records_total",
        &["stage", "feed", "outcome"],
        "records that another gazetteer answers otherwise: sent to be judged again, or expired from the raw topic",
    )),
    // fusion
    counter("yibiao_applied_facts_total", &["stage"], "facts that changed the state"),
    where_loaded(gauge("yibiao_load_left_frames", &["shard"], "frames that a first load has not read yet")),
    where_loaded(counter("yibiao_loaded_places_total", &["shard"], "places that a first load has merged")),
    counter("yibiao_due_timers_total", &["stage"], "timers looked at, because nothing had come for so long"),
    counter("yibiao_warnings_total", &["stage", "state"], "warnings raised, updated and cleared"),
    counter(
        "yibiao_state_wait_milliseconds_total",
        &["store"],
        "time that writers waited for the state store to reach the disk",
    ),
    // project
    gauge("yibiao_projection_lag_changes", &["stage"], "changes of the shards that are not in the lake"),
    gauge("yibiao_projected_at_seconds", &["stage"], "when the lake was last level, since the epoch"),
    counter("yibiao_projected_rows_total", &["stage", "table"], "rows appended to change logs"),
    counter("yibiao_rewritten_rows_total", &["stage", "table"], "rows written again in base tables"),
    where_served(gauge("yibiao_live_changes", &["table"], "rows that live tables showed beyond the lake")),
    // Shards that move, and checkpoints
    where_shards_move(gauge(
        "yibiao_shard_held",
        &["stage", "shard"],
        "1 while this process has the shard; only where shards follow a group",
    )),
    where_shards_move(counter(
        "yibiao_shards_moved_total",
        &["stage", "outcome"],
        "shards taken, handed_over in order, or lost to another process",
    )),
    where_shards_move(gauge(
        "yibiao_checkpoint_at_seconds",
        &["stage", "shard"],
        "when a checkpoint last had all of the shard, or this process took it, since the epoch",
    )),
    where_shards_move(counter(
        "yibiao_checkpoint_bytes_total",
        &["stage"],
        "bytes of checkpoints that were new, and travelled",
    )),
    // Object stores, where lake or checkpoints are in one
    where_in_object_store(counter(
        "yibiao_object_requests_total",
        &["method", "code"],
        "requests sent to object stores, those sent again included; code none: no answer",
    )),
    where_in_object_store(counter(
        "yibiao_object_request_milliseconds_total",
        &["method"],
        "time that these requests took until an answer began",
    )),
    where_in_object_store(gauge(
        "yibiao_object_store_away",
        &[],
        "1 while the last request to an object store had no answer",
    )),
    // deliver
    gauge(
        "yibiao_grant_ends_at_seconds",
        &["stage", "centre"],
        "end of the grant's last day, since the epoch",
    ),
    gauge("yibiao_delivery_failing", &["stage", "centre"], "1 after a round for this centre that failed"),
    gauge(
        "yibiao_audit_unwritable",
        &["stage"],
        "1 after an audit entry that was not written: nothing leaves",
    ),
    // serve
    where_served(gauge("yibiao_sql_connections", &[], "open connections of PostgreSQL clients")),
    // The machine.
    gauge("yibiao_disk_free_bytes", &["folder"], "space left on the file system of this folder"),
    gauge("yibiao_disk_size_bytes", &["folder"], "size of the file system of this folder"),
];

/// Tells the recorder what each metric is, for the lines of help in `/metrics`.
pub(super) fn describe() {
    for described in CATALOGUE {
        match described.kind {
            Kind::Counter => metrics::describe_counter!(described.name, described.help),
            Kind::Gauge => metrics::describe_gauge!(described.name, described.help),
        }
    }
}
