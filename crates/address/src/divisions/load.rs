//! Reads the compiled-in files and indexes the names.

use super::{Division, DivisionId, Divisions, Former, Naming};
use crate::fold::folded;
use crate::lexicon::LexiconBytes;
use crate::model::Level;
use std::collections::{BTreeMap, HashMap};

const DIVISIONS: &str = include_str!("../../data/divisions.txt");
const HISTORIES: [&str; 2] = [
    include_str!("../../data/jiangsu_divisions_history.csv"),
    include_str!("../../data/china_divisions_history.csv"),
];
const LEVELS: [(Level, usize, u32); 5] = [
    (Level::Province, 2, 10),
    (Level::City, 2, 8),
    (Level::County, 2, 6),
    (Level::Township, 3, 3),
    (Level::Community, 3, 0),
];

/// Levels that exist only in the tables.
pub(super) fn is_filler(name: &str) -> bool {
    matches!(name, "市辖区" | "县" | "省直辖县级行政区划" | "自治区直辖县级行政区划")
}

pub(super) fn bundled() -> Divisions {
    let all = divisions();
    let by_code: HashMap<u64, DivisionId> =
        all.iter().enumerate().map(|(i, d)| (d.code, DivisionId(i as u32))).rev().collect();
    let former = history(&by_code);
    let mut names: BTreeMap<Vec<char>, Vec<(DivisionId, Naming)>> = BTreeMap::new();
    let mut add = |name: &str, id: DivisionId, naming: Naming| {
        let key: Vec<char> = name.chars().collect();
        if key.len() >= 2 {
            let meanings = names.entry(key).or_default();
            if !meanings.iter().any(|m| m.0 == id) {
                meanings.push((id, naming));
            }
        }
    };
    for (i, division) in all.iter().enumerate() {
        let id = DivisionId(i as u32);
        if !is_filler(&division.name) {
            for (name, naming) in namings(&folded(&division.name), division.level) {
                add(&name, id, naming);
            }
        }
    }
    for f in &former {
        let vague = matches!(f.name.as_str(), "郊区" | "城区" | "矿区" | "新区");
        for &successor in &f.successors {
            let today = folded(&all[successor.0 as usize].name);
            if today == f.name {
                continue;
            }
            add(&f.name, successor, if vague { Naming::FormerVague } else { Naming::Former });
            if let Some(short) =
                short(&f.name, Level::County).filter(|s| !vague && !today.starts_with(s.as_str()))
            {
                add(&short, successor, Naming::FormerShort);
            }
        }
    }
    let keys: Vec<Vec<char>> = names.keys().cloned().collect();
    let (mut ranges, mut meanings) = (Vec::with_capacity(names.len()), Vec::new());
    for list in names.into_values() {
        let start = meanings.len() as u32;
        meanings.extend(list);
        ranges.push((start, meanings.len() as u32));
    }
    Divisions { all, by_code, former, names: LexiconBytes::new(&keys), ranges, meanings }
}

fn divisions() -> Vec<Division> {
    let mut all: Vec<Division> = Vec::with_capacity(70_000);
    // The open division of each level, with its code so far.
    let mut open: [Option<(DivisionId, u64)>; 5] = [None; 5];
    for line in DIVISIONS.lines() {
        let depth = line.bytes().take_while(|&b| b == b'\t').count();
        let Some(&(level, digits, _)) = LEVELS.get(depth) else { continue };
        let (code, name) = line[depth..].split_at(digits);
        let own: u64 = code.parse().unwrap_or(0);
        let above = depth.checked_sub(1).and_then(|d| open[d]);
        let code = above.map_or(0, |a| a.1) + own * 10u64.pow(LEVELS[depth].2);
        let id = DivisionId(all.len() as u32);
        all.push(Division { code, level, name: name.to_owned(), parent: above.map(|a| a.0), end: id.0 + 1 });
        open[depth] = Some((id, code));
    }
    for i in (0..all.len()).rev() {
        if let Some(parent) = all[i].parent {
            let end = all[i].end;
            let parent = &mut all[parent.0 as usize];
            parent.end = parent.end.max(end);
        }
    }
    all
}

fn history(by_code: &HashMap<u64, DivisionId>) -> Vec<Former> {
    let lines = HISTORIES.iter().flat_map(|history| history.lines().skip(1));
    lines
        .filter_map(|line| {
            let mut columns = line.trim_end().split(',');
            let mut next = || columns.next();
            let (code, name, first, last, successors) = (next()?, next()?, next()?, next()?, next()?);
            let code_of = |c: &str| c.parse::<u64>().ok().map(|c| c * 1_000_000);
            Some(Former {
                name: folded(name),
                code: code_of(code)?,
                first_year: first.parse().ok()?,
                last_year: last.parse().ok()?,
                successors: successors
                    .split(';')
                    .filter_map(|s| by_code.get(&code_of(s)?).copied())
                    .collect(),
            })
        })
        .filter(|f| !f.successors.is_empty())
        .collect()
}

/// How texts name a division: in full, and short where that still says something.
fn namings(name: &str, level: Level) -> Vec<(String, Naming)> {
    let mut out = Vec::with_capacity(2);
    if level == Level::Community {
        let bare = ["社区居民委员会", "居民委员会", "村民委员会", "社区居委会", "居委会", "村委会"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).map(|bare| (bare, *suffix)));
        match bare {
            Some((bare, suffix)) => {
                let suffix = match suffix {
                    _ if bare.ends_with('村') || bare.ends_with("社区") => "",
                    "村民委员会" | "村委会" => "村",
                    _ => "社区",
                };
                out.push((format!("{bare}{suffix}"), Naming::Full));
            }
            None => out.push((name.to_owned(), Naming::Full)),
        }
        return out;
    }
    out.push((name.to_owned(), Naming::Full));
    if let Some(short) = short(name, level) {
        out.push((short, Naming::Short));
    }
    out
}

fn short(name: &str, level: Level) -> Option<String> {
    let suffixes: &[&str] = match level {
        Level::Province => &["特别行政区", "维吾尔自治区", "壮族自治区", "回族自治区", "自治区", "省", "市"],
        Level::City => &["自治州", "地区", "市", "盟"],
        Level::County => &["自治县", "区", "县", "市"],
        Level::Township => &["街道", "镇", "乡"],
        _ => &[],
    };
    let mut bare = suffixes.iter().find_map(|s| name.strip_suffix(s))?;
    if name.ends_with("自治州") || name.ends_with("自治县") {
        // 延边朝鲜族自治州 is called 延边: the peoples' names go too.
        for people in PEOPLES {
            if let Some(rest) = bare.strip_suffix(people) {
                bare = rest;
            }
        }
        for people in PEOPLES {
            if let Some(rest) = bare.strip_suffix(people) {
                bare = rest;
            }
        }
    }
    (bare.chars().count() >= 2).then(|| bare.to_owned())
}

const PEOPLES: [&str; 26] = [
    "土家族",
    "苗族",
    "藏族",
    "羌族",
    "彝族",
    "布依族",
    "侗族",
    "朝鲜族",
    "蒙古族",
    "回族",
    "哈萨克",
    "哈尼族",
    "壮族",
    "傣族",
    "白族",
    "景颇族",
    "傈僳族",
    "满族",
    "瑶族",
    "黎族",
    "畲族",
    "仡佬族",
    "柯尔克孜",
    "蒙古",
    "水族",
    "佤族",
];
