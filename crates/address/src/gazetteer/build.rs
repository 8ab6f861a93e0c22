//! Rows in, drafts out: each row becomes part of a compound's draft, or a place below one.

use super::base::Base;
use super::compound::Compound;
use super::layout;
use super::neighbour::Neighbour;
use super::rows::{LabelId, Labels, Row, Rows};
use super::tree::Tree;
use super::{BuildReport, PROVISIONAL_BIT, surface, via};
use crate::divisions::{DivisionId, Divisions};
use crate::fold::{Folded, fold};
use crate::key::{About, KeyHash, NameKey, name_key};
use crate::model::{Level, NameChange, StandardAddress, Status};
use crate::parse::area::Area;
use crate::parse::door::DoorKind;
use crate::parse::street::{Street, number as read_number};
use crate::parse::{Label, Sketch};
use crate::resolve::Resolver;
use crate::{Error, NameCategory};
use hashbrown::HashMap;
use std::path::Path;

/// How rows below a compound say which compound it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Hint {
    /// County where known, else city.
    pub area: Option<DivisionId>,
    pub township: Option<DivisionId>,
    pub name: String,
    pub road: String,
    pub number: Label,
}

/// Takes standard addresses and changes of names, and writes the gazetteer.
pub struct GazetteerBuilder<'d> {
    pub(super) divisions: &'d Divisions,
    pub(super) compounds: Vec<Compound>,
    pub(super) by_place: HashMap<u64, u32>,
    pub(super) hints: Vec<(Hint, Option<DivisionId>)>,
    by_hint: HashMap<Hint, u32>,
    pub(super) below: Rows,
    pub(super) labels: Labels,
    /// (hash of the alias, place)
    pub(super) aliases: Vec<(u64, u64)>,
    changes: Vec<NameChange>,
    located: HashMap<u64, Option<DivisionId>>,
    pub(super) report: BuildReport,
    withdrawn: Vec<u64>,
    pub(super) base: Option<Base>,
    neighbour: Option<Neighbour>,
    folded: Folded,
    sketch: Sketch,
    key: NameKey,
}

/// How deep a row lies: as it says, else by what its words go down to.
fn level(row: &StandardAddress, named: bool, doors: [LabelId; 3]) -> Level {
    match (row.level, doors) {
        (Level::Compound | Level::Building | Level::Unit | Level::Dwelling, _) => row.level,
        _ if named => Level::Compound,
        (_, [_, _, room]) if !room.is_none() => Level::Dwelling,
        (_, [_, unit, _]) if !unit.is_none() => Level::Unit,
        (_, [building, _, _]) if !building.is_none() => Level::Building,
        _ => Level::Compound,
    }
}

/// All that was gathered, ready to be put in order.
pub(super) struct Drafts {
    pub compounds: Vec<Compound>,
    pub tree: Tree,
    pub labels: Labels,
    pub aliases: Vec<(u64, u64)>,
    /// Ids, sorted.
    pub withdrawn: Vec<u64>,
}

/// Of one compound's free texts no more are kept.
const SURFACES_MAX: usize = 6;

/// One row's own words, whichever columns they came from.
#[derive(Default)]
struct Words {
    name: String,
    streets: Vec<(Vec<char>, Label)>,
    doors: [LabelId; 3],
}

impl<'d> GazetteerBuilder<'d> {
    pub fn new(divisions: &'d Divisions) -> Self {
        Self {
            divisions,
            compounds: Vec::new(),
            by_place: HashMap::new(),
            hints: Vec::new(),
            by_hint: HashMap::new(),
            below: Rows::default(),
            labels: Labels::default(),
            aliases: Vec::new(),
            changes: Vec::new(),
            located: HashMap::new(),
            report: BuildReport::default(),
            withdrawn: Vec::new(),
            base: None,
            neighbour: None,
            folded: Folded::default(),
            sketch: Sketch::default(),
            key: NameKey::default(),
        }
    }

    /// Builds an overlay: additions to and withdrawals from the gazetteer of `base`, for
    /// [`Resolver::with_overlay`]. It holds each compound that it
    /// touches as `base` does, with the changes.
    pub fn over(divisions: &'d Divisions, base: Resolver) -> Self {
        Self { base: Some(Base::new(base)), ..Self::new(divisions) }
    }

    /// Withdraws a place, which may be one of the gazetteer that this will be an overlay of.
    pub fn withdraw(&mut self, place: u64) {
        self.withdrawn.push(place);
    }

