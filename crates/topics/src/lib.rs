//! Reading and writing topics: the only crate that knows rdkafka.
//!
//! ```text
//!               Layout ──► TopicSpec ──► Client::ensure      creates what is missing, compares the rest
//!                                          │
//!  Outgoing ──► Producer ══► broker ══► Reader ──► Batch of Messages
//!               send, flush             next_batch         │
//!                                          ▲               └─ provenance, rejection, frame (headers)
//!               Cursors ── where connectors resume (compacted topic yibiao.cursors)
//! ```
//!
//! A broker that is away is not an error: clients back off, say so once, count it, and go on where they were
//! when it is back. What is an error can say whose fault it is: [`Error::fault`].
//!
//! In reading order: [`config`] what an operator sets; [`layout`] all topics of the system; [`client`] the door
//! to one cluster; [`view`] what it sees beside another installation; [`producer`]; [`message`] and [`reader`];
//! [`cursors`]; [`membership`] which partitions a group gives to this process; [`health`] how an absence of the broker is noticed and told.

pub mod client;
pub mod config;
pub mod cursors;
pub mod duration;
mod error;
mod health;
pub mod layout;
pub mod membership;
pub mod message;
pub mod producer;
pub mod reader;
pub mod view;

pub use client::{Client, Difference, Watermarks};
pub use config::{ClientConfig, Compression};
pub use cursors::Cursors;
pub use error::Error;
pub use layout::{Cleanup, Layout, TopicSpec};
pub use membership::{Group, Membership};
pub use message::{Batch, Message};
pub use producer::{Outgoing, Producer};
pub use reader::Reader;
pub use view::{Range, View};

/// Re-exported, so that users of this crate name positions as it does.
pub use yibiao_records::{NextOffset, TopicPartition};
