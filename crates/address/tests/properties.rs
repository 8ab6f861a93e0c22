//! What must hold for every gazetteer and every text.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use yibiao_address::{
    Divisions, Gazetteer, GazetteerBuilder, Level, Query, Resolver, Scratch, StandardAddress, match_pair,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Home {
    compound: usize,
    building: u32,
    unit: u32,
    room: u32,
}

const COMPOUNDS: [(&str, &str, &str); 4] = [
    ("鼓楼区", "云栖路", "青禾新村"),
    ("玄武区", "松涛路", "望月苑"),
    ("江宁区", "稻香路", "和风雅居"),
    ("鼓楼区", "梧桐街", "兰草家园"),
];

impl Home {
    fn id(self) -> u64 {
        (((self.compound as u64 * 1_000 + u64::from(self.building)) * 10 + u64::from(self.unit)) * 10_000)
            + u64::from(self.room)
            + 1
    }

    fn standard(self) -> StandardAddress {
        let (county, road, compound) = COMPOUNDS[self.compound];
        StandardAddress {
            place: self.id(),
            level: Level::Dwelling,
            city: "南京市".into(),
            county: county.into(),
            road: road.into(),
            number: "12号".into(),
            compound: compound.into(),
            building: format!("{}幢", self.building),
            unit: if self.unit == 0 { String::new() } else { format!("{}单元", self.unit) },
            room: format!("{}室", self.room),
            ..StandardAddress::default()
        }
    }

    fn text(self) -> String {
        let s = self.standard();
        format!(
            "{}{}{}{}{}{}{}{}",
            s.city, s.county, s.road, s.number, s.compound, s.building, s.unit, s.room
        )
    }
}

fn homes() -> impl Strategy<Value = Vec<Home>> {
    let home =
        (0..COMPOUNDS.len(), 1u32..40, 0u32..4, 101u32..1300).prop_map(|(compound, building, unit, room)| {
            // A building has units or it has none.
            Home { compound, building, unit: if building % 3 == 0 { 0 } else { unit.max(1) }, room }
        });
    prop::collection::btree_set(home, 1..40).prop_map(|set| set.into_iter().collect())
}

fn build(homes: &[Home], path: &Path) -> String {
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    for home in homes {
        builder.add(home.standard()).unwrap();
    }
    builder.finish(path).unwrap().version
}

fn ask(resolver: &Resolver, text: &str) -> Option<u64> {
    resolver.resolve(&Query { text, city: Some("南京市"), name: None }, &mut Scratch::default()).place
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_standard_address_resolves_to_itself_and_no_other_number_does(homes in homes(), building in 1u32..40, room in 101u32..1300) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g");
        let version = build(&homes, &path);
        let gazetteer = Gazetteer::open(&path).unwrap();
        prop_assert_eq!(gazetteer.version(), &version);
        for home in &homes {
            let view = gazetteer.place(home.id()).unwrap();
            prop_assert_eq!(view.level, Level::Dwelling);
            prop_assert_eq!(view.name, home.room.to_string());
        }
        let resolver = Resolver::new(Arc::new(gazetteer));
        for home in &homes {
            prop_assert_eq!(ask(&resolver, &home.text()), Some(home.id()), "{}", home.text());
            prop_assert_eq!(ask(&resolver, &format!("江苏省{}", home.text())), Some(home.id()));
            let other = Home { building, room, ..*home };
            if !homes.contains(&other) {
                let got = ask(&resolver, &other.text());
                prop_assert!(!homes.iter().any(|h| got == Some(h.id())), "{} gave {got:?}", other.text());
            }
        }
    }

    #[test]
    fn a_longer_address_never_resolves_to_another_branch(homes in homes(), cut in 0usize..8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g");
        build(&homes, &path);
        let gazetteer = Arc::new(Gazetteer::open(&path).unwrap());
        let resolver = Resolver::new(gazetteer.clone());
        for home in &homes {
            let s = home.standard();
            let parts = [s.city, s.county, s.road, s.number, s.compound, s.building, s.unit, s.room];
            let Some(short) = ask(&resolver, &parts[..cut].concat()) else { continue };
            let Some(long) = ask(&resolver, &parts.concat()) else { continue };
            let parent = |id: &u64| gazetteer.place(*id).and_then(|view| view.parent);
            let mut line = std::iter::successors(Some(long), parent);
            prop_assert!(line.any(|id| id == short), "{} {short} holds not {long}", parts[..cut].concat());
        }
    }

    #[test]
    fn a_province_before_it_changes_no_comparison_and_another_building_is_never_the_same(home in homes()) {
        let text = home[0].text();
        prop_assert_eq!(match_pair(&text, &text), 2);
        prop_assert_eq!(match_pair(&format!("江苏省{text}"), &text), 2);
        let other = Home { building: home[0].building + 40, ..home[0] };
        prop_assert!(match_pair(&text, &other.text()) < 2);
    }

    #[test]
    fn any_two_texts_are_compared(a in "(\\PC|[0-9]|青禾新村|云栖路|12号|幢|单元|（|南京市){0,20}", b in "\\PC{0,20}") {
        prop_assert!(match_pair(&a, &b) <= 2);
        prop_assert!(match_pair(&b, &a) <= 2);
    }

    #[test]
    fn the_same_rows_give_the_same_bytes(homes in homes()) {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        build(&homes, &a);
        build(&homes, &b);
        prop_assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    }

    #[test]
    fn a_damaged_file_is_refused_or_read_but_never_a_panic(homes in homes(), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g");
        build(&homes, &path);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(gazetteer) = Gazetteer::open(&path) {
            // Only what lies between the sections may have changed unseen.
            let resolver = Resolver::new(Arc::new(gazetteer));
            prop_assert_eq!(ask(&resolver, &homes[0].text()), Some(homes[0].id()));
        }
    }

    #[test]
    fn any_text_gets_an_answer(text in "(\\PC|[0-9０-９]|青禾新村|云栖路|12号|幢|单元|室|-|（|南京市|鼓楼区|白下区){0,30}", name in prop::option::of("\\PC{0,8}")) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g");
        build(&[Home { compound: 0, building: 25, unit: 2, room: 402 }], &path);
        let resolver = Resolver::new(Arc::new(Gazetteer::open(&path).unwrap()));
        let query = Query { text: &text, city: Some("南京市"), name: name.as_deref() };
        let answer = resolver.resolve(&query, &mut Scratch::default());
        prop_assert!((0.0..=1.0).contains(&answer.confidence));
        prop_assert!(answer.place.is_some() == (answer.confidence > 0.0));
        resolver.explain(&query, yibiao_address::Language::Chinese);
    }
}

#[test]
fn long_and_odd_texts_are_answered_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    build(&[Home { compound: 0, building: 25, unit: 2, room: 402 }], &path);
    let resolver = Resolver::new(Arc::new(Gazetteer::open(&path).unwrap()));
    for text in
        ["号", "路", "1", "-", "(", " ", "青禾新村", "鼓楼区", "一", "12幢", "甲", "\u{202e}", "𠮷", "o一"]
    {
        let long = text.repeat(100_000 / text.len());
        resolver.resolve(
            &Query { text: &long, city: Some("南京市"), name: Some(&long) },
            &mut Scratch::default(),
        );
    }
}
