//! Candidates: every compound that the text gives a reason to think of, with the evidence for and against it.

use super::evidence::{AreaEvidence, Evidence, NameEvidence, StreetEvidence, numbered, strength};
use super::{Resolver, Scratch};
use crate::gazetteer::names::{number_hash, road_hash};
use crate::gazetteer::{PlaceIndex, via};
use crate::key::{About, KeyHash, NameKey};
use crate::parse::{Label, contains};

/// A name of the gazetteer seen in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pub name: u32,
    /// In folded characters.
    pub start: usize,
    pub end: usize,
    pub length: usize,
}

const EVIDENCE_MAX: usize = 96;
/// Names that one text mentions; what comes after so many is no address.
const SPOTS_MAX: usize = 64;

impl Resolver {
    /// Fills `s.evidence` for the texts that `s` holds folded and read.
    pub(super) fn gather(&self, s: &mut Scratch) {
        s.evidence.clear();
        s.spots.clear();
        self.spot(s);
        self.by_given_name(s);
        self.by_spots(s);
        self.by_street(s);
        self.by_text(s);
        let unnamed = s.evidence.iter().all(|e| e.name <= NameEvidence::Typo);
        let placeless = |s: &Scratch| s.evidence.iter().all(|e| e.street <= StreetEvidence::Road);
        if unnamed && placeless(s) {
            self.by_pieces(s);
        }
        if unnamed && placeless(s) {
            self.by_crossing(s);
        }
        if unnamed && placeless(s) {
            self.by_slip(s);
            self.by_road_alone(s);
        } else if unnamed {
            self.by_other_name(s);
        }
        self.compare_texts(s);
    }

    /// Every longest name of a compound or road in the text, left to right.
    fn spot(&self, s: &mut Scratch) {
        let lexicon = self.gazetteer.lexicon();
        let key = &s.key;
        let mut covered = 0;
        let area_end = s.sketch.area.end;
        for at in key.at_folded(area_end)..key.chars.len() {
            if s.spots.len() == SPOTS_MAX {
                break;
            }
            let text = &key.chars[at..];
            let mut best: Option<(u32, usize)> = None;
            lexicon.prefixes(text, |name, length| {
                if bounded(&key.chars, at, at + length) && unbroken(s.folded.chars(), key, at, at + length) {
                    best = Some((name, length));
                }
            });
            if let Some((name, length)) = best.filter(|b| at + b.1 > covered) {
                covered = at + length;
                let start = key.from[at] as usize;
                let end = key.from[at + length - 1] as usize + 1;
                // The numerals of one run all come from its first character.
                let end = key.from.get(at + length).map_or(end, |&next| {
                    if next as usize == end {
                        end
                    } else {
                        end.max(run_end(&s.folded.chars()[..next as usize], end))
                    }
                });
                s.spots.push(Spot { name, start, end, length });
            }
        }
    }

    fn by_given_name(&self, s: &mut Scratch) {
        let key = std::mem::take(&mut s.name_key);
        if key.chars.len() >= 2 {
            let before = s.evidence.len();
            self.by_name(s, &key.chars, NameEvidence::Given);
            if s.evidence.len() == before {
                // 国泰新村(南苑): without what is in brackets; then by what the name begins with.
                let folded = s.name_folded.chars();
                let open = folded.iter().position(|&c| c == '(');
                if let Some(open) = open.filter(|&o| o >= 2) {
                    let mut bare = std::mem::take(&mut s.road_key);
                    bare.set(&s.name_folded.chars()[..open]);
                    if !self.detail_of_name(s, open) {
                        self.by_name(s, &bare.chars, NameEvidence::Given);
                    }
                    s.road_key = bare;
                }
            }
            if s.evidence.len() == before {
                for suffix in [&['小', '区'][..], &['别', '墅'], &['公', '寓']] {
                    if let Some(bare) = key.chars.strip_suffix(suffix).filter(|b| b.len() >= 3) {
                        self.by_name(s, bare, NameEvidence::Typo);
                    } else if suffix == ['小', '区'] {
                        let mut longer = std::mem::take(&mut s.slipped);
                        longer.clear();
                        longer.extend(key.chars.iter().chain(suffix));
                        self.by_name(s, &longer, NameEvidence::Typo);
                        s.slipped = longer;
                    }
                }
            }
        }
        s.name_key = key;
    }

