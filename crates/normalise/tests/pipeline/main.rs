//! Raw records to facts, with the project's own contracts and a small gazetteer.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod broker;
mod changes;
mod dumps;
mod moves;
mod properties;
mod revise;
mod same;
mod site;
mod support;
