//! Text to place: fold, parse, resolve, explain. No async, no Kafka, no clock; the only I/O is to write and to
//! map one file.
//!
//! ```text
//!  text ─► fold ─► parse (area │ street │ name │ door) ─► gather ─► decide ─► descend ─► Answer
//!                        │                                  │                   │
//!                    Divisions                          Gazetteer: names, numbers, the tree of places
//!               (compiled in, with history)          (GazetteerBuilder writes it, Gazetteer maps it)
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use yibiao_address::{Divisions, Gazetteer, GazetteerBuilder, Level, Query, Resolver, Scratch, StandardAddress};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("city.gazetteer");
//! let mut builder = GazetteerBuilder::new(Divisions::bundled());
//! builder.add(StandardAddress {
//!     place: 7,
//!     level: Level::Dwelling,
//!     city: "南京市".into(),
//!     county: "鼓楼区".into(),
//!     road: "上海路".into(),
//!     number: "12号".into(),
//!     compound: "青禾新村".into(),
//!     building: "25幢".into(),
//!     unit: "2单元".into(),
//!     room: "402室".into(),
//!     ..StandardAddress::default()
//! })?;
//! builder.finish(&path)?;
//!
//! let resolver = Resolver::new(Arc::new(Gazetteer::open(&path)?));
//! let mut scratch = Scratch::default();
//! let query = Query { text: "青禾新村２５－２－４０２", city: Some("南京市"), name: None };
//! assert_eq!(resolver.resolve(&query, &mut scratch).place, Some(7));
//! # Ok(())
//! # }
//! ```

mod error;
mod model;

mod charset;
pub mod fold;
mod key;
mod lexicon;

mod divisions;
mod parse;

mod gazetteer;
mod resolve;

mod pair;

pub use divisions::{Division, DivisionId, Divisions, Former};
pub use error::{Blame, Error};
pub use fold::{Folded, fold};
pub use gazetteer::{BuildReport, Gazetteer, GazetteerBuilder, PROVISIONAL_BIT, PlaceView};
pub use model::{Level, NameCategory, NameChange, StandardAddress, Status};
pub use pair::match_pair;
pub use parse::{AreaElement, AreaReading, Element, ElementReading, Parsed, Parser, Reading, Wording, parse};
pub use resolve::{Answer, CANDIDATES_MAX, Candidate, Language, Memo, Query, Reason, Resolver, Scratch};