    /// Do the brackets of the given name tell parts of a compound apart (北区, 二期, B区)? Then they count.
    fn detail_of_name(&self, s: &Scratch, open: usize) -> bool {
        let inner = &s.name_folded.chars()[open..];
        ["区", "期", "苑", "园", "幢", "栋", "号", "村", "片", "组"].iter().any(|w| contains(inner, w))
    }

    fn by_name(&self, s: &mut Scratch, key: &[char], evidence: NameEvidence) {
        if let Some(name) = self.gazetteer.lexicon().exact(key) {
            for (compound, how) in self.gazetteer.meanings(name).filter(|m| m.1 != via::ROAD) {
                self.note(s, compound, |e| {
                    if evidence > e.name {
                        (e.name, e.via, e.name_length) = (evidence, how, key.len());
                    }
                });
            }
        }
    }

    fn by_spots(&self, s: &mut Scratch) {
        let spots = std::mem::take(&mut s.spots);
        for spot in &spots {
            let strength = strength(s, spot);
            let numbered = numbered(s, spot);
            // A compound that is called 青禾营12号 has that address, as others may have.
            let is_number =
                matches!(s.folded.chars()[..spot.end], [.., digit, '号'] if digit.is_ascii_digit());
            for (compound, how) in self.gazetteer.meanings(spot.name).filter(|m| m.1 != via::ROAD) {
                // 望月营12号, where 望月营 has no buildings: a number of the lane, not a house of the compound.
                let lane = numbered && !self.gazetteer.has_children(compound);
                let strength = if lane { strength.min(NameEvidence::Mentioned) } else { strength };
                self.note(s, compound, |e| {
                    if is_number && e.name < NameEvidence::Given {
                        e.street = e.street.max(StreetEvidence::Number);
                        e.tail = e.tail.max(spot.end);
                        return;
                    }
                    if strength > e.name {
                        (e.name, e.via, e.name_length) = (strength, how, spot.length);
                    }
                    if strength >= NameEvidence::Written || e.name == NameEvidence::Given {
                        e.tail = e.tail.max(spot.end);
                    }
                });
            }
        }
        s.spots = spots;
    }

    fn by_street(&self, s: &mut Scratch) {
        let streets = std::mem::take(&mut s.sketch.streets);
        let mut road = std::mem::take(&mut s.road_key);
        for street in &streets {
            road.set(&s.folded.chars()[street.start..street.end]);
            let spotted =
                s.spots.iter().filter(|p| p.end == street.end && p.start > street.start).copied().next();
            self.by_road(s, &road.chars, street.number.map(|n| (n.value, n.end)));
            // 恒大绿洲人民路12号: the road that the gazetteer knows is the end of what was read as one.
            if let Some(spot) = spotted {
                road.set(&s.folded.chars()[spot.start..spot.end]);
                self.by_road(s, &road.chars, street.number.map(|n| (n.value, n.end)));
            }
        }
        s.road_key = road;
        s.sketch.streets = streets;
    }

    fn by_road(&self, s: &mut Scratch, road: &[char], number: Option<(Label, usize)>) {
        if let Some((number, end)) = number {
            for (compound, how) in self.gazetteer.indexed(number_hash(road, number.as_str())) {
                self.note(s, compound, |e| {
                    e.street = e.street.max(StreetEvidence::Number);
                    if e.name == NameEvidence::None {
                        e.via = how;
                    } else {
                        e.via = e.via.max(how);
                    }
                    e.tail = e.tail.max(end);
                });
            }
        }
        // The road alone speaks only for those that something else speaks for too.
        let hash = road_hash(road);
        let own = number.map(|n| number_hash(road, n.0.as_str()));
        for e in &mut s.evidence {
            if e.street >= StreetEvidence::Road {
                continue;
            }
            let (mut same, mut conflict) = (false, false);
            for (r, n) in self.gazetteer.numbers(e.compound).filter(|n| n.0 == hash) {
                same |= r == hash;
                conflict |= own.is_some_and(|own| n != 0 && n != own);
            }
            if same {
                e.street = if conflict { StreetEvidence::Conflict } else { StreetEvidence::Road };
            }
        }
    }

