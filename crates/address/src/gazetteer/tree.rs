//! The tree of places: rows below compounds find their parents, missing parents are implied.

use super::PROVISIONAL_BIT;
use super::build::{Compound, GazetteerBuilder, Hint};
use super::via;
use crate::divisions::{DivisionId, Divisions};
use crate::key::{About, KeyHash, name_key};
use crate::model::{Level, Status};
use crate::parse::Label;
use std::collections::HashMap;

/// A row below a compound.
#[derive(Debug, Clone)]
pub(super) struct Below {
    pub place: u64,
    /// 0: not given.
    pub parent: u64,
    pub level: Level,
    pub status: Status,
    pub hint: u32,
    /// Building, unit, room.
    pub doors: [Option<Label>; 3],
}

/// A place of the tree below the compounds.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: u64,
    pub parent: Parent,
    pub level: Level,
    pub status: Status,
    pub label: Label,
    pub implied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Parent {
    Compound(u32),
    Node(u32),
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    /// (hash of an alias, node)
    pub aliases: Vec<(u64, u32)>,
    at: HashMap<(Parent, Level, Label), u32>,
    by_place: HashMap<u64, Parent>,
    /// (id, node): ids of rows whose address another row bears too.
    pub shadowed: Vec<(u64, u32)>,
}

impl Tree {
    pub fn grow(builder: &mut GazetteerBuilder<'_>, divisions: &Divisions) -> Tree {
        let mut tree = Tree::default();
        let mut below = std::mem::take(&mut builder.below);
        below.sort_by_key(|b| b.level);
        let homes = Homes::new(builder, divisions, &below);
        for (i, compound) in builder.compounds.iter().enumerate() {
            tree.by_place.insert(compound.place, Parent::Compound(i as u32));
        }
        for row in below {
            let parent = tree.parent_of(&row, &homes, &builder.compounds);
            let own = row.doors[row.level as usize - Level::Building as usize];
            let Some(label) = own else {
                builder.report.rows_shadowed += 1;
                continue;
            };
            let at = tree.node(parent, row.level, label, &builder.compounds);
            let node = &mut tree.nodes[at as usize];
            let better = node.implied || (node.status != Status::InUse && row.status == Status::InUse);
            if better {
                builder.report.rows_shadowed += u64::from(!node.implied);
                (node.place, node.status, node.implied) = (row.place, row.status, false);
            } else {
                builder.report.rows_shadowed += 1;
            }
            tree.by_place.insert(row.place, Parent::Node(at));
        }
        for (&place, &at) in &tree.by_place {
            if let Parent::Node(node) = at
                && tree.nodes[node as usize].place != place
            {
                tree.shadowed.push((place, node));
            }
        }
        for &(hash, place) in &builder.aliases {
            if let Some(&Parent::Node(node)) = tree.by_place.get(&place) {
                tree.aliases.push((hash, node));
            }
        }
        tree
    }

    fn parent_of(&mut self, row: &Below, homes: &Homes, compounds: &[Compound]) -> Parent {
        let given = self.by_place.get(&row.parent).copied().filter(|&p| match p {
            Parent::Compound(_) => true,
            Parent::Node(n) => self.nodes[n as usize].level < row.level,
        });
        // What the given parent does not say yet, the columns may.
        let mut parent = given.unwrap_or(Parent::Compound(homes.of_hint[row.hint as usize]));
        for (level, door) in [(Level::Building, row.doors[0]), (Level::Unit, row.doors[1])] {
            let above = match parent {
                Parent::Compound(_) => Level::Compound,
                Parent::Node(n) => self.nodes[n as usize].level,
            };
            if let Some(label) = door.filter(|_| above < level && level < row.level) {
                parent = Parent::Node(self.node(parent, level, label, compounds));
            }
        }
        parent
    }

    /// The node under `parent` with this label, implied if there was none.
    fn node(&mut self, parent: Parent, level: Level, label: Label, compounds: &[Compound]) -> u32 {
        if let Some(&at) = self.at.get(&(parent, level, label)) {
            return at;
        }
        let above = match parent {
            Parent::Compound(c) => compounds[c as usize].place,
            Parent::Node(n) => self.nodes[n as usize].place,
        };
        let at = self.nodes.len() as u32;
        let place = provisional(above, level, label.as_str());
        self.nodes.push(Node { place, parent, level, status: Status::InUse, label, implied: true });
        self.at.insert((parent, level, label), at);
        at
    }
}

/// The id of a place that no standard address is about: a hash of what it lies in and its own label,
/// with [`PROVISIONAL_BIT`] set and bit 63 clear.
pub(crate) fn provisional(above: u64, level: Level, label: &str) -> u64 {
    let hash = KeyHash::new(About::Text)
        .chars(&above.to_string().chars().collect::<Vec<_>>())
        .part()
        .char(char::from(level as u8));
    let hash = label.chars().fold(hash.part(), KeyHash::char).finish();
    (hash & (PROVISIONAL_BIT - 1)) | PROVISIONAL_BIT
}

/// The compound that each hint means.
struct Homes {
    of_hint: Vec<u32>,
}

impl Homes {
    fn new(builder: &mut GazetteerBuilder<'_>, divisions: &Divisions, below: &[Below]) -> Homes {
        let mut by_name: HashMap<(String, String), Vec<u32>> = HashMap::new();
        for (i, compound) in builder.compounds.iter().enumerate() {
            for key in keys(compound) {
                by_name.entry(key).or_default().push(i as u32);
            }
        }
        // Rows with a given parent need no home of their own.
        let mut needed = vec![false; builder.hints.len()];
        let known: std::collections::HashSet<u64> =
            builder.compounds.iter().map(|c| c.place).chain(below.iter().map(|b| b.place)).collect();
        for row in below {
            needed[row.hint as usize] |= row.parent == 0 || !known.contains(&row.parent);
        }
        let hints = std::mem::take(&mut builder.hints);
        let mut of_hint = vec![0; hints.len()];
        for (i, (hint, division)) in hints.iter().enumerate() {
            let key = hint_key(hint);
            let home = by_name.get(&key).and_then(|c| best(divisions, &builder.compounds, c, hint));
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
