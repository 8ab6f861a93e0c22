//! Names given apart from the address that do not say by themselves which place is meant, and what must then bear
//! them out.
//!
//! ```text
//!  望月村, 青庄              many villages of a county are called so     a number, the township, or its words in the address
//!  建设局宿舍, 供电所单位房   every county's office has such housing      the county, or a number
//!  any name                  address and entry name no street at all    its words in the address
//! ```

use super::evidence::{AreaEvidence, Evidence, NameEvidence, StreetEvidence};
use super::{Resolver, Scratch};
use crate::parse::Words;

/// Housing that is called by whom it was built for.
static HOUSING: Words = Words::new(
    "单位房 单位楼 宿舍 宿舍楼 宿舍区 职工宿舍 职工楼 家属院 家属楼 家属区 家属房 集资房 集资楼 住宅楼 生活区",
);
/// Whom it was built for: offices of which every county has one. Of factories it has many, with names of their own.
static OFFICES: Words = Words::new("局 所 院 社 行 站 队 委 政府 机关");
/// Longer names of offices say more than what office they are.
const OFFICE_LENGTH_MAX: usize = 4;

impl Resolver {
    /// Is this known by a given name that needs support, and has none?
    pub(super) fn is_unsupported(&self, e: &Evidence, s: &Scratch) -> bool {
        let name = &s.name_key.chars[..];
        if e.name != NameEvidence::Given || e.street == StreetEvidence::Number {
            return false;
        }
        if is_office_housing(name) {
            return e.area <= AreaEvidence::Unknown;
        }
        if e.street == StreetEvidence::Text || is_mentioned(name, s) {
            return false;
        }
        if is_village(name) {
            return e.area < AreaEvidence::Township;
        }
        s.sketch.streets.is_empty()
            && self.gazetteer.numbers(e.compound).next().is_none()
            && self.gazetteer.texts(e.compound).next().is_none()
    }
}

/// 望月村 and 青庄; not 望月新村, 青禾一村, 松涛山庄, which are compounds.
fn is_village(name: &[char]) -> bool {
    let tells = |c: &char| !c.is_ascii_digit() && !"新山".contains(*c);
    matches!(name, [.., before, '村' | '庄'] if name.len() <= 3 && tells(before))
}

fn is_office_housing(name: &[char]) -> bool {
    let office = &name[..name.len() - HOUSING.ending(name)];
    office.len() < name.len() && office.len() <= OFFICE_LENGTH_MAX && OFFICES.ending(office) > 0
}

/// Does the address behind its area have what the name begins with?
fn is_mentioned(name: &[char], s: &Scratch) -> bool {
    let start = s.key.at_folded(s.sketch.area.end).min(s.key.chars.len());
    name.len() >= 2 && s.key.chars[start..].windows(2).any(|pair| pair == &name[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(test: fn(&[char]) -> bool, name: &str) -> bool {
        test(&crate::key::name_key(name))
    }

    #[test]
    fn a_village_is_told_from_a_compound_that_is_called_a_village() {
        assert!(["望月村", "青庄"].iter().all(|name| says(is_village, name)));
        assert!(
            !["望月新村", "青禾一村", "山庄", "松涛山庄", "新村"].iter().any(|name| says(is_village, name))
        );
    }

    #[test]
    fn housing_of_an_office_is_known_by_both_words() {
        assert!(
            ["建设局宿舍", "供电所单位房", "档案局家属院"].iter().all(|name| says(is_office_housing, name))
        );
        assert!(
            !["宿舍", "松涛家属院", "建设局", "云栖路邮政局宿舍"]
                .iter()
                .any(|name| says(is_office_housing, name))
        );
    }
}
