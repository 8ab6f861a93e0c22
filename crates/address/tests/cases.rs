//! The cases of tests/cases: a user of the field can add a line there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use yibiao_address::{
    Divisions, Gazetteer, GazetteerBuilder, Language, Level, NameCategory, NameChange, Query, Resolver,
    Scratch, StandardAddress, Status, parse,
};

fn lines(file: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let keep = |l: &&str| !l.trim().is_empty() && !l.starts_with('#');
    text.lines().filter(keep).map(|l| l.split('\t').map(str::to_owned).collect()).collect()
}

fn list(text: &str) -> Vec<String> {
    text.split(';').filter(|t| !t.is_empty()).map(str::to_owned).collect()
}

fn resolver(folder: &Path) -> Resolver {
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    for c in lines("places.tsv") {
        let at = |i: usize| c.get(i).cloned().unwrap_or_default();
        builder
            .add(StandardAddress {
                place: c[0].parse().unwrap(),
                level: Level::named(&c[1]).unwrap(),
                city: at(2),
                county: at(3),
                township: at(4),
                community: at(5),
                road: at(6),
                number: at(7),
                compound: at(8),
                building: at(9),
                unit: at(10),
                room: at(11),
                status: Status::named(&at(12)).unwrap(),
                aliases: list(&at(13)),
                ..StandardAddress::default()
            })
            .unwrap();
    }
    for c in lines("listed.tsv") {
        builder
            .add(StandardAddress {
                place: c[0].parse().unwrap(),
                level: Level::Compound,
                city: c[1].clone(),
                name: Some(c[2].clone()),
                address: c[3].clone(),
                ..StandardAddress::default()
            })
            .unwrap();
    }
    for c in lines("names.tsv") {
        let category = if c[0] == "road" { NameCategory::Road } else { NameCategory::Compound };
        let (name, county, township) = (c[1].clone(), c[3].clone(), c[4].clone());
        builder.add_name(NameChange {
            category,
            name,
            former: list(&c[2]),
            county,
            township,
            withdrawn: c[5] == "true",
        });
    }
    let path = folder.join("cases.gazetteer");
    builder.finish(&path).unwrap();
    Resolver::new(Arc::new(Gazetteer::open(&path).unwrap()))
}

