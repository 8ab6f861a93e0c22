//! The gazetteer that an overlay is built over. Each of its compounds that the overlay touches is carried over with all that
//! lies in it, so that the overlay alone can tell what a number there means.

use super::build::{GazetteerBuilder, Hint};
use super::compound::Compound;
use super::rows::{LabelId, Row};
use super::{Gazetteer, PlaceIndex, via};
use crate::divisions::Divisions;
use crate::model::Level;
use crate::resolve::{Query, Reason, Resolver, Scratch};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Below this the base's compound may be another one.
const CONFIDENCE_MIN: f32 = 0.9;

#[derive(Debug)]
pub(super) struct Base {
    resolver: Resolver,
    scratch: Scratch,
    /// By hint: the id of the base's compound that it means.
    pub of_hint: Vec<Option<u64>>,
}

impl Base {
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver, scratch: Scratch::default(), of_hint: Vec::new() }
    }

    /// The base's building or unit with this label in the place with the id `above`.
    pub fn below(&self, above: u64, level: Level, label: &str) -> Option<u64> {
        let gazetteer = self.resolver.gazetteer();
        let (above, label) = (gazetteer.index_of(above)?, gazetteer.label(label)?);
        gazetteer.child(above, level, label).map(|found| gazetteer.id(found))
    }

    /// Carries over what `builder` touches.
    pub fn carry(&mut self, builder: &mut GazetteerBuilder<'_>) {
        let gazetteer = self.resolver.gazetteer().clone();
        self.of_hint = builder.hints.iter().map(|(hint, _)| self.compound(builder.divisions, hint)).collect();
        let rows = builder.below.rows().iter().flat_map(|row| [row.place, row.parent]);
        let drafts = builder.compounds.iter().map(|c| c.place);
        let all = rows.chain(drafts).chain(self.of_hint.iter().copied().flatten());
        let touched: BTreeSet<PlaceIndex> =
            all.filter_map(|id| gazetteer.index_of(id)).map(|index| gazetteer.compound_of(index)).collect();
        for compound in touched {
            carry_compound(&gazetteer, compound, builder);
        }
    }

    /// The base's compound that a row below it means.
    fn compound(&mut self, divisions: &Divisions, hint: &Hint) -> Option<u64> {
        let number = if hint.number.is_empty() { String::new() } else { format!("{}号", hint.number) };
        let text = format!("{}{number}{}", hint.road, hint.name);
        let code = hint.township.or(hint.area).map(|id| crate::parse::code(divisions, id));
        let name = Some(hint.name.as_str()).filter(|name| !name.is_empty());
        let query = Query { text: &text, city: code.as_deref(), name };
        let answer = self.resolver.resolve(&query, &mut self.scratch);
        let sure = answer.confidence >= CONFIDENCE_MIN && answer.reason != Reason::Typo;
        // A district further may be forgiven to who writes an address, but not to a register.
        let own = answer.division_code.and_then(|code| divisions.covering(code));
        let here = hint.area.zip(own).is_none_or(|(area, own)| divisions.agree(area, own));
        answer.place.filter(|_| sure && here && answer.level == Level::Compound)
    }
}

fn carry_compound(gazetteer: &Arc<Gazetteer>, compound: PlaceIndex, builder: &mut GazetteerBuilder<'_>) {
    let place = gazetteer.id(compound);
    if !builder.by_place.contains_key(&place) {
        let ((_, status, implied), code) =
            (gazetteer.kind(compound), gazetteer.division_of_compound(compound));
        let name = gazetteer.label_of(compound).to_owned();
        let division = code.and_then(|code| builder.divisions.covering(code));
        let lng_lat = gazetteer.compound(compound).lng_lat.map(|(x, y)| (f64::from(x), f64::from(y)));
        let mut draft = Compound {
            place,
            status,
            implied,
            division,
            code: code.unwrap_or(0),
            lng_lat,
            ..Compound::default()
        };
        draft.add_name(&name, via::STANDARD);
        draft.name = name;
        builder.by_place.insert(place, builder.compounds.len() as u32);
        builder.compounds.push(draft);
    }
    carry_below(gazetteer, (compound, place), [LabelId::default(); 3], builder);
}

/// Carries over what lies below `above`, itself in the compound with the id `place`, with the building and unit so far.
fn carry_below(
    gazetteer: &Arc<Gazetteer>,
    (above, place): (PlaceIndex, u64),
    doors: [LabelId; 3],
    builder: &mut GazetteerBuilder<'_>,
) {
    for (slot, level) in [Level::Building, Level::Unit, Level::Dwelling].into_iter().enumerate() {
        for index in gazetteer.children_at(above, level) {
            let (_, status, implied) = gazetteer.kind(index);
            let mut doors = doors;
            doors[slot] = builder.labels.of_text(gazetteer.label_of(index));
            if !implied && builder.below.of_place(gazetteer.id(index)).is_none() {
                let row = Row {
                    place: gazetteer.id(index),
                    parent: place,
                    hint: Row::NO_HINT,
                    doors,
                    level,
                    status,
                };
                builder.below.push(row);
            }
            if level != Level::Dwelling {
                carry_below(gazetteer, (index, place), doors, builder);
            }
        }
    }
}
