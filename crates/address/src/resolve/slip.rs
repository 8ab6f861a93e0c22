//! The miss path: slips of one character, names that are not the street's own, and what stands on a road.

use super::evidence::{AreaEvidence, NameEvidence, StreetEvidence, alike, is_near, is_residence, likeness};
use super::{Resolver, Scratch};
use crate::gazetteer::names::{blanks, road_hash};
use crate::gazetteer::{PlaceIndex, via};
use crate::key::{About, KeyHash, may_be_mistyped};

/// Longer names are not looked up with a slip: they cost the square of their length.
const SLIPPED_NAME_MAX: usize = 24;

impl Resolver {
    /// 云栖路12号锦绣花园: the street is known, and the text names a compound that is not the one there.
    pub(super) fn by_other_name(&self, s: &mut Scratch) {
        let text = s.folded.chars();
        let behind = s.sketch.street().and_then(|t| t.number).map(|n| n.end);
        let Some((start, end)) = s.sketch.compound.filter(|c| behind.is_some_and(|b| c.0 >= b)) else {
            return;
        };
        // 云栖路12号(望月花园东侧): what is only near names nothing else.
        if !is_residence(&text[start..end]) || is_near(&text[end..]) {
            return;
        }
        let end = s.sketch.whole_name(text).map_or(end, |whole| whole.1);
        let mut key = std::mem::take(&mut s.road_key);
        key.set(&s.folded.chars()[start..end]);
        self.by_slipped_name(s, &key.chars, end);
        for e in &mut s.evidence {
            let own = self.gazetteer.label_of(e.compound);
            e.other_name = e.name == NameEvidence::None
                && e.street >= StreetEvidence::Number
                && likeness(&key.chars, own) < 0.5;
        }
        s.road_key = key;
    }

    /// What stands on the road that the text names. Never enough for an answer, but worth being listed.
    pub(super) fn by_road_alone(&self, s: &mut Scratch) {
        let streets = std::mem::take(&mut s.sketch.streets);
        let mut road = std::mem::take(&mut s.road_key);
        for street in streets.iter().filter(|t| t.is_road) {
            road.set(&s.folded.chars()[street.start..street.end]);
            for (compound, how) in self.gazetteer.indexed(road_hash(&road.chars)) {
                // Many cities have a 解放路: those elsewhere would only crowd out the others.
                if self.area_evidence(compound, &s.sketch.area.context) <= AreaEvidence::OtherDistrict {
                    continue;
                }
                self.note(s, compound, |e| {
                    if e.street == StreetEvidence::None {
                        e.street = StreetEvidence::Road;
                        e.via = e.via.max(how);
                    }
                });
            }
        }
        s.road_key = road;
        s.sketch.streets = streets;
    }

    /// Where no name decides, free surface texts put the candidates in order.
    pub(super) fn compare_texts(&self, s: &mut Scratch) {
        if s.evidence.iter().any(|e| e.name > NameEvidence::Typo) {
            return;
        }
        let start = s.key.at_folded(s.sketch.area.end).min(s.key.chars.len());
        // What is only near (…,近齐梁路) says little about which of several it is.
        let near = s.folded.chars().iter().position(|&c| c == '近').filter(|&at| at > s.sketch.area.end + 2);
        let end = near.map_or(s.key.chars.len(), |at| s.key.at_folded(at)).max(start);
        for e in &mut s.evidence {
            e.likeness = self
                .gazetteer
                .texts(e.compound)
                .map(|t| alike(&s.key.chars[start..end], t))
                .fold(0.0, f32::max);
        }
    }

    /// The miss path: one character of a name or road may have slipped. Numbers never.
    pub(super) fn by_slip(&self, s: &mut Scratch) {
        let given = std::mem::take(&mut s.name_key);
        self.by_slipped_name(s, &given.chars, 0);
        s.name_key = given;
        let mut key = std::mem::take(&mut s.road_key);
        if let Some((start, end)) = s.sketch.whole_name(s.folded.chars()) {
            key.set(&s.folded.chars()[start..end]);
            self.by_slipped_name(s, &key.chars, end);
        }
        let streets = std::mem::take(&mut s.sketch.streets);
        for street in streets.iter().filter(|t| t.is_road) {
            let Some(number) = street.number else { continue };
            key.set(&s.folded.chars()[street.start..street.end]);
            for blank in blanks(&key.chars, 3).filter(|_| key.chars.len() <= SLIPPED_NAME_MAX) {
                let hash = KeyHash::new(About::BlankedRoad).blanked(&key.chars, blank).part();
                let hash = number.value.as_str().chars().fold(hash, KeyHash::char).finish();
                for (compound, how) in self.gazetteer.indexed(hash) {
                    self.note(s, compound, |e| {
                        e.street = e.street.max(StreetEvidence::NumberTypo);
                        e.via = e.via.max(how);
                        e.tail = e.tail.max(number.end);
                    });
                }
            }
        }
        s.sketch.streets = streets;
        s.road_key = key;
    }

    /// Names that are one slip away from `key`: a changed, a lost, a doubled, or two exchanged characters.
    fn by_slipped_name(&self, s: &mut Scratch, key: &[char], tail: usize) {
        if !(3..=SLIPPED_NAME_MAX).contains(&key.len()) {
            return;
        }
        let found = |s: &mut Scratch, compound: PlaceIndex, how: u32| {
            self.note(s, compound, |e| {
                if NameEvidence::Typo > e.name {
                    (e.name, e.via, e.name_length) = (NameEvidence::Typo, how, key.len());
                }
                e.tail = e.tail.max(tail);
            });
        };
        for blank in blanks(key, 3) {
            for (compound, how) in
                self.gazetteer.indexed(KeyHash::new(About::BlankedName).blanked(key, blank).finish())
            {
                found(s, compound, how);
            }
        }
        for (compound, how) in self.gazetteer.indexed(KeyHash::new(About::ShortenedName).chars(key).finish())
        {
            found(s, compound, how);
        }
        let mut other = std::mem::take(&mut s.slipped);
        let lexicon = self.gazetteer.lexicon();
        for at in blanks(key, 4) {
            other.clear();
            other.extend(key.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, &c)| c));
            if let Some(name) = lexicon.exact(&other) {
                self.gazetteer
                    .meanings(name)
                    .filter(|m| m.1 != via::ROAD)
                    .for_each(|(c, how)| found(s, c, how));
            }
            if at + 1 < key.len() && may_be_mistyped(key[at + 1]) && key[at] != key[at + 1] {
                other.clear();
                other.extend_from_slice(key);
                other.swap(at, at + 1);
                if let Some(name) = lexicon.exact(&other) {
                    self.gazetteer
                        .meanings(name)
                        .filter(|m| m.1 != via::ROAD)
                        .for_each(|(c, how)| found(s, c, how));
                }
            }
        }
        s.slipped = other;
    }
}