#[test]
fn every_case_resolves_as_its_line_says() {
    let folder = tempfile::tempdir().unwrap();
    let resolver = resolver(folder.path());
    let mut scratch = Scratch::default();
    let mut wrong = Vec::new();
    for c in lines("resolve.tsv") {
        let given = |t: &String| Some(t.clone()).filter(|t| !t.is_empty());
        let (city, name) = (given(&c[0]), given(&c[1]));
        let query = Query { text: &c[2], city: city.as_deref(), name: name.as_deref() };
        let answer = resolver.resolve(&query, &mut scratch);
        let place = match answer.place {
            None => "-".to_owned(),
            Some(_) if answer.provisional => "provisional".to_owned(),
            Some(place) => place.to_string(),
        };
        if (place.as_str(), answer.reason.as_str()) != (c[3].as_str(), c[4].as_str()) {
            let explained = resolver.explain(&query, Language::Chinese);
            wrong.push(format!("{c:?}\n  got {place} {}\n{explained}", answer.reason.as_str()));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_provisional_room_has_one_id_however_it_is_written_and_lies_in_its_building() {
    let folder = tempfile::tempdir().unwrap();
    let resolver = resolver(folder.path());
    let mut scratch = Scratch::default();
    let mut ids = Vec::new();
    for text in ["青禾新村25幢2单元204室", "云栖路12号青禾新村25栋2-204", "青禾新村２５号楼二单元０２０４"]
    {
        let answer = resolver.resolve(&Query { text, city: Some("南京市"), name: None }, &mut scratch);
        assert!(answer.provisional, "{text}");
        assert_eq!(answer.within, Some(1025), "{text}");
        assert_eq!(answer.place.unwrap() & yibiao_address::PROVISIONAL_BIT, yibiao_address::PROVISIONAL_BIT);
        ids.push(answer.place);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_withdrawn_place_is_answered_with_its_status() {
    let folder = tempfile::tempdir().unwrap();
    let resolver = resolver(folder.path());
    let query = Query { text: "望月苑3幢301室", city: Some("南京市"), name: None };
    let answer = resolver.resolve(&query, &mut Scratch::default());
    assert_eq!((answer.place, answer.status), (Some(20301), Some(Status::Withdrawn)));
}

#[test]
fn every_case_parses_as_its_line_says() {
    let mut wrong = Vec::new();
    for c in lines("parse.tsv") {
        let parsed = serde_json::to_value(parse(&c[0], Divisions::bundled(), None)).unwrap();
        let shown = |name: &str| match &parsed[name] {
            serde_json::Value::String(s) => s.clone(),
            other => other["value"].as_str().or(other["name"].as_str()).unwrap_or("").to_owned(),
        };
        let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
        let mut open = false;
        for pair in c[1].split(' ') {
            let (name, value) = pair.split_once('=').unwrap();
            open |= name.starts_with('+');
            wanted.insert(name.trim_start_matches('+'), value);
        }
        let all = [
            "province",
            "city",
            "county",
            "township",
            "community",
            "group",
            "road",
            "number",
            "compound",
            "building",
            "unit",
            "floor",
            "room",
            "residue",
        ];
        for name in all {
            let want = wanted.get(name).copied();
            if open && want.is_none() {
                continue;
            }
            if shown(name) != want.unwrap_or("") {
                wrong.push(format!("{}: {name} is {:?}, want {:?}", c[0], shown(name), want.unwrap_or("")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn answers_and_parses_serialise_in_the_shape_that_the_commands_promise() {
    let folder = tempfile::tempdir().unwrap();
    let resolver = resolver(folder.path());
    let query = Query { text: "青禾新村25-2-402", city: Some("南京市"), name: None };
    let answer = resolver.resolve(&query, &mut Scratch::default()).map_ids(|id| format!("P{id}"));
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["place_id"], "P352402");
    assert_eq!((json["level"].as_str(), json["reason"].as_str()), (Some("dwelling"), Some("compound_only")));
    assert_eq!(json["candidates"][0]["place_id"], "P352402");
    assert_eq!(json["division_code"], "320106002002");

    let json = serde_json::to_value(parse("南京市鼓楼区云栖路12号", Divisions::bundled(), None)).unwrap();
    assert_eq!(json["county"], serde_json::json!({"name": "鼓楼区", "code": "320106000000", "span": [3, 6]}));
    assert_eq!(json["province"], serde_json::json!({"name": "江苏省", "code": "320000000000", "span": null}));
    assert_eq!(json["number"], serde_json::json!({"text": "12号", "value": "12", "span": [9, 12]}));
    assert!(json["building"].is_null());
}

#[test]
fn a_resolver_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Resolver>();
    shared::<Gazetteer>();
}

#[test]
fn two_rows_of_one_address_are_one_place_that_either_id_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("twice");
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    for (place, status) in [(7, Status::Withdrawn), (8, Status::InUse)] {
        let (county, compound) = ("鼓楼区".to_owned(), "青禾新村".to_owned());
        let (building, room) = ("1幢".to_owned(), "101室".to_owned());
        let row =
            StandardAddress { place, status, county, compound, building, room, ..StandardAddress::default() };
        builder.add(row).unwrap();
    }
    assert_eq!(builder.finish(&path).unwrap().rows_shadowed, 1);
    let gazetteer = Gazetteer::open(&path).unwrap();
    for id in [7, 8] {
        let view = gazetteer.place(id).unwrap();
        assert_eq!((view.place, view.status), (8, Status::InUse));
    }
}
