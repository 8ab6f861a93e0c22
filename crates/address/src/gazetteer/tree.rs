//! The tree of places: rows below compounds find their parents, missing parents are implied.
//!
//! Buildings and units become nodes here. Dwellings, of which there are many times more, only get their parent; they are
//! put in order when they are written.

use super::PROVISIONAL_BIT;
use super::base::Base;
use super::build::{GazetteerBuilder, Hint};
use super::compound::Compound;
use super::rows::{LabelId, Labels, Row};
use super::via;
use crate::divisions::{DivisionId, Divisions};
use crate::key::{About, Decimal, KeyHash, name_key};
use crate::model::{Level, Status};
use hashbrown::HashMap;

/// A compound or node: compounds by their number, nodes behind all compounds.
pub(super) type Holder = u32;

/// A building or unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub place: u64,
    pub parent: Holder,
    pub label: LabelId,
    pub level: Level,
    pub status: Status,
    pub implied: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    /// Of dwellings: `hint` is the holder that each lies in.
    pub dwellings: Vec<Row>,
    /// (id, holder): ids of buildings and units whose address another row bears too.
    pub shadowed: Vec<(u64, Holder)>,
    compounds: u32,
    /// What this is to lie over.
    base: Option<Base>,
    at: HashMap<(Holder, Level, LabelId), u32>,
    by_place: HashMap<u64, Holder>,
}

impl Tree {
    pub fn grow(builder: &mut GazetteerBuilder<'_>, divisions: &Divisions) -> Tree {
        let mut tree = Tree { base: builder.base.take(), ..Tree::default() };
        let homes = Homes::new(builder, divisions, tree.base.as_ref());
        let mut rows = std::mem::take(&mut builder.below).into_rows();
        let (compounds, labels) = (&builder.compounds, &builder.labels);
        tree.compounds = compounds.len() as u32;
        tree.by_place.extend((0..).zip(compounds).map(|(i, c)| (c.place, i)));
        for level in [Level::Building, Level::Unit] {
            for row in rows.iter().filter(|r| r.level == level) {
                match row.own().is_none() {
                    true => builder.report.rows_shadowed += 1,
                    false => builder.report.rows_shadowed += tree.take(row, &homes, compounds, labels),
                }
            }
        }
        let mut last: Option<(Row, Holder)> = None;
        rows.retain_mut(|row| {
            if row.level != Level::Dwelling {
                return false;
            }
            if row.own().is_none() {
                builder.report.rows_shadowed += 1;
                return false;
            }
            let beside = |r: &Row| {
                (r.parent, r.hint, r.doors[0], r.doors[1])
                    == (row.parent, row.hint, row.doors[0], row.doors[1])
            };
            let holder = match last {
                Some((neighbour, holder)) if beside(&neighbour) => holder,
                _ => tree.parent_of(row, &homes, compounds, labels),
            };
            last = Some((*row, holder));
            row.hint = holder;
            true
        });
        for (&place, &at) in &tree.by_place {
            let node = at.checked_sub(tree.compounds).map(|n| &tree.nodes[n as usize]);
            if node.is_some_and(|n| n.place != place) {
                tree.shadowed.push((place, at));
            }
        }
        tree.shadowed.sort_unstable();
        tree.dwellings = rows;
        tree
    }

    /// Takes a building or unit. 1 where its address was taken already.
    fn take(&mut self, row: &Row, homes: &Homes, compounds: &[Compound], labels: &Labels) -> u64 {
        let parent = self.parent_of(row, homes, compounds, labels);
        let at = self.node(parent, row.level, row.own(), compounds, labels);
        let node = &mut self.nodes[(at - self.compounds) as usize];
        let was_there = !node.implied;
        if node.implied || node.status != Status::InUse && row.status == Status::InUse {
            (node.place, node.status, node.implied) = (row.place, row.status, false);
        }
        self.by_place.insert(row.place, at);
        u64::from(was_there)
    }

    fn level_of(&self, holder: Holder) -> Level {
        holder.checked_sub(self.compounds).map_or(Level::Compound, |n| self.nodes[n as usize].level)
    }

    fn place_of(&self, holder: Holder, compounds: &[Compound]) -> u64 {
        match holder.checked_sub(self.compounds) {
            Some(n) => self.nodes[n as usize].place,
            None => compounds[holder as usize].place,
        }
    }

    fn parent_of(&mut self, row: &Row, homes: &Homes, compounds: &[Compound], labels: &Labels) -> Holder {
        let given = self.by_place.get(&row.parent).copied().filter(|&h| self.level_of(h) < row.level);
        // What the given parent does not say yet, the columns may.
        let home = || homes.of_hint.get(row.hint as usize).copied().unwrap_or_default();
        let mut parent = given.unwrap_or_else(home);
        for (level, door) in [(Level::Building, row.doors[0]), (Level::Unit, row.doors[1])] {
            if !door.is_none() && self.level_of(parent) < level && level < row.level {
                parent = self.node(parent, level, door, compounds, labels);
            }
        }
        parent
    }

    /// The node under `parent` with this label, implied if there was none.
    fn node(
        &mut self,
        parent: Holder,
        level: Level,
        label: LabelId,
        compounds: &[Compound],
        labels: &Labels,
    ) -> Holder {
        if let Some(&at) = self.at.get(&(parent, level, label)) {
            return at;
        }
        let (above, label_text) = (self.place_of(parent, compounds), labels.get(label).as_str());
        let held = self.base.as_ref().and_then(|base| base.below(above, level, label_text));
        let place = held.unwrap_or_else(|| provisional(above, level, label_text.chars()));
        let at = self.compounds + self.nodes.len() as u32;
        self.nodes.push(Node { place, parent, label, level, status: Status::InUse, implied: true });
        self.at.insert((parent, level, label), at);
        at
    }
}

