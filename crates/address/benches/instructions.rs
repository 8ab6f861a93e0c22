//! Instructions a record of fold, parse and resolve, counted by valgrind: they stay the same on a machine that others
//! keep busy.
//!
//! ```sh
//! cargo bench -p yibiao-address --bench instructions                       # made-up dwellings
//! cargo bench -p yibiao-address --bench instructions -- --texts FILE       # a text a line
//! ```
//!
//! Runs itself under `valgrind --tool=callgrind`, once a step, and counts only the second pass over the texts: the
//! first one grows buffers and unpacks the cities that are named. Where valgrind is not installed, it says so. To see
//! where the instructions go, add `--dump-instr=yes` to the command that it prints, and read it with
//! `callgrind_annotate`.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use yibiao_address::{
    Divisions, Folded, Gazetteer, GazetteerBuilder, Level, Parser, Query, Resolver, Scratch, StandardAddress,
    fold, parse,
};

const STEPS: [&str; 4] = ["fold", "parse", "parse in strings", "resolve"];
const COMPOUNDS: usize = 60;
const DOORS: usize = 40;
/// More would take valgrind long, and tell the same.
const TEXTS_MAX: usize = 7_000;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut step, mut file) = (None, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--step" => step = args.next(),
            "--texts" => file = args.next(),
            other => panic!("{other} is neither --texts nor --step"),
        }
    }
    let texts = file.as_ref().map_or_else(made_up, |file| {
        let lines = std::fs::read_to_string(file).unwrap();
        lines.lines().map(str::to_owned).take(TEXTS_MAX).collect()
    });
    match step {
        Some(step) => run(&step, &texts),
        None => report(file.as_deref(), &texts),
    }
}

/// Runs every step under valgrind.
fn report(file: Option<&str>, texts: &[String]) {
    let bytes: usize = texts.iter().map(String::len).sum();
    println!("{} texts of {} bytes on average", texts.len(), bytes / texts.len().max(1));
    println!("| step | instructions a record |\n|---|---|");
    for step in STEPS {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--toggle-collect=instructions::counted*"])
            .arg("--callgrind-out-file=/dev/null")
            .arg(std::env::current_exe().unwrap())
            .args(["--step", step]);
        if let Some(file) = file {
            valgrind.args(["--texts", file]);
        }
        let Ok(output) = valgrind.output() else {
            println!("valgrind is not installed, or does not start: {valgrind:?}");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let collected = said.lines().find_map(|line| line.split_once("Collected : "));
        match collected.and_then(|(_, count)| count.trim().parse::<u64>().ok()) {
            Some(count) => println!("| {step} | {} |", count / texts.len().max(1) as u64),
            None => println!("| {step} | not counted: {valgrind:?} says {said} |"),
        }
    }
}

/// Goes through the texts twice; what is counted is the second time.
fn run(step: &str, texts: &[String]) {
    let divisions = Divisions::bundled();
    let twice = |mut once: Box<dyn FnMut(&str)>| {
        texts.iter().for_each(|text| once(text));
        counted(texts, &mut once);
    };
    match step {
        "fold" => {
            let mut folded = Folded::default();
            twice(Box::new(move |text| {
                fold(text, &mut folded);
                black_box(folded.chars().len());
            }));
        }
        "parse" => {
            let mut parser = Parser::default();
            twice(Box::new(move |text| {
                let reading = parser.parse(text, divisions, None);
                black_box((reading.residue().count(), &reading));
            }));
        }
        "parse in strings" => twice(Box::new(move |text| drop(black_box(parse(text, divisions, None))))),
        "resolve" => {
            let (resolver, mut scratch) = (resolver(), Scratch::default());
            twice(Box::new(move |text| {
                black_box(resolver.resolve(&Query { text, city: None, name: None }, &mut scratch));
            }));
        }
        other => panic!("there is no step {other}"),
    }
}

/// Valgrind counts what happens within this function.
#[inline(never)]
fn counted(texts: &[String], once: &mut dyn FnMut(&str)) {
    texts.iter().for_each(|text| once(text));
    black_box(());
}

const COUNTIES: [(&str, &str); 6] = [
    ("南京市", "鼓楼区"),
    ("南京市", "江宁区"),
    ("苏州市", "吴中区"),
    ("无锡市", "锡山区"),
    ("徐州市", "云龙区"),
    ("常州市", "天宁区"),
];
const NAMES: [&str; 10] = [
    "云栖花园",
    "青禾新村",
    "望月苑",
    "松涛小区",
    "青禾公寓",
    "望月家园",
    "云栖雅苑",
    "松涛嘉园",
    "青禾名居",
    "望月里",
];
const ROADS: [&str; 4] = ["松涛路", "望月街", "青禾大道", "云栖巷"];

fn compound(at: usize) -> StandardAddress {
    let (city, county) = COUNTIES[at % COUNTIES.len()];
    StandardAddress {
        level: Level::Dwelling,
        city: city.to_owned(),
        county: county.to_owned(),
        road: ROADS[at % ROADS.len()].to_owned(),
        number: format!("{}号", at + 1),
        compound: NAMES[at / COUNTIES.len() % NAMES.len()].to_owned(),
        ..StandardAddress::default()
    }
}

fn door(at: usize) -> (usize, usize, usize) {
    (at / 10 + 1, at / 5 % 2 + 1, (at % 5 + 1) * 100 + 1)
}

/// Each dwelling in one of the ways that departments write it.
fn made_up() -> Vec<String> {
    let dwellings = (0..COMPOUNDS).flat_map(|c| (0..DOORS).map(move |d| (c, d)));
    let text = |(c, d): (usize, usize)| {
        let (building, unit, room) = door(d);
        let StandardAddress { city, county, road, number, compound, .. } = compound(c);
        match (c + d) % 4 {
            0 => format!("江苏省{city}{county}{road}{number}{compound}{building}幢{unit}单元{room}室"),
            1 => format!("{city}{county}{compound}{building}-{unit}-{room}"),
            2 => format!("{county} {compound}{building}栋{unit}单元{room}"),
            _ => format!("{city}{county}{road}{number}（{compound}）{building}号楼{unit}单元{room}室"),
        }
    };
    dwellings.map(text).collect()
}

fn resolver() -> Resolver {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gazetteer");
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    for at in 0..COMPOUNDS * DOORS {
        let (building, unit, room) = door(at % DOORS);
        builder
            .add(StandardAddress {
                place: at as u64 + 1,
                building: format!("{building}幢"),
                unit: format!("{unit}单元"),
                room: format!("{room}室"),
                ..compound(at / DOORS)
            })
            .unwrap();
    }
    builder.finish(&path).unwrap();
    Resolver::new(Arc::new(Gazetteer::open(&path).unwrap()))
}