    /// Takes one row. Rows of one place may come several times: each is a further surface form; of its
    /// status and division the last one that says something stands.
    ///
    /// # Errors
    /// [`Error::Refused`] for an id that is 0 or not below 2^62, and for a row that says nothing.
    pub fn add(&mut self, row: StandardAddress) -> Result<(), Error> {
        let refuse = |problem| Err(Error::Refused { place: row.place, problem });
        if row.place == 0 || row.place >= PROVISIONAL_BIT {
            return refuse("its id must be from 1 up to 2^62 - 1; bit 62 marks provisional places");
        }
        let columns = [&row.road, &row.number, &row.compound, &row.building, &row.unit, &row.room];
        let structured = columns.iter().any(|c| !c.trim().is_empty());
        let named = row.name.as_deref().is_some_and(|n| !n.trim().is_empty());
        if !structured && !named && row.address.trim().is_empty() {
            return refuse("it has neither columns nor a name nor an address; leave it out or fill it in");
        }
        self.report.rows += 1;
        let known = self.neighbour.as_ref().filter(|n| structured && n.is_beside(&row));
        if let Some((division, hint)) = known.map(|n| (n.division, n.hint)) {
            let doors = self.doors(&row);
            let level = level(&row, named, doors);
            if level > Level::Compound {
                self.report.without_division += u64::from(division.is_none());
                return self.add_below(&row, level, division, (doors, hint));
            }
        }
        let division = self.locate(&row);
        self.report.without_division += u64::from(division.is_none());
        let mut words = if structured { self.columns(&row) } else { self.free_text(&row, division) };
        if let Some(name) = row.name.as_deref().filter(|n| !n.trim().is_empty()) {
            words.name = name.trim().to_owned();
        }
        let level = level(&row, named, words.doors);
        if level == Level::Compound {
            self.add_compound(&row, division, words, !structured);
            Ok(())
        } else {
            let doors = words.doors;
            let hint = self.hint(words, division);
            self.neighbour = structured.then(|| Neighbour::new(&row, division, hint)).flatten();
            self.add_below(&row, level, division, (doors, hint))
        }
    }

    /// Takes one change of a name. Applied to what the standard addresses hold when the build ends.
    pub fn add_name(&mut self, change: NameChange) {
        self.report.name_changes += 1;
        self.changes.push(change);
    }

    /// Writes the gazetteer to `path` (aside, then renamed into place).
    ///
    /// # Errors
    /// When the file cannot be written, or the input is more than the format holds.
    pub fn finish(mut self, path: &Path) -> Result<BuildReport, Error> {
        let divisions = self.divisions;
        if let Some(mut base) = self.base.take() {
            base.carry(&mut self);
            self.base = Some(base);
        }
        let mut withdrawn = std::mem::take(&mut self.withdrawn);
        withdrawn.sort_unstable();
        withdrawn.dedup();
        for &place in &withdrawn {
            if let Some(row) = self.below.of_place(place) {
                row.status = Status::Withdrawn;
            } else if let Some(&compound) = self.by_place.get(&place) {
                self.compounds[compound as usize].status = Status::Withdrawn;
            }
        }
        // Once so that rows under an old name find their compound, once more for compounds that only rows below imply.
        self.apply_changes();
        let tree = Tree::grow(&mut self, divisions);
        self.report.name_changes_unused = self.apply_changes();
        let drafts =
            Drafts { compounds: self.compounds, tree, labels: self.labels, aliases: self.aliases, withdrawn };
        layout::write(divisions, drafts, self.report, path)
    }

    fn columns(&mut self, row: &StandardAddress) -> Words {
        let mut words = Words { name: row.compound.trim().to_owned(), ..Words::default() };
        if !row.road.trim().is_empty() {
            fold(&row.number, &mut self.folded);
            let number = read_number(self.folded.chars(), 0).map_or_else(
                || {
                    Label::from_chars(self.folded.chars().iter().copied().filter(|c| c.is_alphanumeric()))
                        .unwrap_or_default()
                },
                |n| n.value,
            );
            words.streets.push((name_key(&row.road), number));
        }
        words.doors = self.doors(row);
        words
    }

    fn doors(&mut self, row: &StandardAddress) -> [LabelId; 3] {
        [&row.building, &row.unit, &row.room].map(|c| self.labels.of_column(c))
    }

    fn free_text(&mut self, row: &StandardAddress, division: Option<DivisionId>) -> Words {
        let default = self.divisions.area(&row.city).or(division);
        self.read(&row.address, default);
        let mut words = Words { streets: self.streets_read(), ..Words::default() };
        let text = self.folded.chars();
        if let Some((start, end)) = self.sketch.compound {
            words.name = text[start..end].iter().collect();
        }
        for (door, role) in self.sketch.doors.iter().zip(crate::parse::roles(&self.sketch.doors)) {
            use crate::parse::Role;
            let slot = match role {
                Role::Building => 0,
                Role::Unit => 1,
                Role::Room => 2,
                Role::Number if door.kind == DoorKind::Hao => 0,
                _ => continue,
            };
            if words.doors[slot].is_none() {
                words.doors[slot] = self.labels.id(door.value);
            }
        }
        words
    }

