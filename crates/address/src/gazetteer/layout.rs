//! Drafts to columns: orders the places, interns the strings, indexes names and numbers.

use super::build::Compound;
use super::file::{self, SECTIONS, Section};
use super::tree::{Node, Parent, Tree};
use super::{BuildReport, FLAG_IMPLIED, siblings, via};
use crate::Error;
use crate::divisions::{DivisionId, Divisions};
use crate::key::{About, KeyHash, may_be_meant, may_be_mistyped};
use crate::lexicon::LexiconBytes;
use crate::model::{Level, Status};
use crate::parse::Label;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Two entries of one compound lie at most this far apart.
const SAME_SPOT_METRES: f64 = 700.0;
/// The same where one of them has only its quarter's coordinates.
const SAME_QUARTER_METRES: f64 = 3_000.0;
/// Coordinates that so many compounds share are those of a quarter.
const SHARED_BY_QUARTER: u32 = 3;

pub(super) fn write(
    divisions: &Divisions,
    mut compounds: Vec<Compound>,
    tree: Tree,
    mut report: BuildReport,
    path: &Path,
) -> Result<BuildReport, Error> {
    if compounds.len() + tree.nodes.len() > u32::MAX as usize - 2 {
        return Err(Error::TooLarge {
            problem: "more than 4,294,967,293 places do not fit one gazetteer; split it by city",
        });
    }
    for c in &mut compounds {
        if c.name.is_empty() {
            c.name = unnamed(c);
        }
    }
    let order = Order::new(&compounds, &tree.nodes);
    let strings = strings(&compounds, &tree.nodes);
    let codes = codes(divisions, &compounds);
    let mut sections: [Vec<u8>; SECTIONS] = Default::default();
    let mut put = |section: Section, bytes: Vec<u8>| sections[section as usize] = bytes;

    let (starts, bytes) = string_bytes(&strings);
    put(Section::StringStarts, starts);
    put(Section::Strings, bytes);
    put(Section::Places, places(&compounds, &tree.nodes, &order, &strings, &codes, divisions));
    put(Section::Ids, ids(&compounds, &tree, &order));
    put(Section::Covered, codes.iter().flat_map(|(code, _)| code.to_le_bytes()).collect());

    let canonical = canonical(divisions, &compounds, &tree);
    report.duplicates = canonical.iter().enumerate().filter(|(i, c)| **c as usize != *i).count() as u64;
    let undecided = siblings::undecided_by_number(divisions, &compounds, &canonical);
    let (records, names, numbers, texts) =
        compound_records(&compounds, &order, &strings, &canonical, &undecided);
    put(Section::Compounds, records);
    put(Section::CompoundNames, names);
    put(Section::CompoundNumbers, numbers);
    put(Section::CompoundTexts, texts);

    let (lexicon, meaning_starts, meanings, name_count) = lexicon(&compounds, &order);
    put(Section::NameStarts, lexicon.starts);
    put(Section::NameUnits, lexicon.units);
    put(Section::NameBuckets, lexicon.buckets);
    put(Section::MeaningStarts, meaning_starts);
    put(Section::Meanings, meanings);
    put(Section::Index, index(&compounds, &tree, &order));

    count(&mut report, &compounds, &tree.nodes);
    report.names = name_count;
    put(Section::Report, report.to_bytes());
    let (hash, bytes) = file::write(path, &sections)?;
    Ok(BuildReport { version: format!("{hash:016x}"), bytes, ..report })
}

/// A compound without a name is called by its street.
fn unnamed(compound: &Compound) -> String {
    let street = compound.streets.iter().find(|s| s.2 == via::STANDARD);
    street.map_or(String::new(), |(road, number, _)| {
        let road: String = road.iter().collect();
        if number.is_empty() { road } else { format!("{road}{number}号") }
    })
}

/// New positions: compounds first, then each place's children side by side, sorted.
struct Order {
    /// New position to compound draft.
    compounds: Vec<u32>,
    /// New position - compounds to node.
    nodes: Vec<u32>,
    compound_at: Vec<u32>,
    node_at: Vec<u32>,
    /// By new position: (first child, children).
    children: Vec<(u32, u32)>,
}

