//! What a number alone does not decide: lists of compounds give one number for all phases of an estate, and call what
//! has no name by its number. Registers, whose roads and numbers stand in columns, mean each number as it is.

use super::compound::Compound;
use super::twins::metres;
use crate::divisions::{DivisionId, Divisions};
use crate::model::Level;
use std::collections::HashMap;

/// Phases of one estate lie at most this far apart.
const ESTATE_METRES: f64 = 1_500.0;
/// A compound that so many rows list where it is needs no further proof.
const AGREED_SURFACES: u32 = 3;
/// Names alike in so many characters at the beginning are of one estate.
const STEM_MAX: usize = 4;
/// Larger families are judged by so many of their members.
const FAMILY_MAX: usize = 200;

/// What a name may end with and still be the same estate's, longest first.
const ENDINGS: [&str; 26] = [
    "小区", "公寓", "花园", "别墅", "山庄", "新村", "花苑", "家园", "大院", "宿舍", "住宅", "大厦", "广场",
    "苑", "园", "村", "区", "期", "里", "坊", "院", "城", "庭", "府", "寓", "居",
];

/// Per compound: is its number, from a list, too little to tell it from its neighbours?
/// `canonical` is the entry to answer with: an estate's other entry is no neighbour.
pub(super) fn undecided_by_number(
    divisions: &Divisions,
    compounds: &[Compound],
    canonical: &[u32],
) -> Vec<bool> {
    let listed = |c: &Compound| !c.is_register && !c.surface_texts.is_empty();
    let mut families: HashMap<(Option<DivisionId>, Vec<char>), Vec<u32>> = HashMap::new();
    let mut stems: Vec<Vec<char>> = Vec::with_capacity(compounds.len());
    for (i, c) in compounds.iter().enumerate() {
        let name = c.names.first().filter(|_| listed(c)).map_or(&[][..], |n| &n.0[..]);
        let stem = stem(name).to_vec();
        if stem.len() >= 2 {
            let city = c.division.and_then(|d| divisions.at_level(d, Level::City));
            families.entry((city, stem.clone())).or_default().push(i as u32);
        }
        stems.push(stem);
    }
    let mut out: Vec<bool> = compounds.iter().map(|c| listed(c) && is_called_by_number(c)).collect();
    for family in families.into_values() {
        for &i in &family {
            let other = |j: u32| canonical[j as usize] != canonical[i as usize];
            let near = |j: u32| is_near(&compounds[i as usize], &compounds[j as usize]);
            let agreed = compounds[i as usize].surfaces >= AGREED_SURFACES;
            out[i as usize] |= !agreed && family.iter().take(FAMILY_MAX).any(|&j| other(j) && near(j));
        }
    }
    out
}

/// The beginning of a name that the parts of one estate share: 和风雅居 of 和风雅居二期 and of 和风雅居东区.
fn stem(name: &[char]) -> &[char] {
    let mut stem = name;
    for _ in 0..2 {
        let ending = ENDINGS.iter().find(|e| {
            let count = e.chars().count();
            stem.len() >= count + 2 && stem[stem.len() - count..].iter().copied().eq(e.chars())
        });
        let Some(ending) = ending else { break };
        stem = &stem[..stem.len() - ending.chars().count()];
        let part = |c: &&char| {
            c.is_ascii_alphanumeric() || "东西南北中".contains(**c) || crate::fold::is_numeral(**c)
        };
        let parts = stem.iter().rev().take_while(part).count();
        stem = &stem[..(stem.len() - parts).max(2.min(stem.len()))];
    }
    &stem[..stem.len().min(STEM_MAX)]
}

fn is_called_by_number(c: &Compound) -> bool {
    let name = c.names.first().map_or(&[][..], |n| &n.0[..]);
    let bare = name.strip_suffix(&['号']).unwrap_or(name);
    bare.last().is_some_and(char::is_ascii_digit)
}

fn is_near(a: &Compound, b: &Compound) -> bool {
    match (a.lng_lat, b.lng_lat) {
        (Some(a), Some(b)) => metres(a, b) <= ESTATE_METRES,
        _ => a.division == b.division,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_estate_have_one_stem_and_strangers_have_not() {
        let stem = |name: &str| stem(&crate::key::name_key(name)).iter().collect::<String>();
        for part in ["和风雅居", "和风雅居二期", "和风雅居东区", "和风雅居小区", "和风雅居(北苑)"]
        {
            assert_eq!(stem(part), stem("和风雅居"), "{part}");
        }
        assert_eq!(stem("望月苑"), stem("望月花园"));
        assert_ne!(stem("望月苑"), stem("望江苑"));
    }
}
