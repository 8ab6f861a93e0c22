//! What travels through Yibiao and how far it has been read.
//!
//! ```text
//!  raw record ──► Fact (one record's statement about one place) ──► Frame (facts of one raw partition)
//!   Provenance     or Rejection with a Reason                        FrameHeader + Arrow
//! ```
//!
//! No I/O happens here. In reading order: [`fault`] whose fault an error is; [`ids`] names of feeds, places
//! and facts; [`offset`] how far a partition has been read; [`value`] one cell, [`cells`] a row of them as bytes; [`schema`] columns, fact
//! kinds and tables; [`reason`] why a record is quarantined; [`frame`] facts in Arrow; [`change`] what a
//! fused table's change log says; [`crash`] where tests make a process die; [`proto`] the generated protobuf types.

pub mod cells;
pub mod change;
pub mod crash;
pub mod fault;
pub mod frame;
pub mod ids;
pub mod offset;
pub mod reason;
pub mod schema;
pub mod value;

/// Protobuf types generated from `schemas/yibiao/v1`.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/yibiao.v1.rs"));
}

pub use change::{Change, Operation};
pub use crash::CrashPoint;
pub use fault::{Fault, Party, Retry};
pub use frame::{Fact, Frame, FrameBuilder, FrameError, RawPosition, Statement};
pub use ids::{FactId, FeedId, IdError, PlaceId};
pub use offset::{NextOffset, TopicPartition};
pub use proto::{FrameHeader, Provenance, Rejection};
pub use reason::Reason;
pub use schema::{Column, ColumnType, FactKind, FactKinds, SchemaError, TableSchema};
pub use value::Value;
