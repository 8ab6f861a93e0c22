//! Feed contracts: parse, check, compare, and decode records by them.
//!
//! ```text
//!  <department>/<feed>.odcs.yaml ── load ──► Contract or Problems (all of them, with line and remedy)
//!                                               │
//!          at the connector   raw bytes ── Door ┼──► key, bytes without what is personal
//!          at the normaliser  raw bytes ── Decoder ► Decoded, or a Reject with a reason
//! ```
//!
//! A contract is one valid Open Data Contract Standard v3.1 file; what the standard has no word for is in custom
//! properties `yibiao.ingest`, `yibiao.place`, `yibiao.fact`, `yibiao.privacy` and `yibiao.legal`.
//!
//! In reading order: [`contract`] what is agreed; [`load`] and `read` from YAML, `odcs` against the standard's own
//! schema, [`problem`] what is wrong; [`privacy`] names that look personal; [`door`] and [`pseudonym`] at the
//! connector; `row` bytes to cells, `convert`, [`text`], [`number`] and [`date`] cells to values, [`decode`] values
//! to what a record says; [`sample`] a feed's unit test; [`diff()`] what changes between two versions.

pub mod contract;
pub mod date;
pub mod decode;
pub mod diff;
pub mod door;
pub mod error;
pub mod key;
pub mod load;
pub mod number;
pub mod privacy;
pub mod problem;
pub mod pseudonym;
pub mod sample;
pub mod text;

mod convert;
mod odcs;
mod read;
mod row;
mod yaml;

pub use contract::{Contract, Encoding, Field, Form, FullDump, Ingest, PlaceMapping};
pub use decode::{Decoded, Decoder, Reject};
pub use diff::{Change, diff};
pub use door::{Admitted, Door};
pub use error::Error;
pub use load::{Contracts, load_dir, load_dir_on, load_fact_kinds, load_file, load_file_on};
pub use problem::{Problem, Problems};
pub use pseudonym::PseudonymKeys;
pub use sample::{SampleReport, try_files, try_sample};