impl Order {
    fn new(compounds: &[Compound], nodes: &[Node]) -> Order {
        let mut by_compound: Vec<u32> = (0..compounds.len() as u32).collect();
        by_compound.sort_by_cached_key(|&i| {
            let c = &compounds[i as usize];
            (c.division, c.code, c.name.clone(), c.place)
        });
        let mut compound_at = vec![0; compounds.len()];
        for (at, &i) in by_compound.iter().enumerate() {
            compound_at[i as usize] = at as u32;
        }
        let mut children: HashMap<Parent, Vec<u32>> = HashMap::new();
        for (i, node) in nodes.iter().enumerate() {
            children.entry(node.parent).or_default().push(i as u32);
        }
        let total = compounds.len() + nodes.len();
        let mut order = Order {
            compounds: by_compound,
            nodes: Vec::with_capacity(nodes.len()),
            compound_at,
            node_at: vec![0; nodes.len()],
            children: vec![(0, 0); total],
        };
        for at in 0..total {
            let parent = match order.compounds.get(at) {
                Some(&c) => Parent::Compound(c),
                None => Parent::Node(order.nodes[at - compounds.len()]),
            };
            let Some(mut own) = children.remove(&parent) else { continue };
            own.sort_by(|&a, &b| {
                let (a, b) = (&nodes[a as usize], &nodes[b as usize]);
                (a.level, a.label.as_str()).cmp(&(b.level, b.label.as_str()))
            });
            order.children[at] = ((compounds.len() + order.nodes.len()) as u32, own.len() as u32);
            for node in own {
                order.node_at[node as usize] = (compounds.len() + order.nodes.len()) as u32;
                order.nodes.push(node);
            }
        }
        order
    }

    fn of(&self, parent: Parent) -> u32 {
        match parent {
            Parent::Compound(c) => self.compound_at[c as usize],
            Parent::Node(n) => self.node_at[n as usize],
        }
    }
}

/// All strings, sorted: their order is also the order of labels.
fn strings<'a>(compounds: &'a [Compound], nodes: &'a [Node]) -> Vec<&'a str> {
    let mut all: BTreeSet<&str> = BTreeSet::from([""]);
    let labels: std::collections::HashSet<&str> = nodes.iter().map(|n| n.label.as_str()).collect();
    all.extend(labels);
    for c in compounds {
        all.insert(&c.name);
        all.extend(c.shown.iter().chain(&c.surface_texts).map(String::as_str));
    }
    all.into_iter().collect()
}

fn string_index(strings: &[&str], text: &str) -> u32 {
    strings.binary_search(&text).map_or(0, |i| i as u32)
}

fn string_bytes(strings: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let (mut starts, mut bytes) = (Vec::new(), Vec::new());
    for s in strings {
        starts.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        bytes.extend_from_slice(s.as_bytes());
    }
    starts.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    (starts, bytes)
}

fn code_of(divisions: &Divisions, compound: &Compound) -> u64 {
    if compound.code != 0 { compound.code } else { compound.division.map_or(0, |d| divisions.get(d).code) }
}

fn codes(divisions: &Divisions, compounds: &[Compound]) -> Vec<(u64, ())> {
    let all: BTreeSet<u64> = compounds.iter().map(|c| code_of(divisions, c)).chain([0]).collect();
    all.into_iter().map(|c| (c, ())).collect()
}

