//! Connectors against real files, a real HTTP server, a real PostgreSQL and a real broker, with the contracts of
//! the nine feeds.
#![allow(clippy::unwrap_used)]

mod bench;
mod database;
mod dumps;
mod files;
mod paged;
mod samples;
mod tables;
mod topics;
mod workbooks;
