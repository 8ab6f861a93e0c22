//! Two texts side by side: nothing in common, one within the other, or the same place.

use crate::divisions::Divisions;
use crate::key::name_key;
use crate::parse::{AreaElement, Element, Parsed, parse};

/// 0: different places. 1: one contains the other, or they share all that both say. 2: the same place.
pub fn match_pair(query: &str, candidate: &str) -> u8 {
    let divisions = Divisions::bundled();
    compare(&parse(query, divisions, None), &parse(candidate, divisions, None))
}

fn compare(a: &Parsed, b: &Parsed) -> u8 {
    for (x, y) in [(&a.province, &b.province), (&a.city, &b.city), (&a.county, &b.county)] {
        if disagree(x, y) {
            return 0;
        }
    }
    let road = both(&a.road, &b.road);
    let number = both(&a.number, &b.number);
    let names = name_overlap(a, b);
    let door = [(&a.building, &b.building), (&a.unit, &b.unit), (&a.room, &b.room), (&a.floor, &b.floor)]
        .map(|(x, y)| both(x, y));
    let conflict = door.contains(&Some(false));
    let one_sided =
        door_depth(a) != door_depth(b) || (a.number.is_some() != b.number.is_some() && names < 0.99);
    let same_spot = names >= 0.75 || (road == Some(true) && number == Some(true));
    if !same_spot || (number == Some(false) && road == Some(true) && names < 0.75) {
        let partial =
            names >= 0.5 && road != Some(false) || road == Some(true) && number.is_none() && names >= 0.3;
        return u8::from(partial);
    }
    if conflict || one_sided { 1 } else { 2 }
}

fn disagree(a: &Option<AreaElement>, b: &Option<AreaElement>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a.code.is_some() && b.code.is_some() && a.code != b.code)
}

fn both(a: &Option<Element>, b: &Option<Element>) -> Option<bool> {
    match (a, b) {
        (Some(a), Some(b)) => Some(name_key(&a.value) == name_key(&b.value)),
        _ => None,
    }
}

fn door_depth(p: &Parsed) -> [bool; 3] {
    [p.building.is_some(), p.unit.is_some(), p.room.is_some()]
}

/// How much of the shorter text's name the longer one has, by pairs of characters.
fn name_overlap(a: &Parsed, b: &Parsed) -> f32 {
    let words = |p: &Parsed| {
        let name = p.compound.as_ref().map_or("", |c| &c.value);
        name_key(&format!("{name}{}", p.residue))
    };
    let (a, b) = (words(a), words(b));
    let (short, long) = if a.len() <= b.len() { (&a, &b) } else { (&b, &a) };
    if short.len() < 2 {
        return 0.0;
    }
    let shared = short.windows(2).filter(|w| long.windows(2).any(|v| v == *w)).count();
    shared as f32 / (short.len() - 1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_a_part_and_another_place_are_told_apart() {
        assert_eq!(match_pair("松涛路青禾居十八栋", "松涛路7号青禾居18栋"), 2);
        assert_eq!(match_pair("松涛路青禾居十八栋", "青禾居"), 1);
        assert_eq!(match_pair("南京市上海路12号", "苏州市上海路12号"), 0);
        assert_eq!(match_pair("青禾居18栋", "安乐园18栋"), 0);
    }
}