    fn read(&mut self, text: &str, default: Option<DivisionId>) {
        fold(text, &mut self.folded);
        self.sketch.read(self.divisions, self.folded.chars(), default.as_slice());
    }

    /// The roads of the text that was read last, each with its number where it has one.
    fn streets_read(&self) -> Vec<(Vec<char>, Label)> {
        let text = self.folded.chars();
        let key = |s: &Street| {
            let mut key = NameKey::default();
            key.set(&text[s.start..s.end]);
            (key.chars, s.number.map_or(Label::EMPTY, |n| n.value))
        };
        self.sketch.streets.iter().map(key).collect()
    }

    fn add_compound(
        &mut self,
        row: &StandardAddress,
        division: Option<DivisionId>,
        words: Words,
        is_free: bool,
    ) {
        if let Some(below) = self.below.of_place(row.place) {
            // Levels of one id disagree: the deeper one stands.
            below.status = row.status;
            self.report.rows_shadowed += 1;
            return;
        }
        let at = *self.by_place.entry(row.place).or_insert_with(|| {
            self.compounds.push(Compound { place: row.place, ..Compound::default() });
            (self.compounds.len() - 1) as u32
        });
        let text = self.text_hash(&row.address, division);
        let surface = (is_free && text.is_some()).then(|| self.key.chars.iter().collect::<String>());
        let pieces =
            if is_free { surface::hashes(&self.sketch.area, self.folded.chars()) } else { Vec::new() };
        let default = self.divisions.area(&row.city).or(division);
        let aliases: Vec<_> = row.aliases.iter().map(|a| self.alias(a, default)).collect();
        let own_code =
            row.division_code.trim().parse::<u64>().ok().filter(|_| row.division_code.trim().len() == 12);
        let draft = &mut self.compounds[at as usize];
        draft.surfaces += 1;
        draft.status = row.status;
        draft.code = own_code.unwrap_or(draft.code);
        draft.lng_lat = draft.lng_lat.or(row.lng_lat);
        draft.division = deeper(self.divisions, draft.division, division);
        draft.texts.extend(text);
        draft.pieces.extend(pieces);
        draft.is_register |= !is_free;
        if let Some(surface) =
            surface.filter(|t| draft.surface_texts.len() < SURFACES_MAX && !draft.surface_texts.contains(t))
        {
            draft.surface_texts.push(surface);
        }
        if !words.name.is_empty() {
            draft.add_name(&words.name, via::STANDARD);
            // The last row's name is the one to show.
            if let Some(at) = draft.shown.iter().position(|n| *n == words.name) {
                draft.shown[..=at].rotate_right(1);
            }
            draft.name.clone_from(&words.name);
        }
        for (road, number) in words.streets {
            draft.add_street(road, number, via::STANDARD);
        }
        for (name, streets) in aliases {
            if let Some(name) = name {
                draft.add_name(&name, via::ALIAS);
            }
            for (road, number) in streets {
                draft.add_street(road, number, via::ALIAS);
            }
        }
    }

    /// An alias is a name, or a whole other address.
    fn alias(
        &mut self,
        alias: &str,
        default: Option<DivisionId>,
    ) -> (Option<String>, Vec<(Vec<char>, Label)>) {
        self.read(alias, default);
        let streets: Vec<_> = self.streets_read().into_iter().filter(|s| !s.1.is_empty()).collect();
        let text = self.folded.chars();
        let name = if streets.is_empty() {
            Some(text[self.sketch.area.end.min(text.len())..].iter().collect::<String>())
                .filter(|n| !n.is_empty())
        } else {
            self.sketch.compound.map(|(s, e)| text[s..e].iter().collect())
        };
        (name.or_else(|| streets.is_empty().then(|| alias.to_owned())), streets)
    }

    fn add_below(
        &mut self,
        row: &StandardAddress,
        level: Level,
        division: Option<DivisionId>,
        (doors, hint): ([LabelId; 3], u32),
    ) -> Result<(), Error> {
        let own = doors[level as usize - Level::Building as usize];
        if own.is_none() && row.parent.is_none() {
            let problem =
                "its own number (building, unit or room, by its level) is missing; fill in the column";
            return Err(Error::Refused { place: row.place, problem });
        }
        for alias in &row.aliases {
            let default = self.divisions.area(&row.city).or(division);
            if let Some(hash) = self.text_hash_about(About::Alias, alias, default) {
                self.aliases.push((hash, row.place));
            }
        }
        if let Some(below) = self.below.of_place(row.place) {
            below.status = row.status;
            let default = self.divisions.area(&row.city).or(division);
            if let Some(hash) = self.text_hash_about(About::Alias, &row.address, default) {
                self.aliases.push((hash, row.place));
            }
            return Ok(());
        }
        let parent = row.parent.unwrap_or(0);
        self.below.push(Row { place: row.place, parent, hint, doors, level, status: row.status });
        Ok(())
    }

