//! What a shadow may be called: its name is part of the names of topics and of a folder.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const LETTERS_MAX: usize = 40;

/// Small letters, digits and hyphens. No dot, so that no shadow's topics begin as those of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the names of its topics begin with. No real topic does: they begin with `raw.`, `std.` and the like.
    pub fn topics(&self) -> String {
        format!("shadow.{}.", self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty()
            || text.len() > LETTERS_MAX
            || !text.chars().all(is_allowed)
            || text.starts_with('-')
        {
            return Err(format!(
                "'{text}' is no name for a shadow: take up to {LETTERS_MAX} of a-z, 0-9 and -, such as stricter-gas"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_its_folder_or_into_the_topics_of_another() {
        for wrong in ["", "..", "a/b", "a.b", "A", "云栖", "-a", &"a".repeat(41)] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
        assert_eq!(
            "stricter-2".parse::<Name>().map(|name| name.topics()),
            Ok("shadow.stricter-2.".to_owned())
        );
    }
}
