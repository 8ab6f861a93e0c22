//! The same raw records once more, by other contracts, rules, tables or another gazetteer, beside the real tables.
//!
//! ```text
//!  raw.<department>.<feed> ──┬─► normalise ─► std.<kind> ─► fusion ─► lake                 the real stages
//!      only read, in a range │
//!                            └─► normalise ─► shadow.<name>.std.<kind> ─► fusion ─► lake   the same code, in <data>/shadow/<name>
//!                                                                            compare ◄──── both lakes
//! ```
//!
//! In reading order: [`name`] what a shadow may be called; [`plan`] what one is made of, which is written first and never
//! changes but for its end; [`ranges`] from moments to offsets; [`folder`] where it lies, and who may use it; [`run`];
//! [`compare`] with the present tables or with another shadow; [`swap`] its tables for the present ones.

pub mod compare;
pub mod folder;
pub mod name;
pub mod plan;
pub mod ranges;
pub mod run;
pub mod swap;

pub use folder::Folder;
pub use name::Name;
pub use plan::{Gazetteer, Plan};
pub use run::{Ready, Wanted, run};
