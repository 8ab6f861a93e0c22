//! Delivery: each centre gets what it may have, and nothing else leaves.
//!
//! ```text
//!  pipelines/deliveries/<centre>.yaml ──► Grant: area, purposes, until, tables, columns
//!                                           │ expired? refused
//!  lake (change logs, base tables) ──► filter area ──► drop personal ──► audit ──► <out>/<centre>/<table>
//!        since the centre's cursor                                        │        (Delta, cursor in the commit)
//!                                       cannot be written? refused  ◄─────┘
//!                                                                         └──────► topic centre.<id>.warnings
//! ```
//!
//! A centre's cursor is the source's version, kept as a position in the centre's own tables: data and cursor
//! are one commit, so nothing is delivered twice or left out. Beside it stands a fingerprint of the source's table
//! and of the grant: where one of them is another, all is delivered anew. Centres do not wait for each other.
//!
//! In reading order: [`grant`] what a centre may have; [`privacy`] what stays here; [`audit`] the log of what
//! left; [`ship`] one table to one centre; [`warnings`] the topic; [`centre`] all of one centre; [`delivery`].

pub mod audit;
pub mod centre;
pub mod delivery;
mod error;
pub mod grant;
pub mod privacy;
pub mod ship;
pub mod warnings;

pub use audit::Audit;
pub use centre::{CentreReport, TableReport};
pub use delivery::{Config, Delivery};
pub use error::Error;
pub use grant::{Grant, Problem};