    /// Which compound the words mean, as a number.
    fn hint(&mut self, words: Words, division: Option<DivisionId>) -> u32 {
        let (road, number) = words.streets.first().cloned().unwrap_or_default();
        let hint = Hint {
            area: division.map(|d| self.divisions.at_level(d, Level::County).unwrap_or(d)),
            township: division.and_then(|d| self.divisions.at_level(d, Level::Township)),
            name: words.name,
            road: road.into_iter().collect(),
            number,
        };
        let next = self.hints.len() as u32;
        *self.by_hint.entry(hint).or_insert_with_key(|h| {
            self.hints.push((h.clone(), division));
            next
        })
    }

    fn text_hash(&mut self, text: &str, default: Option<DivisionId>) -> Option<u64> {
        self.text_hash_about(About::Text, text, default)
    }

    /// The hash of a surface text behind its area; None for what is too short to say anything.
    fn text_hash_about(&mut self, about: About, text: &str, default: Option<DivisionId>) -> Option<u64> {
        fold(text, &mut self.folded);
        let chars = self.folded.chars();
        self.sketch.area.read(self.divisions, chars, default.as_slice());
        self.key.set(&chars[self.sketch.area.end.min(chars.len())..]);
        (self.key.chars.len() >= 4).then(|| KeyHash::new(about).chars(&self.key.chars).finish())
    }

    /// The deepest division that the row's code or names lead to.
    fn locate(&mut self, row: &StandardAddress) -> Option<DivisionId> {
        let divisions = self.divisions;
        let by_code = pad(&row.division_code).and_then(|code| divisions.covering(code));
        let names = [&row.city, &row.county, &row.township, &row.community];
        let by_names = names[1..].iter().any(|n| !n.trim().is_empty());
        if by_code.is_some() && !by_names {
            return by_code;
        }
        let text = if by_names { names.map(|n| n.trim()).join(" ") } else { row.address.clone() };
        let cache = KeyHash::new(About::Text).chars(&row.city.chars().collect::<Vec<_>>()).part();
        let cache = text.chars().fold(cache, KeyHash::char).finish();
        let by_text = match self.located.get(&cache) {
            Some(&known) => known,
            None => {
                let mut area = Area::default();
                fold(&text, &mut self.folded);
                area.read(divisions, self.folded.chars(), divisions.area(&row.city).as_slice());
                let found = common(divisions, &area.context);
                self.located.insert(cache, found);
                found
            }
        };
        deeper(divisions, by_code, by_text)
    }

    /// Gives how many changes met nothing.
    fn apply_changes(&mut self) -> u64 {
        let divisions = self.divisions;
        let mut unused = 0;
        for change in &self.changes {
            let counties = divisions.named(&change.county);
            let current = name_key(&change.name);
            let former: Vec<(Vec<char>, &String)> = change
                .former
                .iter()
                .map(|f| (name_key(f), f))
                .filter(|f| !f.0.is_empty() && f.0 != current)
                .collect();
            let mut used = false;
            for compound in &mut self.compounds {
                let here = counties.is_empty()
                    || compound.division.is_none_or(|d| counties.iter().any(|&c| divisions.agree(c, d)));
                if !here {
                    continue;
                }
                used |= match change.category {
                    NameCategory::Compound => compound.rename(&change.name, &current, &former),
                    NameCategory::Road => compound.rename_road(&current, &former),
                };
            }
            unused += u64::from(!used);
        }
        unused
    }
}

fn pad(code: &str) -> Option<u64> {
    let code = code.trim();
    let digits = (2..=12).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| code.parse::<u64>().ok().map(|c| c * 10u64.pow(12 - code.len() as u32))).flatten()
}

/// What all of several divisions lie in.
pub(crate) fn common(divisions: &Divisions, all: &[DivisionId]) -> Option<DivisionId> {
    let (&first, rest) = all.split_first()?;
    divisions.line(first).find(|&d| rest.iter().all(|&o| divisions.within(o, d)))
}

/// The deeper of two divisions where one lies in the other, else the first.
fn deeper(divisions: &Divisions, a: Option<DivisionId>, b: Option<DivisionId>) -> Option<DivisionId> {
    match (a, b) {
        (Some(a), Some(b)) if divisions.within(b, a) => Some(b),
        (a, b) => a.or(b),
    }
}
