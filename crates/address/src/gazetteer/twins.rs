//! Compounds that were entered twice, under different ids.

use super::compound::Compound;
use super::tree::Tree;
use super::via;
use crate::divisions::{DivisionId, Divisions};
use crate::model::Level;
use crate::parse::Label;
use std::collections::{BTreeMap, HashMap};

/// Two entries of one compound lie at most this far apart.
const SAME_SPOT_METRES: f64 = 700.0;
/// The same where one of them has only its quarter's coordinates.
const SAME_QUARTER_METRES: f64 = 3_000.0;
/// Coordinates that so many compounds share are those of a quarter.
const SHARED_BY_QUARTER: u32 = 3;

/// Per compound draft, the draft to answer with: itself, or the better entry of the same compound.
pub(super) fn canonical(divisions: &Divisions, compounds: &[Compound], tree: &Tree) -> Vec<u32> {
    let mut has_children = vec![false; compounds.len()];
    let holders = tree.nodes.iter().map(|n| n.parent).chain(tree.dwellings.iter().map(|row| row.hint));
    for holder in holders {
        if let Some(has) = has_children.get_mut(holder as usize) {
            *has = true;
        }
    }
    let mut at_spot: HashMap<(i64, i64), u32> = HashMap::new();
    let spot = |(x, y): (f64, f64)| ((x * 1e6).round() as i64, (y * 1e6).round() as i64);
    for c in compounds {
        if let Some(at) = c.lng_lat {
            *at_spot.entry(spot(at)).or_default() += 1;
        }
    }
    let coarse = |c: &Compound| c.lng_lat.is_none_or(|at| at_spot[&spot(at)] >= SHARED_BY_QUARTER);
    let mut groups: BTreeMap<(Option<DivisionId>, &[char]), Vec<u32>> = BTreeMap::new();
    for (i, c) in compounds.iter().enumerate() {
        let city = c.division.and_then(|d| divisions.at_level(d, Level::City));
        for (key, _) in c.names.iter().filter(|n| n.1 == via::STANDARD) {
            groups.entry((city, key)).or_default().push(i as u32);
        }
    }
    let mut canonical: Vec<u32> = (0..compounds.len() as u32).collect();
    for group in groups.into_values().filter(|g| g.len() > 1 && g.len() <= 12) {
        let mut ranked = group;
        ranked.sort_by_key(|&i| {
            let c = &compounds[i as usize];
            // Of equals the one whose name is written in standard characters.
            let variant = crate::fold::folded(&c.name) != c.name.to_lowercase();
            (!has_children[i as usize], c.implied, coarse(c), variant, std::cmp::Reverse(c.surfaces), c.place)
        });
        for (n, &worse) in ranked.iter().enumerate() {
            let (w, children) = (&compounds[worse as usize], has_children[worse as usize]);
            let twin = ranked[..n].iter().find(|&&better| {
                canonical[better as usize] == better
                    && !(children && has_children[better as usize])
                    && same_compound(divisions, &compounds[better as usize], w, &coarse)
            });
            if let Some(&better) = twin {
                canonical[worse as usize] = better;
            }
        }
    }
    canonical
}

/// Are two compounds of one name and city one compound entered twice?
fn same_compound(
    divisions: &Divisions,
    a: &Compound,
    b: &Compound,
    coarse: &impl Fn(&Compound) -> bool,
) -> bool {
    let agree = match (a.division, b.division) {
        (Some(x), Some(y)) => {
            let county = |d| divisions.at_level(d, Level::County);
            divisions.agree(x, y) || (county(x).is_some() && county(x) == county(y))
        }
        _ => true,
    };
    let numbered = |s: &&(Vec<char>, Label, u32)| !s.1.is_empty();
    let share = a.streets.iter().filter(numbered).any(|s| b.streets.iter().any(|t| t.0 == s.0 && t.1 == s.1))
        || a.texts.iter().any(|t| b.texts.contains(t));
    if share && agree {
        return true;
    }
    match (a.lng_lat, b.lng_lat) {
        (Some(x), Some(y)) => {
            let apart = metres(x, y);
            apart <= SAME_SPOT_METRES || (agree && apart <= SAME_QUARTER_METRES && (coarse(a) || coarse(b)))
        }
        _ => false,
    }
}

pub(super) fn metres((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> f64 {
    let north = (y1 - y2) * 111_320.0;
    let east = (x1 - x2) * 111_320.0 * y1.to_radians().cos();
    north.hypot(east)
}
