//! Serving: SQL to people and to PostgreSQL clients, figures to Prometheus, a page to operators.
//!
//! ```text
//!  Lake ──► session ──► sql        yibiao sql "select …"  (table, CSV, JSON)
//!                  └──► postgres   psql, DBeaver, Superset; read only
//!  metrics recorder ──► metrics    /metrics
//!  Status (by a closure) ──► status    /, /status, /healthz
//! ```
//!
//! Everything listens on loopback unless told otherwise, and nothing here writes.

mod error;
mod http;
pub mod metrics;
pub mod postgres;
mod read_only;
pub mod sql;
pub mod status;

pub use self::metrics::Metrics;
pub use error::Error;
pub use http::Server;
pub use sql::{Answer, Format, run_sql};
pub use status::Status;
