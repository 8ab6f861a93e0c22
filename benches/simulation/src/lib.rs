//! Normaliser and fusion shards in one process and in virtual time: the code that decides what is sent, applied,
//! skipped and committed, under faults drawn from a seed, held against plain maps.
//!
//! ```text
//!  source ─► connector ─► raw topics ─► normaliser (Shard, State) ─► std topics ─► fusion (Applier, Shard)
//!                 ▲           ▲               └─► quarantine ─┐                      └─► change log
//!                 │           └─────────────── replay ◄───────┘
//!        a scheduler picks who takes the next step; who dies, is paused, set back; whose messages are lost or late
//! ```
//!
//! In reading order: [`setup`] what all seeds share; [`source`] what is said; [`topics`] in memory; [`connector`],
//! [`normaliser`], [`reviser`], [`replayer`] and [`fuser`] who takes steps; [`custody`] how a shard moves, [`machines`] and
//! [`keeping`] how the normaliser does; [`step`] and [`world`] in which order; [`oracle`], [`rows`], [`rule`] and [`silence`] what must come of it; [`compare`];
//! [`runner`] seed after seed.

pub mod alike;
pub mod compare;
pub mod connector;
pub mod custody;
pub mod fuser;
pub mod keeping;
pub mod machines;
pub mod normaliser;
pub mod oracle;
pub mod replayer;
pub mod reviser;
pub mod rows;
pub mod rule;
pub mod runner;
pub mod setup;
pub mod silence;
pub mod source;
pub mod step;
pub mod topics;
pub mod world;
