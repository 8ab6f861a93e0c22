//! What a gazetteer is made of.

use super::file::u64_at;
use serde::Serialize;

/// Counts of what went in and what came of it. Kept in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BuildReport {
    /// 16 hexadecimal digits: a hash of the content.
    pub version: String,
    pub bytes: u64,
    /// Rows of standard addresses that were added, with repeated and further surface forms.
    pub rows: u64,
    pub compounds: u64,
    pub buildings: u64,
    pub units: u64,
    pub dwellings: u64,
    /// Of all places: those that no row is about, only implied by what lies in them.
    pub implied: u64,
    pub withdrawn: u64,
    /// Compounds entered twice under different ids, answered as one.
    pub duplicates: u64,
    pub names: u64,
    pub aliases: u64,
    pub former_names: u64,
    pub numbers: u64,
    pub name_changes: u64,
    /// Name changes that met no compound or road of the standard addresses.
    pub name_changes_unused: u64,
    /// Rows whose division is not known.
    pub without_division: u64,
    /// Rows below a compound whose own number could not be read, or that another place already bears.
    pub rows_shadowed: u64,
}

impl BuildReport {
    fn counts(&self) -> [u64; 16] {
        [
            self.rows,
            self.compounds,
            self.buildings,
            self.units,
            self.dwellings,
            self.implied,
            self.withdrawn,
            self.duplicates,
            self.names,
            self.aliases,
            self.former_names,
            self.numbers,
            self.name_changes,
            self.name_changes_unused,
            self.without_division,
            self.rows_shadowed,
        ]
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.counts().iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    pub(super) fn from_bytes(bytes: &[u8], version: u64, length: u64) -> Self {
        let n = |i: usize| u64_at(bytes, i * 8);
        Self {
            version: format!("{version:016x}"),
            bytes: length,
            rows: n(0),
            compounds: n(1),
            buildings: n(2),
            units: n(3),
            dwellings: n(4),
            implied: n(5),
            withdrawn: n(6),
            duplicates: n(7),
            names: n(8),
            aliases: n(9),
            former_names: n(10),
            numbers: n(11),
            name_changes: n(12),
            name_changes_unused: n(13),
            without_division: n(14),
            rows_shadowed: n(15),
        }
    }
}
