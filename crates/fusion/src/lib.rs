//! Facts of all departments become one row a place, and warnings.
//!
//! ```text
//!  std.<kind> ──► stage ──► batch ──► applied   was this frame applied already?
//!                             │
//!                             ├─────► merge     facts of a place → its row (pure, a function of the set of facts)
//!                             ├─────► silence   how far each feed has come, how long a place is silent by it (pure)
//!                             ├─────► rules     SQL over the touched places (DataFusion, planned once)
//!                             ├─────► warnings  raised, updated, cleared (pure), with their evidence
//!                             ▼
//!                        tables::shard::Writing  one atomic write of all that, and the position
//! ```
//!
//! In reading order: [`config`]; [`stage`] threads and readers; [`batch`] one micro-batch of one shard; [`applied`]
//! what was applied already; [`replay`] what was made before is made again; [`load`] an empty shard
//! takes a backlog at once; [`merge`]; [`silence`]; [`rules`]; [`warnings`] and
//! [`evidence`]; [`progress`] for those who watch;
//! [`verify`] full against incremental; [`why`] where a cell came from.

pub mod applied;
pub mod batch;
pub mod config;
pub mod day;
mod error;
pub mod evidence;
pub mod facts;
pub mod load;
pub mod merge;
pub mod progress;
pub mod replay;
pub mod rules;
pub mod silence;
pub mod stage;
pub mod verify;
pub mod warnings;
pub mod why;

pub use batch::{Applied, Applier, Holding, Incoming, Load};
pub use config::Config;
pub use error::Error;
pub use load::FirstLoad;
pub use progress::{Progress, ShardProgress};
pub use rules::Rules;
pub use stage::Fusion;
pub use verify::{Difference, Verified, verify};
pub use why::{Why, why};
