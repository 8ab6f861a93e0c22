//! What rows of one compound share is read once.

use crate::divisions::DivisionId;
use crate::model::StandardAddress;

/// The row that came before: most rows lie in the same compound as it, and say so in the same words.
pub(super) struct Neighbour {
    words: [String; 9],
    pub division: Option<DivisionId>,
    pub hint: u32,
}

impl Neighbour {
    /// None where the division was read from the address, which no two rows share.
    pub fn new(row: &StandardAddress, division: Option<DivisionId>, hint: u32) -> Option<Self> {
        let words = Self::words(row).map(str::to_owned);
        let located = words[1..5].iter().any(|w| !w.trim().is_empty());
        located.then_some(Self { words, division, hint })
    }

    pub fn is_beside(&self, row: &StandardAddress) -> bool {
        self.words.iter().zip(Self::words(row)).all(|(a, b)| a == b)
    }

    fn words(row: &StandardAddress) -> [&str; 9] {
        let name = row.name.as_deref().unwrap_or("");
        let area = [&row.city[..], &row.county, &row.township, &row.community, &row.division_code];
        let [city, county, township, community, code] = area;
        [city, county, township, community, code, &row.road, &row.number, &row.compound, name]
    }
}
