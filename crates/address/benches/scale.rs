//! A gazetteer of made-up dwellings on the counties of Jiangsu: how long it takes to build, how large it is, how fast
//! texts are resolved by it, on one core.
//!
//! ```sh
//! cargo bench -p yibiao-address --bench scale -- --dwellings 10000000
//! ```
//!
//! It reports, and never fails on time.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Instant};

use yibiao_address::{
    Divisions, Folded, Gazetteer, GazetteerBuilder, Level, Parser, Query, Resolver, Scratch, StandardAddress,
    fold, parse,
};

const BUILDINGS: usize = 20;
const UNITS: usize = 3;
const FLOORS: usize = 6;
const ROOMS: usize = 2;
const A_COMPOUND: usize = BUILDINGS * UNITS * FLOORS * ROOMS;
/// Texts that are resolved; far more than any cache of the processor holds.
const QUERIES: usize = 400_000;
/// Of them so many distinct ones are asked again and again, as departments do.
const REPEATED: usize = 20_000;

const FIRST: [char; 24] = [
    '金', '银', '翠', '碧', '兰', '桂', '松', '柏', '云', '锦', '康', '安', '泰', '和', '祥', '瑞', '福',
    '永', '嘉', '华', '景', '清', '文', '明',
];
const SECOND: [char; 24] = [
    '苑', '湖', '江', '山', '园', '庭', '林', '泉', '桥', '河', '洲', '岸', '城', '府', '郡', '湾', '台',
    '阁', '里', '坊', '巷', '田', '谷', '岭',
];
const KIND: [&str; 8] = ["花园", "新村", "小区", "家园", "公寓", "雅苑", "名居", "嘉园"];
const ROAD: [&str; 4] = ["路", "街", "大道", "巷"];

struct Compound {
    city: String,
    county: String,
    name: String,
    road: String,
    number: usize,
}

/// The compound's number decides all of it.
fn compound(counties: &[(String, String)], at: usize) -> Compound {
    let (city, county) = counties[at % counties.len()].clone();
    let here = at / counties.len();
    let pick = |n: usize| (FIRST[n % 24], SECOND[n / 24 % 24]);
    let ((a, b), (c, d)) = (pick(here * 7 + at % 5), pick(here * 11 + at % 7));
    let extra = here / 576;
    let extra = if extra == 0 { String::new() } else { FIRST[extra % 24].to_string() };
    Compound {
        city,
        county,
        name: format!("{extra}{a}{b}{}", KIND[here % 8]),
        road: format!("{c}{d}{}", ROAD[here % 4]),
        number: here % 300 + 1,
    }
}

/// Building, unit and room of a compound's dwelling.
fn door(at: usize) -> (usize, usize, usize) {
    let (room, at) = (at % ROOMS, at / ROOMS);
    let (floor, at) = (at % FLOORS, at / FLOORS);
    (at / UNITS + 1, at % UNITS + 1, (floor + 1) * 100 + room + 1)
}

/// Ids of standard addresses say nothing about where they lie, as hashes of codes do not: the worst for an index.
fn id(at: usize) -> u64 {
    let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 2
}