/// The id of a place that no standard address is about: a hash of what it lies in and its own label,
/// with [`PROVISIONAL_BIT`] set and bit 63 clear.
pub(crate) fn provisional(above: u64, level: Level, label: impl Iterator<Item = char>) -> u64 {
    let above = Decimal::new(above).fold(KeyHash::new(About::Text), KeyHash::char);
    let level = above.part().char(char::from(level as u8)).part();
    (label.fold(level, KeyHash::char).finish() & (PROVISIONAL_BIT - 1)) | PROVISIONAL_BIT
}

/// The compound that each hint means.
struct Homes {
    of_hint: Vec<u32>,
}

impl Homes {
    fn new(builder: &mut GazetteerBuilder<'_>, divisions: &Divisions, base: Option<&Base>) -> Homes {
        let rows = builder.below.rows();
        let mut by_name: HashMap<(String, String), Vec<u32>> = HashMap::new();
        for (i, compound) in builder.compounds.iter().enumerate() {
            for key in keys(compound) {
                by_name.entry(key).or_default().push(i as u32);
            }
        }
        // Rows with a given parent need no home of their own.
        let mut needed = vec![false; builder.hints.len()];
        let holders = rows.iter().filter(|r| r.level < Level::Dwelling).map(|r| r.place);
        let known: hashbrown::HashSet<u64> =
            builder.compounds.iter().map(|c| c.place).chain(holders).collect();
        for row in rows {
            let Some(needed) = needed.get_mut(row.hint as usize) else { continue };
            *needed = *needed || row.parent == 0 || !known.contains(&row.parent);
        }
        let hints = std::mem::take(&mut builder.hints);
        let mut of_hint = vec![0; hints.len()];
        for (i, (hint, division)) in hints.iter().enumerate() {
            let key = hint_key(hint);
            let held = base.and_then(|base| base.of_hint.get(i).copied().flatten());
            let held = held.and_then(|place| builder.by_place.get(&place).copied());
            let named = || by_name.get(&key).and_then(|c| best(divisions, &builder.compounds, c, hint));
            let home = held.or_else(named);
            of_hint[i] = match home {
                Some(home) => home,
                None if !needed[i] => 0,
                None => {
                    let at = builder.compounds.len() as u32;
                    builder.compounds.push(implied(divisions, hint, *division));
                    by_name.entry(key).or_default().push(at);
                    at
                }
            };
            if let Some(home) =
                builder.compounds.get_mut(of_hint[i] as usize).filter(|_| needed[i] || home.is_some())
            {
                home.add_street(hint.road.chars().collect(), hint.number, via::STANDARD);
            }
        }
        Homes { of_hint }
    }
}

fn keys(compound: &Compound) -> Vec<(String, String)> {
    let names = compound.names.iter().map(|n| (n.0.iter().collect(), String::new()));
    let unnamed = compound.names.is_empty();
    let numbers =
        compound.streets.iter().filter(|_| unnamed).map(|s| (s.0.iter().collect(), s.1.as_str().to_owned()));
    names.chain(numbers).collect()
}

fn hint_key(hint: &Hint) -> (String, String) {
    match name_key(&hint.name) {
        name if name.len() >= 2 => (name.into_iter().collect(), String::new()),
        _ => (hint.road.clone(), hint.number.as_str().to_owned()),
    }
}

/// Of compounds with the hint's name, the one that it means: in its county, then its street, then its township.
fn best(divisions: &Divisions, compounds: &[Compound], all: &[u32], hint: &Hint) -> Option<u32> {
    let fits = |a: Option<DivisionId>, b: Option<DivisionId>| match (a, b) {
        (Some(a), Some(b)) => divisions.agree(a, b),
        _ => true,
    };
    let score = |&c: &u32| {
        let compound = &compounds[c as usize];
        let road: Vec<char> = hint.road.chars().collect();
        let street = compound.streets.iter().any(|s| s.0 == road && s.1 == hint.number);
        let elsewhere =
            !hint.road.is_empty() && !hint.number.is_empty() && !compound.streets.is_empty() && !street;
        let township = fits(hint.township, compound.division);
        (fits(hint.area, compound.division), street, township, !elsewhere)
    };
    let best = all.iter().copied().max_by_key(|c| (score(c), std::cmp::Reverse(*c)))?;
    let (area, street, township, _) = score(&best);
    // An old name or an alias is only believed at the same street and number.
    let name = name_key(&hint.name);
    let standard =
        name.len() < 2 || compounds[best as usize].names.iter().any(|n| n.1 == via::STANDARD && n.0 == name);
    (area && (street || (township && standard))).then_some(best)
}

/// Its id follows from codes and words alone, so that it stays the same from build to build.
fn implied(divisions: &Divisions, hint: &Hint, division: Option<DivisionId>) -> Compound {
    let code = |id: Option<DivisionId>| id.map_or(0, |id| divisions.get(id).code);
    let codes: Vec<char> = format!("{} {}", code(hint.area), code(hint.township)).chars().collect();
    let place = KeyHash::new(About::Number)
        .chars(&codes)
        .part()
        .chars(&hint.name.chars().collect::<Vec<_>>())
        .part()
        .chars(&hint.road.chars().collect::<Vec<_>>())
        .part();
    let place = hint.number.as_str().chars().fold(place, KeyHash::char).finish();
    let mut compound = Compound {
        place: (place & (PROVISIONAL_BIT - 1)) | PROVISIONAL_BIT,
        implied: true,
        division,
        name: hint.name.clone(),
        ..Compound::default()
    };
    if !hint.name.is_empty() {
        compound.add_name(&hint.name, via::STANDARD);
    }
    compound
}
