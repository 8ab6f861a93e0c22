//! The miss path of descriptions: what stands behind a quarter that nobody lists, and where two roads meet.

use super::evidence::{ALIKE, AreaEvidence, Evidence, NameEvidence, StreetEvidence};
use super::{Resolver, Scratch};
use crate::gazetteer::PlaceIndex;
use crate::gazetteer::names::road_hash;
use crate::gazetteer::surface::pieces;
use crate::parse::contains;
use crate::parse::street::Street;

/// Of the compounds on one road no more are looked at.
const ON_ROAD_MAX: usize = 2_000;
/// And no other surface text may come this near.
const ALIKE_MARGIN: f32 = 0.2;
/// Shorter texts say too little to be compared by likeness, in key characters behind the area.
const DESCRIPTION_MIN: usize = 8;

impl Resolver {
    /// A part of the text, from one gap to another or to the end, that is a part of a surface text.
    pub(super) fn by_pieces(&self, s: &mut Scratch) {
        let mut found = std::mem::take(&mut s.places);
        found.clear();
        pieces(&s.sketch.area, s.folded.chars(), &s.key, |hash, start, end| {
            if !s.is_number_alone(start, end) {
                found.extend(self.gazetteer.indexed(hash).map(|(compound, how)| (compound, how, end)));
            }
        });
        for &(compound, how, end) in &found {
            self.note(s, compound, |e| {
                if e.street < StreetEvidence::Text {
                    (e.street, e.via) = (StreetEvidence::Text, how);
                    e.tail = e.tail.max(end);
                }
            });
        }
        s.places = found;
    }

    /// Two roads of the text that one surface text has too: 松涛路与云栖路交汇处.
    pub(super) fn by_crossing(&self, s: &mut Scratch) {
        let streets = std::mem::take(&mut s.sketch.streets);
        let mut found = std::mem::take(&mut s.places);
        found.clear();
        for pair in streets.windows(2) {
            // 新街口-云栖路: a dash parts levels, not roads.
            let between = s.folded.chars().get(pair[0].end..pair[1].start);
            let apart = between.is_none_or(|between| between.contains(&'-'));
            if !apart && pair.iter().all(|t| t.is_road && t.number.is_none() && !is_only_near(t, s)) {
                self.on_both(&pair[0], &pair[1], s, &mut found);
                self.on_both(&pair[1], &pair[0], s, &mut found);
                break;
            }
        }
        for &(compound, how, _) in &found {
            self.note(s, compound, |e| {
                if e.street < StreetEvidence::Crossing {
                    (e.street, e.via) = (StreetEvidence::Crossing, how);
                }
            });
        }
        s.places = found;
        s.sketch.streets = streets;
    }

    /// What the text describes in nearly the words of one surface text; never by a road alone.
    pub(super) fn nearly_described(&self, s: &Scratch) -> Option<Evidence> {
        let long =
            s.key.chars.len() - s.key.at_folded(s.sketch.area.end).min(s.key.chars.len()) >= DESCRIPTION_MIN;
        let bare = s.sketch.streets.iter().any(|t| t.number.is_some() || t.end == s.folded.chars().len());
        let near = s.folded.chars().contains(&'近') && !contains(s.folded.chars(), "附近");
        let best = most_alike(s.evidence.iter()).filter(|_| long && !bare && !near)?;
        let here = best.area > AreaEvidence::OtherDistrict && !best.other_name;
        (here && best.street > StreetEvidence::Conflict)
            .then_some(Evidence { street: StreetEvidence::Crossing, ..best })
    }

    fn on_both(&self, a: &Street, b: &Street, s: &mut Scratch, found: &mut Vec<(PlaceIndex, u32, usize)>) {
        let mut road = std::mem::take(&mut s.road_key);
        road.set(&s.folded.chars()[a.start..a.end]);
        let hash = road_hash(&road.chars);
        let both = [a, b].map(|t| &s.folded.chars()[t.start..t.end]);
        for (compound, how) in self.gazetteer.indexed(hash).take(ON_ROAD_MAX) {
            let one_text = |text: &str| both.iter().all(|road| is_in(road, text));
            let here = self.area_evidence(compound, &s.sketch.area.context) > AreaEvidence::OtherDistrict;
            if here && self.gazetteer.texts(compound).any(one_text) {
                found.push((compound, how, 0));
            }
        }
        s.road_key = road;
    }
}

/// Does `word` stand somewhere in `text`?
fn is_in(word: &[char], text: &str) -> bool {
    text.char_indices().any(|(at, _)| word.iter().copied().eq(text[at..].chars().take(word.len())))
}

/// Is this known by its description, and by no name or number?
pub(super) fn is_described(e: &Evidence) -> bool {
    e.name <= NameEvidence::Mentioned && matches!(e.street, StreetEvidence::Text | StreetEvidence::Crossing)
}

/// The one whose surface text is this very description, if no other comes near.
pub(super) fn most_alike<'e>(all: impl Iterator<Item = &'e Evidence>) -> Option<Evidence> {
    // What has the same piece of text is as near as can be.
    let rival = |e: &Evidence| if e.street == StreetEvidence::Text { 1.0 } else { e.likeness };
    let mut best: Option<Evidence> = None;
    let mut next: f32 = 0.0;
    for e in all {
        match best {
            Some(b) if b.likeness >= e.likeness => next = rival(e).max(next),
            _ => {
                next = best.map_or(0.0, |b| rival(&b)).max(next);
                best = Some(*e);
            }
        }
    }
    best.filter(|b| b.likeness >= ALIKE && b.likeness - next >= ALIKE_MARGIN)
}

/// 云栖路,近松涛路: what is only near says little about which of several it is.
fn is_only_near(street: &Street, s: &Scratch) -> bool {
    let before = &s.folded.chars()[..street.start];
    before.last() == Some(&'近') || contains(&s.folded.chars()[street.start..street.end], "近")
}
