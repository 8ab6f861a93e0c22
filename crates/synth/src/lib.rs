//! A seeded city with a known truth, for trying, testing and scoring.
//!
//! ```text
//!            divisions of Jiangsu        names made from parts
//!                       \                  /
//!   Plan ──> City: counties, roads, compounds, buildings, units, dwellings
//!                       |                              |
//!                  households ── habits, weather ── use of each day
//!                       |                              |
//!      spell: how each department writes an address    |
//!                       \                              /
//!                 feeds: nine departments' files ──> <dir>/sources/…
//!                       |
//!                 ledger: what is true, what was broken ──> <dir>/truth/… ──> score
//! ```
//!
//! All persons are invented; what stands for a person's data is a canary ([`CANARY`]) that tests can look for in every
//! output. The truth is for [`score`] alone: no stage of the pipeline may read it.
//!
//! Modules in reading order: [`plan`](Plan), `divisions`, `names`, `city`, `households`, `spell`, `feeds`, `ledger`,
//! `write`, `api`, [`score`].

mod api;
mod city;
mod dice;
mod divisions;
mod error;
mod feeds;
mod households;
mod ledger;
mod names;
mod plan;
mod report;
pub mod score;
mod spell;
mod write;

pub use api::{ElectricityApi, serve_electricity};
pub use error::Error;
pub use feeds::hazards::{HazardMessages, HazardReport, hazard_messages};
pub use households::Kind;
pub use plan::{Plan, Rates, Step};
pub use report::{Crowded, FeedReport, Report};
pub use write::write_city;

/// What every personal value of the city begins with: `CANARY-ID-…`, `CANARY-TEL-…`, `CANARY-NAME-…`.
pub const CANARY: &str = "CANARY-";
