//! The nine feeds, each in the form in which its department sends it.

pub(crate) mod cases;
pub(crate) mod hazards;
pub(crate) mod meters;
pub(crate) mod organisations;
pub(crate) mod place_names;
pub(crate) mod readings;
pub(crate) mod registrations;
pub(crate) mod standard_addresses;
pub(crate) mod strangers;