    fn by_text(&self, s: &mut Scratch) {
        let start = s.key.at_folded(s.sketch.area.end);
        let text = &s.key.chars[start.min(s.key.chars.len())..];
        // A road, with or without its quarter, is nobody's address.
        let bare_road = s
            .sketch
            .streets
            .iter()
            .any(|t| t.is_road && t.number.is_none() && t.end == s.folded.chars().len());
        if text.len() < 4 || bare_road {
            return;
        }
        let hash = KeyHash::new(About::Text).chars(text).finish();
        let end = s.folded.chars().len();
        // A text that is nothing but road and number says no more than they do.
        let number_alone = s.is_number_alone(s.sketch.area.end, end);
        let evidence = if number_alone { StreetEvidence::Number } else { StreetEvidence::Text };
        for (compound, how) in self.gazetteer.indexed(hash) {
            self.note(s, compound, |e| {
                e.street = evidence.max(e.street);
                if e.name == NameEvidence::None {
                    e.via = how;
                    e.tail = end;
                }
            });
        }
    }

    /// Changes the evidence on `compound`, made if new. What lies in another city than the text is none.
    pub(super) fn note(&self, s: &mut Scratch, compound: PlaceIndex, change: impl FnOnce(&mut Evidence)) {
        if let Some(e) = s.evidence.iter_mut().find(|e| e.compound == compound) {
            return change(e);
        }
        if s.evidence.len() == EVIDENCE_MAX {
            return;
        }
        let area = self.area_evidence(compound, &s.sketch.area.context);
        if area == AreaEvidence::OtherCity {
            return;
        }
        let mut e = Evidence {
            compound,
            added: false,
            name: NameEvidence::None,
            street: StreetEvidence::None,
            area,
            via: via::STANDARD,
            name_length: 0,
            tail: 0,
            other_name: false,
            likeness: 0.0,
            score: 0.0,
        };
        change(&mut e);
        s.evidence.push(e);
    }
}

impl Scratch {
    /// Does a road's number end the text from `start` to `end`?
    pub(super) fn is_number_alone(&self, start: usize, end: usize) -> bool {
        self.sketch.streets.iter().any(|t| t.start >= start && t.number.is_some_and(|n| n.end == end))
    }
}

/// A name that ends or begins with a digit must not be part of a longer number, nor be cut out of a longer road.
fn bounded(text: &[char], start: usize, end: usize) -> bool {
    let joined = |a: char, b: char| {
        (a.is_ascii_digit() && b.is_ascii_digit()) || (a.is_ascii_lowercase() && b.is_ascii_lowercase())
    };
    let before = start == 0 || !joined(text[start - 1], text[start]);
    let after = end == text.len() || !joined(text[end - 1], text[end]);
    let street = matches!(
        (text.get(end), text.get(end + 1)),
        (Some('路' | '街' | '巷' | '弄'), _)
            | (Some('东' | '西' | '南' | '北' | '中'), Some('路' | '街' | '巷'))
            | (Some('大'), Some('道' | '街'))
    );
    before && after && !street
}

/// A name does not run over a dash or a space of the text (over a bracket or a dot it may).
fn unbroken(folded: &[char], key: &NameKey, start: usize, end: usize) -> bool {
    let (first, last) = (key.from[start] as usize, key.from[end - 1] as usize);
    last - first < end - start
        || !folded[first..last].windows(2).any(|w| w[1] == ' ' || (w[1] == '-' && !w[0].is_ascii_digit()))
}

/// Where a run of Chinese numerals that began before `end` ends.
fn run_end(text: &[char], end: usize) -> usize {
    end + text[end..].iter().take_while(|&&c| crate::fold::is_numeral(c)).count()
}