fn places(
    compounds: &[Compound],
    nodes: &[Node],
    order: &Order,
    strings: &[&str],
    codes: &[(u64, ())],
    divisions: &Divisions,
) -> Vec<u8> {
    let mut out = Vec::with_capacity((compounds.len() + nodes.len()) * super::PLACE_BYTES);
    let mut own: Vec<u32> = Vec::with_capacity(compounds.len() + nodes.len());
    let mut labels: HashMap<&str, u32> = HashMap::new();
    let mut put = |id: u64, fields: [u32; 5], level: Level, status: Status, implied: bool| {
        out.extend_from_slice(&id.to_le_bytes());
        fields.iter().for_each(|f| out.extend_from_slice(&f.to_le_bytes()));
        out.extend_from_slice(&[level as u8, status as u8, if implied { FLAG_IMPLIED } else { 0 }, 0]);
    };
    for (at, &c) in order.compounds.iter().enumerate() {
        let c = &compounds[c as usize];
        let code = code_of(divisions, c);
        let division = codes.binary_search_by_key(&code, |e| e.0).map_or(0, |i| i as u32);
        own.push(division);
        let (first, count) = order.children[at];
        let fields = [0, string_index(strings, &c.name), first, count, division];
        put(c.place, fields, Level::Compound, c.status, c.implied);
    }
    for (i, &n) in order.nodes.iter().enumerate() {
        let n = &nodes[n as usize];
        let parent = order.of(n.parent);
        let division = own[parent as usize];
        own.push(division);
        let (first, count) = order.children[compounds.len() + i];
        let label =
            *labels.entry(n.label.as_str()).or_insert_with(|| string_index(strings, n.label.as_str()));
        put(n.place, [parent + 1, label, first, count, division], n.level, n.status, n.implied);
    }
    out
}

fn ids(compounds: &[Compound], tree: &Tree, order: &Order) -> Vec<u8> {
    let compounds = compounds.iter().enumerate().map(|(i, c)| (c.place, order.compound_at[i]));
    let nodes = tree.nodes.iter().enumerate().map(|(i, n)| (n.place, order.node_at[i]));
    let shadowed = tree.shadowed.iter().map(|&(place, node)| (place, order.node_at[node as usize]));
    let mut all: Vec<(u64, u32)> = compounds.chain(nodes).chain(shadowed).collect();
    all.sort_unstable();
    all.iter().flat_map(|(id, at)| id.to_le_bytes().into_iter().chain(u64::from(*at).to_le_bytes())).collect()
}

pub(crate) fn number_hash(road: &[char], number: &str) -> u64 {
    number.chars().fold(KeyHash::new(About::Number).chars(road).part(), KeyHash::char).finish()
}

pub(crate) fn road_hash(road: &[char]) -> u64 {
    KeyHash::new(About::Road).chars(road).finish()
}

