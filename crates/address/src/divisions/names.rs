//! Names of divisions, folded: most consist of characters that folding leaves alone, and 665,000 of them add up.

use crate::fold::{Folded, fold, is_settled};

/// Reused from name to name.
#[derive(Debug, Default)]
pub(super) struct NameFolder {
    chars: Vec<char>,
    folded: Folded,
}

impl NameFolder {
    pub fn fold(&mut self, name: &str) -> &[char] {
        self.chars.clear();
        self.chars.extend(name.chars());
        if self.chars.iter().all(|&c| is_settled(c)) {
            return &self.chars;
        }
        fold(name, &mut self.folded);
        self.folded.chars()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::divisions::Divisions;

    #[test]
    fn every_division_of_china_is_folded_as_any_text_is() {
        let (mut names, mut whole) = (NameFolder::default(), Folded::default());
        for (_, division) in Divisions::bundled().iter() {
            fold(division.name, &mut whole);
            assert_eq!(names.fold(division.name), whole.chars(), "{}", division.name);
        }
    }
}
