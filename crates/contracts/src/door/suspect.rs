//! Undeclared names that look personal.

use std::collections::HashMap;

use crate::privacy::suspicion;

/// Names are as many as sources invent; more than this and all are judged anew.
const MAX_NAMES: usize = 4096;

/// Verdicts on the names that were seen: judging one takes longer than decoding a record.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    verdicts: HashMap<String, bool>,
}

impl Suspects {
    pub fn is_personal(&mut self, name: &str) -> bool {
        if let Some(verdict) = self.verdicts.get(name) {
            return *verdict;
        }
        if self.verdicts.len() >= MAX_NAMES {
            self.verdicts.clear();
        }
        let verdict = suspicion(name).is_some();
        self.verdicts.insert(name.to_owned(), verdict);
        verdict
    }

    /// Whether bytes that are no whole JSON hold a member with such a name: a quoted text before a colon.
    pub fn any_in(&self, broken: &[u8]) -> bool {
        let text = String::from_utf8_lossy(broken);
        let mut parts = text.split('"');
        let mut before = parts.next();
        // Whether a quote opens or closes cannot be told of broken JSON, so every part counts as a name.
        for part in parts {
            if part.trim_start().starts_with(':') && before.is_some_and(|name| suspicion(name).is_some()) {
                return true;
            }
            before = Some(part);
        }
        false
    }
}