fn compound_records(
    compounds: &[Compound],
    order: &Order,
    strings: &[&str],
    canonical: &[u32],
    undecided: &[bool],
) -> (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>) {
    let (mut records, mut names, mut numbers, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &c in &order.compounds {
        let compound = &compounds[c as usize];
        let (lng, lat) = compound.lng_lat.map_or((f32::NAN, f32::NAN), |(x, y)| (x as f32, y as f32));
        let name_start = (names.len() / 4) as u32;
        for shown in &compound.shown {
            names.extend_from_slice(&string_index(strings, shown).to_le_bytes());
        }
        let number_start = (numbers.len() / 16) as u32;
        for (road, number, _) in &compound.streets {
            let number = if number.is_empty() { 0 } else { number_hash(road, number.as_str()) };
            numbers.extend_from_slice(&road_hash(road).to_le_bytes());
            numbers.extend_from_slice(&number.to_le_bytes());
        }
        let text_start = (texts.len() / 4) as u32;
        for text in &compound.surface_texts {
            texts.extend_from_slice(&string_index(strings, text).to_le_bytes());
        }
        let canonical = order.compound_at[canonical[c as usize] as usize];
        let ends = [
            name_start,
            (names.len() / 4) as u32,
            number_start,
            (numbers.len() / 16) as u32,
            text_start,
            (texts.len() / 4) as u32,
        ];
        let fields = [lng.to_bits(), lat.to_bits(), canonical]
            .into_iter()
            .chain(ends)
            .chain([u32::from(undecided[c as usize])]);
        fields.for_each(|f| records.extend_from_slice(&f.to_le_bytes()));
    }
    (records, names, numbers, texts)
}

fn lexicon(compounds: &[Compound], order: &Order) -> (LexiconBytes, Vec<u8>, Vec<u8>, u64) {
    let mut names: BTreeMap<&[char], Vec<(u32, u32)>> = BTreeMap::new();
    for (i, c) in compounds.iter().enumerate() {
        for (key, how) in &c.names {
            names.entry(key).or_default().push((order.compound_at[i], *how));
        }
    }
    let count = names.len() as u64;
    for c in compounds {
        for (road, _, _) in c.streets.iter().filter(|s| s.0.len() >= 2) {
            let meanings = names.entry(road).or_default();
            if !meanings.contains(&(u32::MAX, via::ROAD)) {
                meanings.push((u32::MAX, via::ROAD));
            }
        }
    }
    let keys: Vec<Vec<char>> = names.keys().map(|k| k.to_vec()).collect();
    let (mut starts, mut meanings) = (Vec::new(), Vec::new());
    for list in names.values_mut() {
        list.sort_unstable();
        starts.extend_from_slice(&((meanings.len() / super::MEANING_BYTES) as u32).to_le_bytes());
        for (compound, how) in list {
            meanings.extend_from_slice(&compound.to_le_bytes());
            meanings.extend_from_slice(&how.to_le_bytes());
        }
    }
    starts.extend_from_slice(&((meanings.len() / super::MEANING_BYTES) as u32).to_le_bytes());
    (LexiconBytes::new(&keys), starts, meanings, count)
}

fn index(compounds: &[Compound], tree: &Tree, order: &Order) -> Vec<u8> {
    let mut all: Vec<(u64, u32, u32)> = Vec::new();
    for (i, c) in compounds.iter().enumerate() {
        let at = order.compound_at[i];
        for (road, number, how) in &c.streets {
            all.push((road_hash(road), at, *how));
            if number.is_empty() {
                continue;
            }
            all.push((number_hash(road, number.as_str()), at, *how));
            for blank in blanks(road, 3) {
                let hash = KeyHash::new(About::BlankedRoad).blanked(road, blank).part();
                all.push((number.as_str().chars().fold(hash, KeyHash::char).finish(), at, *how));
            }
        }
        all.extend(c.texts.iter().chain(&c.pieces).map(|&hash| (hash, at, via::STANDARD)));
        for (key, how) in &c.names {
            for blank in (0..key.len()).filter(|&i| key.len() >= 3 && may_be_meant(key[i])) {
                all.push((KeyHash::new(About::BlankedName).blanked(key, blank).finish(), at, *how));
            }
            for lost in blanks(key, 4) {
                all.push((KeyHash::new(About::ShortenedName).without(key, lost).finish(), at, *how));
            }
        }
    }
    all.extend(tree.aliases.iter().map(|&(hash, node)| (hash, order.node_at[node as usize], via::ALIAS)));
    all.sort_unstable();
    all.dedup();
    all.iter()
        .flat_map(|(hash, at, how)| {
            hash.to_le_bytes().into_iter().chain(at.to_le_bytes()).chain(how.to_le_bytes())
        })
        .collect()
}

/// The positions of `key` that a slip may have changed; none in names shorter than `shortest`.
pub(crate) fn blanks(key: &[char], shortest: usize) -> impl Iterator<Item = usize> + '_ {
    (0..key.len()).filter(move |&i| key.len() >= shortest && may_be_mistyped(key[i]))
}

/// Per compound draft, the draft to answer with: itself, or the better entry of the same compound.
fn canonical(divisions: &Divisions, compounds: &[Compound], tree: &Tree) -> Vec<u32> {
    let mut has_children = vec![false; compounds.len()];
    for node in &tree.nodes {
        if let Parent::Compound(c) = node.parent {
            has_children[c as usize] = true;
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

fn count(report: &mut BuildReport, compounds: &[Compound], nodes: &[Node]) {
    report.compounds = compounds.len() as u64;
    report.implied =
        (compounds.iter().filter(|c| c.implied).count() + nodes.iter().filter(|n| n.implied).count()) as u64;
    for node in nodes {
        match node.level {
            Level::Building => report.buildings += 1,
            Level::Unit => report.units += 1,
            _ => report.dwellings += 1,
        }
    }
    let statuses = compounds.iter().map(|c| c.status).chain(nodes.iter().map(|n| n.status));
    report.withdrawn = statuses.filter(|&s| s == Status::Withdrawn).count() as u64;
    for c in compounds {
        report.aliases += c.names.iter().filter(|n| n.1 == via::ALIAS).count() as u64;
        report.former_names += c.names.iter().filter(|n| n.1 == via::FORMER).count() as u64;
        report.numbers += c.streets.iter().filter(|s| !s.1.is_empty()).count() as u64;
    }
}
