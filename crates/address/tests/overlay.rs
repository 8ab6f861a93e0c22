//! A base with an overlay answers as one gazetteer of all rows would.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use std::{collections::BTreeSet, path::Path, sync::Arc};
use yibiao_address::{
    Answer, Divisions, Gazetteer, GazetteerBuilder, Language, Level, Query, Reason, Resolver, Scratch,
    StandardAddress, Status,
};

const COUNTIES: [&str; 2] = ["鼓楼区", "江宁区"];
const COMPOUNDS: [(&str, &str, &str); 3] =
    [("云栖路", "12号", "青禾新村"), ("松涛路", "8号", "望月苑"), ("松涛路", "20号", "和风雅居")];

/// One dwelling of a small world: county, compound, building, unit (0 for none), room.
type Home = (usize, usize, u8, u8, u8);

fn homes() -> impl Strategy<Value = BTreeSet<Home>> {
    prop::collection::btree_set((0..2usize, 0..3usize, 1..4u8, 0..3u8, 1..4u8), 1..24)
}

fn id((county, compound, building, unit, room): Home) -> u64 {
    [county as u64, compound as u64, u64::from(building), u64::from(unit), u64::from(room)]
        .iter()
        .fold(1, |id, part| id * 10 + part)
}

fn row(home: Home) -> StandardAddress {
    let (county, compound, building, unit, room) = home;
    let (road, number, name) = COMPOUNDS[compound];
    StandardAddress {
        place: id(home),
        level: Level::Dwelling,
        city: "南京市".into(),
        county: COUNTIES[county].into(),
        road: road.into(),
        number: number.into(),
        compound: name.into(),
        building: format!("{building}幢"),
        unit: if unit == 0 { String::new() } else { format!("{unit}单元") },
        room: format!("{room}01室"),
        ..StandardAddress::default()
    }
}

/// What is asked: the room, its unit, its building and its compound, with and without county and street.
fn texts((county, compound, building, unit, room): Home) -> Vec<String> {
    let (road, number, name) = COMPOUNDS[compound];
    let county = COUNTIES[county];
    let unit = if unit == 0 { String::new() } else { format!("{unit}单元") };
    vec![
        format!("南京市{county}{road}{number}{name}{building}幢{unit}{room}01室"),
        format!("{county}{name}{building}幢{unit}{room}01室"),
        format!("{name}{building}幢{unit}{room}01室"),
        format!("{county}{name}{building}幢{unit}"),
        format!("{county}{name}{building}幢"),
        format!("{county}{name}"),
        format!("{county}{road}{number}"),
    ]
}

fn built(
    path: &Path,
    mut builder: GazetteerBuilder<'_>,
    homes: &BTreeSet<Home>,
    withdrawn: &BTreeSet<Home>,
) -> Arc<Gazetteer> {
    homes.iter().for_each(|&home| builder.add(row(home)).unwrap());
    withdrawn.iter().for_each(|&home| builder.withdraw(id(home)));
    builder.finish(path).unwrap();
    Arc::new(Gazetteer::open(path).unwrap())
}

fn ask(resolver: &Resolver, text: &str) -> Answer {
    resolver.resolve(&Query { text, city: Some("南京市"), name: None }, &mut Scratch::default())
}

fn layered(
    folder: &Path,
    base: &BTreeSet<Home>,
    added: &BTreeSet<Home>,
    withdrawn: &BTreeSet<Home>,
) -> Resolver {
    let divisions = Divisions::bundled();
    let base = built(&folder.join("base"), GazetteerBuilder::new(divisions), base, &BTreeSet::new());
    let builder = GazetteerBuilder::over(divisions, Resolver::new(base.clone()));
    let overlay = built(&folder.join("overlay"), builder, added, withdrawn);
    Resolver::new(base).with_overlay(overlay)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn an_overlay_answers_as_a_whole_build_does(base in homes(), added in homes(), nth in 0..24usize, asked in homes()) {
        let folder = tempfile::tempdir().unwrap();
        let all: BTreeSet<Home> = base.union(&added).copied().collect();
        let withdrawn: BTreeSet<Home> = all.iter().skip(nth).take(1).copied().collect();
        let whole = built(&folder.path().join("whole"), GazetteerBuilder::new(Divisions::bundled()), &all, &withdrawn);
        let whole = Resolver::new(whole);
        let layers = layered(folder.path(), &base, &added, &withdrawn);
        for text in all.iter().chain(&asked).flat_map(|&home| texts(home)) {
            let (one, two) = (ask(&whole, &text), ask(&layers, &text));
            prop_assert_eq!(
                (one.place, one.level, one.provisional, one.status, &one.division_code),
                (two.place, two.level, two.provisional, two.status, &two.division_code),
                "{}: {:?} {:?}\n{}", text, one.reason, two.reason, layers.explain(&Query { text: &text, city: None, name: None }, Language::English)
            );
        }
        for home in all {
            let status = if withdrawn.contains(&home) { Status::Withdrawn } else { Status::InUse };
            prop_assert_eq!(layers.place(id(home)).map(|view| view.status), Some(status));
        }
    }
}

#[test]
fn an_overlay_of_withdrawals_alone_is_an_overlay() {
    let folder = tempfile::tempdir().unwrap();
    let home = (0, 0, 1, 1, 1);
    let layers = layered(folder.path(), &BTreeSet::from([home]), &BTreeSet::new(), &BTreeSet::from([home]));
    let answer = ask(&layers, "鼓楼区青禾新村1幢1单元101室");
    assert_eq!((answer.place, answer.status), (Some(id(home)), Some(Status::Withdrawn)));
    assert!(layers.place(77).is_none());
}

#[test]
fn what_only_the_overlay_has_is_found_and_explained_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = ((0, 0, 1, 1, 1), (0, 1, 2, 0, 3));
    let layers = layered(folder.path(), &BTreeSet::from([old]), &BTreeSet::from([new]), &BTreeSet::new());
    let text = "鼓楼区松涛路8号望月苑2幢301室";
    let answer = ask(&layers, text);
    assert_eq!((answer.place, answer.reason), (Some(id(new)), Reason::Exact));
    let query = Query { text, city: None, name: None };
    assert!(layers.explain(&query, Language::Chinese).contains("地点: + 鼓楼区 望月苑 / 2 / 301"));
    let old = Query { text: "青禾新村1幢1单元101室", ..query };
    assert!(layers.explain(&old, Language::Chinese).contains("地点: 鼓楼区 青禾新村 / 1 / 1 / 101"));
}
