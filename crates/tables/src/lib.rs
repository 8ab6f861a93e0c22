//! Fused tables: the state that is the truth, and the lake that is its projection.
//!
//! ```text
//!  pipelines/tables/places.yaml ──► spec::Tables (which tables, which columns, how merged)
//!                                       │
//!  fusion ──► shard::Writer ──► Shard (embedded store: facts, rows, warnings, change log)
//!                                 │ View
//!                                 ├──► lake (Delta: change logs and base tables) ──► SQL, centres
//!                                 └──► checkpoint (object store), for shards that move
//! ```
//!
//! In reading order: [`spec`] the tables and their columns; [`shard`] the state of one std partition;
//! [`lake`] its projection, and SQL over it; [`checkpoint`] how a shard moves to another process or machine; [`objects`] where
//! both lie, if not in folders.

pub mod checkpoint;
mod error;
pub mod lake;
pub mod objects;
pub mod provider;
pub mod shard;
pub mod spec;

pub use error::{Error, Problem};
pub use lake::{Lake, Projector};
pub use provider::{CATALOG, Live, QueryLimits, SCHEMA};
pub use shard::{Shard, View};
pub use spec::Tables;
