//! Connectors: each brings one outside source into one raw topic.
//!
//! ```text
//!  file ─────┐                             ┌──► raw.<department>.<feed>   key, untouched bytes, provenance
//!  postgres ─┤   records   ┌────────┐      │
//!  http ─────┼────────────►│ Intake │──────┤
//!  kafka ────┘             └────────┘      └──► yibiao.cursors            where to resume, after the
//!                      the contract's Door                                 acknowledgement of what was sent
//! ```
//!
//! [`run`] is the whole interface. A connector resumes where it stopped (after a crash it sends a little again,
//! which is harmless: raw topics are keyed and unchanged records stop at the normaliser), waits while its source is
//! away, keeps at most a page, a chunk or a row in memory, and shows its [`Progress`].
//!
//! In reading order: [`config`] what an operator sets; [`run`](mod@run) one `match` over the connectors, and the back-off
//! around them; [`intake`] what they all do with a record; then the four: [`file`], [`postgres`], [`http`], [`kafka`].

mod back_off;
pub mod config;
mod error;
pub mod file;
pub mod http;
pub mod intake;
pub mod kafka;
pub mod postgres;
pub mod progress;
pub mod run;

pub use config::{FileSource, HttpSource, KafkaSource, Mode, Pace, PostgresSource, SourceConfig};
pub use error::Error;
pub use progress::{Progress, Snapshot, State};
pub use run::{Summary, check, run};
