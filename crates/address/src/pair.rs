//! Two texts side by side: nothing in common, one within the other, or the same place.
//!
//! A judge looks at facts, each of which speaks for or against in points (the tables below), and asks twice:
//!
//! ```text
//!  query ─┐                       alike < 4 ─► 0  different places
//!         ├─► facts ─► points ─┤  same < -1 ─► 1  one contains the other, or both lie in one place
//!  found ─┘                       else      ─► 2  the same place
//! ```
//! Cities that contradict each other end it at once. Numbers are equal or not; they are never alike.

mod facts;
mod words;

use crate::divisions::Divisions;
use facts::{Facts, Relation, Road, Shared};

/// 0: different places. 1: one contains the other, or they share all that both say. 2: the same place.
pub fn match_pair(query: &str, candidate: &str) -> u8 {
    decide(&Facts::new(query, candidate, Divisions::bundled()))
}

/// From so many points for being alike on, two texts have a place in common.
const ALIKE_MIN: i32 = 4;
/// From so many points for being the same on, it is all that both mean: nothing more than a trifle is against it.
const SAME_MIN: i32 = -1;

fn decide(facts: &Facts) -> u8 {
    if facts.other_city {
        0
    } else if facts.is_equal {
        2
    } else if alike(facts) < ALIKE_MIN {
        0
    } else if same(facts) < SAME_MIN {
        1
    } else {
        2
    }
}

/// Do they speak of one spot at all?
fn alike(f: &Facts) -> i32 {
    let stretch = step(f.stretch, &[(2.3, 2), (3.1, 4), (4.5, 5)]);
    let found = step(f.of_query, &[(0.3, 1), (0.6, 2)]);
    let lost = step(f.query.lost, &[(1.0, -1), (3.0, -2)]);
    let road = match f.road {
        Road::Same | Road::Named => 1,
        Road::Other => -1,
        Road::Unknown => 0,
    };
    let name = match f.compound {
        Shared::Equal => 3,
        Shared::Within => 2,
        Shared::Alike => 1,
        Shared::Nothing => 0,
    };
    let county = by_relation(f.county, [1, -1, 0]);
    // Who says the province looks there: what was found is in it, and a name means more.
    let province = if f.says_province { 2 } else { 0 };
    // Only what has a name that people look for has gates with names.
    let gate = if f.is_gate { 2 } else { 0 };
    stretch + found + lost + road + name + county + province + gate
}

/// Is the spot all that either of them means? Most facts speak against it.
fn same(f: &Facts) -> i32 {
    let building = by_relation(f.building, [2, -3, -2]);
    // Zones, phases, rows: D2区 is not K2区.
    let zone = by_relation(f.zone, [0, -4, -2]);
    // What the one says behind the last words that both say: a shop, another house.
    let query_more = step(f.query.tail, &[(1.0, -1), (2.0, -3)]);
    let candidate_more = step(f.candidate.tail, &[(0.3, -1), (2.0, -3)]);
    let numbers = -[0, 1, 1, 2][f.numbers_missing.min(3)];
    // That they stand on one road is then no news: it made the words alike.
    let road = if matches!(f.road, Road::Same | Road::Named) { -1 } else { 0 };
    let county = by_relation(f.county, [0, -1, 0]);
    // A gate is a part of what it leads to.
    let gate = if f.is_gate { -5 } else { 0 };
    building + zone + query_more + candidate_more + numbers + road + county + gate
}

/// Points of the last step that `value` reaches; the steps ascend.
fn step(value: f32, steps: &[(f32, i32)]) -> i32 {
    steps.iter().take_while(|s| value >= s.0).last().map_or(0, |s| s.1)
}

/// Points where both say the same, where they say different things, and where only the query says something.
fn by_relation(relation: Relation, [same, other, query_only]: [i32; 3]) -> i32 {
    match relation {
        Relation::Same => same,
        Relation::Other => other,
        Relation::QueryOnly => query_only,
        Relation::CandidateOnly | Relation::Neither => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_a_part_and_another_place_are_told_apart() {
        for (query, candidate, want) in [
            ("松涛路青禾居十八栋", "松涛路7号青禾居18栋", 2),
            ("松涛路青禾居十八栋", "青禾居", 1),
            ("松涛路青禾居十八栋", "松涛路7号青禾居2栋", 1),
            ("江苏省南京市松涛路青禾居", "松涛路7号青禾居", 2),
            ("青禾居18栋", "安乐园18栋", 0),
            ("松涛路7号", "马蹄路7号", 0),
        ] {
            assert_eq!(match_pair(query, candidate), want, "{query} | {candidate}");
        }
    }

    #[test]
    fn words_that_many_places_share_are_not_enough() {
        assert_eq!(match_pair("青禾科技有限公司", "望月科技有限公司"), 0);
        assert_eq!(match_pair("人民路工商银行", "解放路工商银行"), 0);
    }

    #[test]
    fn numbers_zones_and_gates_are_never_taken_for_one_another() {
        for (query, candidate, want) in [
            ("青禾居A区12栋", "青禾居B区12栋", 1),
            ("青禾居2栋", "青禾居12栋", 1),
            ("松涛路青禾居", "松涛路7号青禾居(东门)", 1),
            ("青禾居2栋1单元402", "松涛路7号青禾居2栋", 1),
        ] {
            assert_eq!(match_pair(query, candidate), want, "{query} | {candidate}");
        }
    }

    #[test]
    fn a_text_is_the_same_as_itself_and_nothing_is_like_nothing() {
        for text in ["人民路", "青禾居", "江苏省南京市松涛路7号", "7"] {
            assert_eq!(match_pair(text, text), 2, "{text}");
        }
        assert_eq!(match_pair("", ""), 0);
        assert_eq!(match_pair("", "青禾居"), 0);
    }

    #[test]
    fn places_in_different_cities_are_different() {
        assert_eq!(match_pair("南京市上海路12号", "苏州市上海路12号"), 0);
    }
}
