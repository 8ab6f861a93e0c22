//! Drafts to sections: interns the strings, lays the places out as columns, indexes names and numbers.

use super::build::Drafts;
use super::column::ColumnWriter;
use super::compound::Compound;
use super::file::{self, SECTIONS, Section};
use super::names::{number_hash, road_hash};
use super::order::{Dwellings, Order, kinds};
use super::rows::Row;
use super::{BuildReport, names, siblings, twins, via};
use crate::Error;
use crate::divisions::Divisions;
use crate::model::{Level, Status};
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// Of the ids in order, every so many is kept apart: the search for one begins there.
pub(super) const ID_SAMPLE: usize = 256;

pub(super) fn write(
    divisions: &Divisions,
    mut drafts: Drafts,
    mut report: BuildReport,
    path: &Path,
) -> Result<BuildReport, Error> {
    let places = drafts.compounds.len() + drafts.tree.nodes.len() + drafts.tree.dwellings.len();
    if places > u32::MAX as usize - 2 {
        return Err(Error::TooLarge {
            problem: "more than 4,294,967,293 places do not fit one gazetteer; split it by city",
        });
    }
    for c in &mut drafts.compounds {
        if c.name.is_empty() {
            c.name = unnamed(c);
        }
    }
    let order = Order::new(&drafts);
    let canonical = twins::canonical(divisions, &drafts.compounds, &drafts.tree);
    let dwellings = std::mem::take(&mut drafts.tree.dwellings);
    let mut sections: [Vec<u8>; SECTIONS] = Default::default();
    let mut put = |section: Section, bytes: Vec<u8>| sections[section as usize] = bytes;

    let strings = Strings::new(&drafts, &order);
    put(Section::LabelSlots, strings.slots(order.labels.len()));
    let (starts, bytes) = strings.bytes();
    put(Section::StringStarts, starts);
    put(Section::Strings, bytes);

    put(Section::Withdrawn, drafts.withdrawn.iter().flat_map(|id| id.to_le_bytes()).collect());
    let codes = codes(divisions, &drafts.compounds);
    put(Section::Covered, codes.iter().flat_map(|code| code.to_le_bytes()).collect());
    let undecided = siblings::undecided_by_number(divisions, &drafts.compounds, &canonical);
    let of_compound = |c: u32| {
        let code = code_of(divisions, &drafts.compounds[c as usize]);
        let division = codes.binary_search(&code).map_or(0, |i| i as u32);
        [order.at[canonical[c as usize] as usize], u32::from(undecided[c as usize]), division]
    };
    let records = compound_records(&drafts.compounds, &order, &strings, of_compound);
    let [records, own_names, numbers, texts] = records;
    put(Section::Compounds, records);
    put(Section::CompoundNames, own_names);
    put(Section::CompoundNumbers, numbers);
    put(Section::CompoundTexts, texts);

    let (lexicon, meaning_starts, meanings, name_count) = names::lexicon(&drafts.compounds, &order);
    put(Section::NameStarts, lexicon.starts);
    put(Section::NameUnits, lexicon.units);
    put(Section::NameBuckets, lexicon.buckets);
    put(Section::MeaningStarts, meaning_starts);
    put(Section::Meanings, meanings);

    count(&mut report, &drafts);
    report.names = name_count;
    report.duplicates = canonical.iter().enumerate().filter(|(i, c)| **c as usize != *i).count() as u64;
    put(Section::Kinds, kinds(&drafts.compounds, &drafts.tree, &order));
    put(
        Section::FirstNode,
        order.first_node.iter().map(|&n| u64::from(n)).collect::<ColumnWriter>().finish(),
    );
    let ids = places_in_order(&drafts, dwellings, &order, &strings, &mut report, &mut put);
    let aliases = drafts.aliases.iter().filter_map(|&(hash, place)| {
        let at = ids.binary_search_by_key(&place, |entry| entry.0).ok()?;
        let below = ids[at].1 as usize >= drafts.compounds.len();
        below.then_some((hash, ids[at].1))
    });
    let (starts, entries) = names::index(&drafts.compounds, aliases, &order);
    put(Section::IndexStarts, starts);
    put(Section::Index, entries);
    put(Section::Report, report.to_bytes());
    let (hash, bytes) = file::write(path, &sections)?;
    Ok(BuildReport { version: format!("{hash:016x}"), bytes, ..report })
}

