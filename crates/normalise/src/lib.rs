//! Raw records to standard facts: decode by contract, resolve the address, keep only what changed.
//!
//! ```text
//!  raw.<department>.<feed> ──► decode ──► source / resolve ──► diff ──► emit ──► std.<kind>   frames of facts
//!       one shard a partition     │             │  gazetteer     ▲        └────► quarantine.<department>.<feed>
//!                                 └── Refusal ──┴──────────────► │                 reason, position, the bytes
//!                                                              state: what is known of each source record,
//!                                                              positions and accounts, one atomic batch
//! ```
//!
//! A batch is read, judged, sent, acknowledged, and only then committed. A crash before the commit sends the same
//! again: every decision depends on nothing but the input, the state, and the versions of contract and gazetteer that
//! the state names. Downstream drops what it has by the raw position in every fact.
//!
//! In reading order: [`config`]; [`decode`] a raw record by its contract; [`source`] where a feed's facts lie;
//! [`resolve`] an address to its place; [`diff`] what a record changes; [`dump`] what the end of a full dump changes;
//! [`emit`] frames and rejections; [`state`] what is known; [`same`] what is remembered of it; [`shard`] all of these for one raw partition; [`run`] threads, batches and commits;
//! [`accounting`] received = accepted + quarantined + unchanged; [`gazetteer`] which gazetteer is in force and
//! how one is made; [`quarantine`] what of it counts; [`replay`] quarantined records once more; [`revise`] records once more that another gazetteer
//! answers otherwise; [`announce`] which gazetteer is in force, where the normaliser moves; [`events`] what is logged and counted.

pub mod accounting;
pub mod announce;
pub mod config;
pub mod decode;
pub mod diff;
pub mod dump;
pub mod emit;
mod error;
mod events;
pub mod gazetteer;
pub mod quarantine;
pub mod replay;
pub mod resolve;
pub mod revise;
pub mod run;
pub mod same;
pub mod shard;
pub mod source;
pub mod state;

pub use accounting::{Accounting, Counts, FeedAccount, PartitionAccount};
pub use announce::Custodian;
pub use config::Config;
pub use error::Error;
pub use gazetteer::{
    Builder as GazetteerBuilder, Editions, Facts as GazetteerFacts, Folder as GazetteerFolder,
    Report as GazetteerReport,
};
pub use replay::{Replayed, replay};
pub use run::Normaliser;
