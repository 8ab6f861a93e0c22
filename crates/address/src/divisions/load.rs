//! Reads the compiled-in files and indexes the names of provinces to townships. Every command pays for this at its
//! start, so that it allocates by the column, not by the name; communities wait until they are needed.

use super::communities::Signs;
use super::names::NameFolder;
use super::{Cities, DivisionId, Divisions, Former, Lineage, Meaning, NameIndex, Naming, Row};
use crate::fold::folded;
use crate::model::Level;

const DIVISIONS: &str = include_str!("../../data/divisions.txt");
const HISTORIES: [&str; 2] = [
    include_str!("../../data/jiangsu_divisions_history.csv"),
    include_str!("../../data/china_divisions_history.csv"),
];
/// Level, digits of its own in the code, digits that follow.
const LEVELS: [(Level, usize, u32); 4] =
    [(Level::Province, 2, 10), (Level::City, 2, 8), (Level::County, 2, 6), (Level::Township, 3, 3)];

/// Levels that exist only in the tables.
fn is_filler(name: &str) -> bool {
    matches!(name, "市辖区" | "县" | "省直辖县级行政区划" | "自治区直辖县级行政区划")
}

pub(super) fn bundled() -> Divisions {
    let mut signs = Signs::default();
    let rows = rows(&mut signs);
    let shown = rows.iter().map(|row| (row.code, row.name)).collect();
    let lineage = (0..rows.len()).map(|row| lineage(&rows, row)).collect();
    let cities = Cities::new(signs, &rows);
    let mut divisions =
        Divisions { rows, shown, lineage, cities, former: Vec::new(), names: NameIndex::default() };
    divisions.former = history(&divisions);
    let mut names = Names::default();
    let mut folder = NameFolder::default();
    for (id, row) in divisions.ids().zip(&divisions.rows) {
        if !is_filler(row.name) {
            let name = folder.fold(row.name);
            names.add(name, id, Naming::Full);
            if let Some(short) = short(name, row.level) {
                names.add(short, id, Naming::Short);
            }
        }
    }
    for f in &divisions.former {
        names.add_former(f, &divisions);
    }
    names.index(&mut divisions);
    divisions
}

/// The names to be indexed: their characters one after the other, and what each means.
#[derive(Default)]
struct Names {
    chars: Vec<char>,
    entries: Vec<Entry>,
}

struct Entry {
    /// The first three characters, which decide most comparisons.
    head: u64,
    start: u32,
    end: u32,
    id: DivisionId,
    naming: Naming,
}

impl Names {
    fn add(&mut self, name: &[char], id: DivisionId, naming: Naming) {
        if name.len() < 2 {
            return;
        }
        let head = (0..3).fold(0, |head, i| head << 21 | name.get(i).map_or(0, |&c| u64::from(c as u32)));
        let start = self.chars.len() as u32;
        self.chars.extend_from_slice(name);
        self.entries.push(Entry { head, start, end: self.chars.len() as u32, id, naming });
    }

    fn add_former(&mut self, former: &Former, divisions: &Divisions) {
        let vague = matches!(former.name.as_str(), "郊区" | "城区" | "矿区" | "新区");
        let name: Vec<char> = former.name.chars().collect();
        for &successor in &former.successors {
            let today = folded(divisions.get(successor).name);
            if today == former.name {
                continue;
            }
            self.add(&name, successor, if vague { Naming::FormerVague } else { Naming::Former });
            let short = short(&name, Level::County).filter(|_| !vague);
            if let Some(short) = short.filter(|short| !today.starts_with(&short.iter().collect::<String>())) {
                self.add(short, successor, Naming::FormerShort);
            }
        }
    }

    fn index(mut self, divisions: &mut Divisions) {
        let chars = &self.chars;
        let name = |e: &Entry| &chars[e.start as usize..e.end as usize];
        // Of equal names the first added comes first.
        self.entries.sort_unstable_by(|a, b| {
            let heads = a.head.cmp(&b.head);
            heads.then_with(|| name(a).cmp(name(b))).then(a.start.cmp(&b.start))
        });
        let mut keys: Vec<(&[char], u32)> = Vec::with_capacity(self.entries.len());
        let mut meanings: Vec<Meaning> = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            if keys.last().map(|key| key.0) != Some(name(entry)) {
                keys.push((name(entry), meanings.len() as u32));
            }
            let first = keys.last().map_or(0, |key| key.1 as usize);
            if meanings[first..].iter().all(|m| m.id() != entry.id) {
                meanings.push(Meaning::new(entry.id, entry.naming, divisions.level(entry.id)));
            }
        }
        let ends = keys.iter().skip(1).map(|key| key.1 as usize).chain([meanings.len()]);
        let with_meanings = keys.iter().zip(ends).map(|(key, end)| (key.0, &meanings[key.1 as usize..end]));
        divisions.names = NameIndex::new(with_meanings);
    }
}