/// Writes what each place is and how it is found by its id; gives (id, position) of all, sorted. Drops the dwellings, which
/// are large, as soon as they are laid out.
fn places_in_order(
    drafts: &Drafts,
    dwellings: Vec<Row>,
    order: &Order,
    strings: &Strings<'_>,
    report: &mut BuildReport,
    put: &mut impl FnMut(Section, Vec<u8>),
) -> Vec<(u64, u32)> {
    let Drafts { compounds, tree, .. } = drafts;
    let (mut labels, mut id_column) = (ColumnWriter::default(), ColumnWriter::default());
    let mut ids = Vec::with_capacity(order.at.len() + dwellings.len() + tree.shadowed.len());
    let mut place = |id: u64, label: u32| {
        labels.push(u64::from(label));
        id_column.push(id);
        ids.push((id, ids.len() as u32));
    };
    for &c in &order.compounds {
        let c = &compounds[c as usize];
        place(c.place, strings.index(&c.name));
    }
    for &n in &order.nodes {
        let n = &tree.nodes[n as usize];
        place(n.place, order.label_at[n.label.0 as usize]);
    }
    let dwellings = Dwellings::arrange(dwellings, order, place);
    report.dwellings = u64::from(dwellings.count);
    report.rows_shadowed += dwellings.shadowed.len() as u64;
    let withdrawn = dwellings.statuses.iter().filter(|s| s.1 == Status::Withdrawn).count();
    report.withdrawn += withdrawn as u64;
    put(Section::Labels, labels.finish());
    put(Section::Ids, id_column.finish());
    put(Section::FirstDwelling, dwellings.first.finish());
    let statuses = dwellings.statuses.iter().flat_map(|&(at, status)| [at, status as u32]);
    put(Section::Statuses, statuses.flat_map(u32::to_le_bytes).collect());

    ids.sort_unstable();
    put(Section::ById, ids.iter().map(|entry| u64::from(entry.1)).collect::<ColumnWriter>().finish());
    put(Section::IdSamples, ids.iter().step_by(ID_SAMPLE).flat_map(|entry| entry.0.to_le_bytes()).collect());
    let nodes = tree.shadowed.iter().map(|&(id, holder)| (id, order.at[holder as usize]));
    let mut shadowed: Vec<(u64, u32)> = nodes.chain(dwellings.shadowed).collect();
    shadowed.sort_unstable();
    let entries = shadowed.iter().flat_map(|&(id, at)| [id, u64::from(at)]);
    put(Section::Shadowed, entries.flat_map(u64::to_le_bytes).collect());
    ids.extend(shadowed);
    ids.sort_unstable();
    ids
}

/// A compound without a name is called by its street.
fn unnamed(compound: &Compound) -> String {
    let street = compound.streets.iter().find(|s| s.2 == via::STANDARD);
    street.map_or(String::new(), |(road, number, _)| {
        let road: String = road.iter().collect();
        if number.is_empty() { road } else { format!("{road}{number}号") }
    })
}

/// The strings of the file: labels by their numbers, then all others, sorted.
struct Strings<'a> {
    all: Vec<&'a str>,
    indexes: HashMap<&'a str, u32>,
}

impl<'a> Strings<'a> {
    fn new(drafts: &'a Drafts, order: &Order) -> Self {
        let mut all: Vec<&str> = order.labels.iter().map(|&l| drafts.labels.get(l).as_str()).collect();
        let labels = all.len();
        let mut others: BTreeSet<&str> = BTreeSet::new();
        for c in &drafts.compounds {
            others.insert(&c.name);
            others.extend(c.shown.iter().chain(&c.surface_texts).map(String::as_str));
        }
        all.extend(others);
        let indexes = (0..).zip(&all).skip(labels).map(|(i, s)| (*s, i)).collect();
        Self { all, indexes }
    }