/// The same dwelling as different departments write it.
fn text(c: &Compound, (building, unit, room): (usize, usize, usize), way: usize) -> String {
    let Compound { city, county, name, road, number } = c;
    match way % 5 {
        0 => format!("江苏省{city}{county}{road}{number}号{name}{building}幢{unit}单元{room}室"),
        1 => format!("{county}{name}{building}-{unit}-{room}"),
        2 => format!("{city}{county}{name}{building}栋{unit}单元{room}"),
        3 => {
            let wide: String = format!("{building}幢{unit}单元{room}室")
                .chars()
                .map(|c| char::from_u32(c as u32 + 0xfee0).filter(|_| c.is_ascii_digit()).unwrap_or(c))
                .collect();
            format!("{county} {name}{wide}")
        }
        _ => format!("{city}{county}{road}{number}号（{name}）{building}号楼{unit}单元{room}室"),
    }
}

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--dwellings").skip(1);
    let dwellings: usize = args.next().map_or(1_000_000, |n| n.parse().expect("a number of dwellings"));
    let divisions = Divisions::bundled();
    let mut counties = Vec::new();
    for (id, division) in divisions.iter() {
        let jiangsu = division.code / 10_000_000_000 == 32;
        if jiangsu && division.level == Level::County && !division.name.starts_with("市辖区") {
            let city =
                divisions.parent(id).map(|city| divisions.get(city).name.to_owned()).unwrap_or_default();
            counties.push((city, division.name.to_owned()));
        }
    }
    let compounds = dwellings.div_ceil(A_COMPOUND);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scale.gazetteer");

    let began = Instant::now();
    let mut builder = GazetteerBuilder::new(divisions);
    for at in 0..dwellings {
        let c = compound(&counties, at / A_COMPOUND);
        let (building, unit, room) = door(at % A_COMPOUND);
        builder
            .add(StandardAddress {
                place: id(at),
                level: Level::Dwelling,
                city: c.city,
                county: c.county,
                road: c.road,
                number: format!("{}号", c.number),
                compound: c.name,
                building: format!("{building}幢"),
                unit: format!("{unit}单元"),
                room: format!("{room}室"),
                ..StandardAddress::default()
            })
            .unwrap();
    }
    let added = began.elapsed();
    let report = builder.finish(&path).unwrap();
    let built = began.elapsed();
    println!("| dwellings | {dwellings} in {compounds} compounds |");
    println!("| build | {:.1} s (reading {:.1} s) |", built.as_secs_f64(), added.as_secs_f64());
    println!(
        "| file | {:.1} MB, {:.1} bytes a dwelling |",
        report.bytes as f64 / 1e6,
        report.bytes as f64 / dwellings as f64
    );
    println!("| memory at its peak | {} MB |", peak_mib());

    let began = Instant::now();
    let gazetteer = Arc::new(Gazetteer::open(&path).unwrap());
    println!("| open | {:.1} ms |", began.elapsed().as_secs_f64() * 1000.0);
    let resolver = Resolver::new(gazetteer);

    let step = 2_654_435_761usize;
    let queries: Vec<(String, u64)> = (0..QUERIES)
        .map(|n| {
            let at = n.wrapping_mul(step) % dwellings;
            (text(&compound(&counties, at / A_COMPOUND), door(at % A_COMPOUND), n), id(at))
        })
        .collect();
    let ask = |what: &str, mut scratch: Scratch, queries: &mut dyn Iterator<Item = &(String, u64)>| {
        let began = Instant::now();
        let (mut asked, mut right, mut wrong) = (0u32, 0u32, 0u32);
        for (text, place) in queries {
            let answer = resolver.resolve(&Query { text, city: None, name: None }, &mut scratch);
            asked += 1;
            right += u32::from(answer.place == Some(*place));
            wrong += u32::from(answer.place.is_some_and(|found| found != *place));
        }
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "| resolve, {what} | {:.0}/s, {:.2} us each; right {:.2} %, wrong {:.3} % |",
            f64::from(asked) / seconds,
            seconds * 1e6 / f64::from(asked),
            f64::from(right) * 100.0 / f64::from(asked),
            f64::from(wrong) * 100.0 / f64::from(asked)
        );
    };
    ask("distinct noisy texts", Scratch::default(), &mut queries.iter());
    let memory = Scratch::remembering(2 * REPEATED);
    ask("repeated texts", memory, &mut queries.iter().take(REPEATED).cycle().take(QUERIES));

    let began = Instant::now();
    let mut parser = Parser::default();
    let rests: usize =
        queries.iter().map(|(text, _)| parser.parse(text, divisions, None).residue().count()).sum();
    println!(
        "| parse, borrowed elements (Parser) | {:.0}/s ({rests} pieces of residue) |",
        QUERIES as f64 / began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    let length: usize = queries.iter().map(|(text, _)| parse(text, divisions, None).residue.len()).sum();
    println!(
        "| parse, elements in strings (parse) | {:.0}/s ({length} bytes of residue) |",
        QUERIES as f64 / began.elapsed().as_secs_f64()
    );
    let (mut folded, began) = (Folded::default(), Instant::now());
    let length: usize = queries
        .iter()
        .map(|(text, _)| {
            fold(text, &mut folded);
            folded.chars().len()
        })
        .sum();
    println!("| fold | {:.0}/s ({length} characters) |", QUERIES as f64 / began.elapsed().as_secs_f64());
}

/// 0 where there is no /proc.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib >> 10)
}