fn rows(signs: &mut Signs) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::with_capacity(45_000);
    // The open division of each level, with its code so far.
    let mut open: [Option<(u32, u64)>; 4] = [None; 4];
    for line in DIVISIONS.lines() {
        let depth = line.bytes().take_while(|&b| b == b'\t').count();
        let Some(&(level, digits, after)) = LEVELS.get(depth) else { continue };
        if depth == 0 && signs.take(line) {
            continue;
        }
        let (code, name) = line[depth..].split_at(digits);
        let (name, communities) = name.split_once('\t').unwrap_or((name, ""));
        let own: u64 = code.parse().unwrap_or(0);
        let above = depth.checked_sub(1).and_then(|d| open[d]);
        let code = above.map_or(0, |a| a.1) + own * 10u64.pow(after);
        let index = rows.len() as u32;
        rows.push(Row { code, level, name, communities, parent: above.map(|a| a.0), end: index + 1 });
        open[depth] = Some((index, code));
    }
    for i in (0..rows.len()).rev() {
        if let Some(parent) = rows[i].parent {
            let end = rows[i].end;
            let parent = &mut rows[parent as usize];
            parent.end = parent.end.max(end);
        }
    }
    rows
}

fn lineage(rows: &[Row], at: usize) -> Lineage {
    let row = &rows[at];
    let city = rows.get(at + 1).is_some_and(|city| city.level == Level::City && city.name == "市辖区");
    Lineage {
        parent: row.parent.unwrap_or(u32::MAX),
        end: row.end,
        level: row.level,
        is_filler: is_filler(row.name),
        is_municipality: row.level == Level::Province && city,
    }
}

fn history(divisions: &Divisions) -> Vec<Former> {
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
                    .filter_map(|s| divisions.id_by_number(code_of(s)?))
                    .collect(),
            })
        })
        .filter(|f| !f.successors.is_empty())
        .collect()
}

/// How texts call a division short, where that still says something.
fn short(name: &[char], level: Level) -> Option<&[char]> {
    let suffixes: &[&str] = match level {
        Level::Province => &["特别行政区", "维吾尔自治区", "壮族自治区", "回族自治区", "自治区", "省", "市"],
        Level::City => &["自治州", "地区", "市", "盟"],
        Level::County => &["自治县", "区", "县", "市"],
        Level::Township => &["街道", "镇", "乡"],
        _ => &[],
    };
    let suffix = suffixes.iter().find(|suffix| ends(name, suffix))?;
    let mut bare = without(name, suffix);
    if matches!(*suffix, "自治州" | "自治县") {
        // 延边朝鲜族自治州 is called 延边: the peoples' names go too.
        for people in PEOPLES.iter().chain(&PEOPLES) {
            bare = without(bare, people);
        }
    }
    (bare.len() >= 2).then_some(bare)
}

fn ends(name: &[char], word: &str) -> bool {
    let mut rest = name.iter().rev();
    word.chars().rev().all(|c| rest.next() == Some(&c))
}

fn without<'n>(name: &'n [char], word: &str) -> &'n [char] {
    if ends(name, word) { &name[..name.len() - word.chars().count()] } else { name }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_successor_of_a_former_county_exists_and_lies_in_its_province() {
        let divisions = Divisions::bundled();
        let province = |code: u64| code / 10_000_000_000;
        for line in HISTORIES.iter().flat_map(|history| history.lines().skip(1)) {
            let columns: Vec<&str> = line.trim_end().split(',').collect();
            let successors: Vec<&str> = columns[4].split(';').collect();
            let found: Vec<_> = successors.iter().filter_map(|code| divisions.by_code(code)).collect();
            assert_eq!(found.len(), successors.len(), "{line}");
            let former: u64 = columns[0].parse().unwrap_or_default();
            assert!(found.iter().all(|s| province(s.code) == province(former * 1_000_000)), "{line}");
        }
    }
}