    /// Of a string that is no label.
    fn index(&self, text: &str) -> u32 {
        self.indexes.get(text).copied().unwrap_or_default()
    }

    fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut starts, mut bytes) = (Vec::new(), Vec::new());
        for s in &self.all {
            starts.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            bytes.extend_from_slice(s.as_bytes());
        }
        starts.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        (starts, bytes)
    }

    /// An open-addressed table of the labels: label + 1, found by the hash of its text.
    fn slots(&self, labels: usize) -> Vec<u8> {
        let mut slots = vec![0u32; (labels * 2).next_power_of_two()];
        let mask = slots.len() - 1;
        for (i, label) in (1..).zip(&self.all[..labels]) {
            let mut slot = xxh3_64(label.as_bytes()) as usize & mask;
            while slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = i;
        }
        slots.iter().flat_map(|s| s.to_le_bytes()).collect()
    }
}

fn code_of(divisions: &Divisions, compound: &Compound) -> u64 {
    if compound.code != 0 { compound.code } else { compound.division.map_or(0, |d| divisions.get(d).code) }
}

/// Of all places, with 0 for unknown, sorted.
fn codes(divisions: &Divisions, compounds: &[Compound]) -> Vec<u64> {
    let all: BTreeSet<u64> = compounds.iter().map(|c| code_of(divisions, c)).chain([0]).collect();
    all.into_iter().collect()
}

fn compound_records(
    compounds: &[Compound],
    order: &Order,
    strings: &Strings<'_>,
    of_compound: impl Fn(u32) -> [u32; 3],
) -> [Vec<u8>; 4] {
    let (mut records, mut names, mut numbers, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &c in &order.compounds {
        let compound = &compounds[c as usize];
        let (lng, lat) = compound.lng_lat.map_or((f32::NAN, f32::NAN), |(x, y)| (x as f32, y as f32));
        let name_start = (names.len() / 4) as u32;
        for shown in &compound.shown {
            names.extend_from_slice(&strings.index(shown).to_le_bytes());
        }
        let number_start = (numbers.len() / 16) as u32;
        for (road, number, _) in &compound.streets {
            let number = if number.is_empty() { 0 } else { number_hash(road, number.as_str()) };
            numbers.extend_from_slice(&road_hash(road).to_le_bytes());
            numbers.extend_from_slice(&number.to_le_bytes());
        }
        let text_start = (texts.len() / 4) as u32;
        for text in &compound.surface_texts {
            texts.extend_from_slice(&strings.index(text).to_le_bytes());
        }
        let [canonical, undecided, division] = of_compound(c);
        let ends = [
            name_start,
            (names.len() / 4) as u32,
            number_start,
            (numbers.len() / 16) as u32,
            text_start,
            (texts.len() / 4) as u32,
        ];
        let fields =
            [lng.to_bits(), lat.to_bits(), canonical].into_iter().chain(ends).chain([undecided, division]);
        fields.for_each(|f| records.extend_from_slice(&f.to_le_bytes()));
    }
    [records, names, numbers, texts]
}

fn count(report: &mut BuildReport, drafts: &Drafts) {
    let (compounds, nodes) = (&drafts.compounds, &drafts.tree.nodes);
    report.compounds = compounds.len() as u64;
    report.implied =
        (compounds.iter().filter(|c| c.implied).count() + nodes.iter().filter(|n| n.implied).count()) as u64;
    report.buildings = nodes.iter().filter(|n| n.level == Level::Building).count() as u64;
    report.units = nodes.len() as u64 - report.buildings;
    let statuses = compounds.iter().map(|c| c.status).chain(nodes.iter().map(|n| n.status));
    report.withdrawn = statuses.filter(|&s| s == Status::Withdrawn).count() as u64;
    for c in compounds {
        report.aliases += c.names.iter().filter(|n| n.1 == via::ALIAS).count() as u64;
        report.former_names += c.names.iter().filter(|n| n.1 == via::FORMER).count() as u64;
        report.numbers += c.streets.iter().filter(|s| !s.1.is_empty()).count() as u64;
    }
}
