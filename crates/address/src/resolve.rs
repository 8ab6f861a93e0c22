//! Resolve: text to place, with a reason and a confidence, or an abstention that says why.
//!
//! ```text
//!  fold ─► read area, streets, doors ─► gather compounds with evidence ─► decide ─► descend to the door
//! ```

mod answer;
mod descend;
mod described;
mod evidence;
mod explain;
mod gather;
mod layers;
mod memo;
mod slip;
mod support;

pub use answer::{Answer, CANDIDATES_MAX, Candidate, Language, Query, Reason};
pub use memo::Memo;

use crate::divisions::{DivisionId, Divisions};
use crate::fold::{Folded, fold};
use crate::gazetteer::{Gazetteer, PlaceIndex, via};
use crate::key::{About, KeyHash, NameKey};
use crate::model::{Level, Status};
use crate::parse::Sketch;
use crate::parse::area::is_gap;
use crate::parse::door::Door;
use arrayvec::ArrayVec;
use descend::{Descent, descend};
use described::{is_described, most_alike};
use evidence::{AreaEvidence, Evidence, NameEvidence, StreetEvidence};
use gather::Spot;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Resolves texts against one gazetteer. Share it between threads; give each thread its own [`Scratch`].
#[derive(Debug, Clone)]
pub struct Resolver {
    gazetteer: Arc<Gazetteer>,
    divisions: &'static Divisions,
    /// Provinces and cities that the standard addresses lie in.
    provinces: Vec<DivisionId>,
    cities: Vec<DivisionId>,
    /// The division of each entry of the gazetteer's list of codes.
    covered: Vec<Option<DivisionId>>,
    /// Stands for the gazetteer in what is remembered.
    salt: u64,
    overlay: Option<Arc<Resolver>>,
}

impl std::fmt::Debug for Divisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Divisions")
    }
}

/// Memory that is used again from text to text.
#[derive(Debug, Default)]
pub struct Scratch {
    folded: Folded,
    name_folded: Folded,
    key: NameKey,
    name_key: NameKey,
    road_key: NameKey,
    sketch: Sketch,
    spots: Vec<Spot>,
    evidence: Vec<Evidence>,
    doors: Vec<Door>,
    slipped: Vec<char>,
    /// (compound, by which way, where its words end)
    places: Vec<(PlaceIndex, u32, usize)>,
    /// The divisions that feeds of some areas speak of, by the area's name.
    defaults: Vec<(String, Vec<DivisionId>)>,
    /// Whose cities `defaults` hold.
    defaults_of: u64,
    memo: Option<Memo<Answer>>,
    evidence_of_base: Vec<Evidence>,
}

impl Scratch {
    /// One that remembers its last answers, at most so many (about 200 bytes each).
    pub fn remembering(answers_max: usize) -> Self {
        Self { memo: Some(Memo::new(answers_max)), ..Self::default() }
    }
}

/// Areas whose divisions are remembered: a feed has one, or one of the province's cities a record.
const DEFAULTS_MAX: usize = 64;
/// A rival this close makes an answer ambiguous.
const MARGIN: f32 = 0.035;
/// The same for namesakes that only a road tells apart.
const NAMESAKE_MARGIN: f32 = 0.10;

impl Resolver {
    pub fn new(gazetteer: Arc<Gazetteer>) -> Self {
        let divisions = Divisions::bundled();
        let mut provinces = Vec::new();
        let mut cities = Vec::new();
        let covered: Vec<_> = gazetteer.covered().map(|code| divisions.covering(code)).collect();
        for &id in covered.iter().flatten() {
            provinces.extend(divisions.at_level(id, Level::Province));
            cities.extend(divisions.at_level(id, Level::City));
        }
        for list in [&mut provinces, &mut cities] {
            list.sort_unstable();
            list.dedup();
        }
        let salt = xxh3_64(gazetteer.version().as_bytes());
        Self { gazetteer, divisions, provinces, cities, covered, salt, overlay: None }
    }

    pub fn gazetteer(&self) -> &Arc<Gazetteer> {
        &self.gazetteer
    }

    /// Resolves one text. Never fails: what cannot be resolved is answered with the reason.
    pub fn resolve(&self, query: &Query<'_>, s: &mut Scratch) -> Answer {
        let key = s.memo.as_ref().map(|_| Memo::<Answer>::key(query, self.salt));
        if let (Some(memo), Some(key)) = (&mut s.memo, key)
            && let Some(answer) = memo.get(key)
        {
            return answer.clone();
        }
        let answer = self.work_out(query, s);
        if let (Some(memo), Some(key)) = (&mut s.memo, key) {
            memo.put(key, answer.clone());
        }
        answer
    }

    fn work_out(&self, query: &Query<'_>, s: &mut Scratch) -> Answer {
        self.read(query, s);
        if s.folded.chars().iter().all(|&c| is_gap(c)) && s.name_key.chars.is_empty() {
            s.evidence.clear();
            s.spots.clear();
            return Answer::none(Reason::Empty);
        }
        if let Some(reason) = self.elsewhere(s) {
            s.evidence.clear();
            s.spots.clear();
            let mut answer = Answer::none(reason);
            answer.division_code = self.area_code(s);
            return answer;
        }
        self.gather(s);
        self.gather_added(s);
        self.weigh(s);
        if let Some((place, added)) = self.by_alias_of_layers(s) {
            let compound = self.layer(added).compound_of(place);
            return self.found((place, compound, added), Reason::Alias, 0.97, s);
        }
        self.decide(s)
    }

    fn read(&self, query: &Query<'_>, s: &mut Scratch) {
        fold(query.text, &mut s.folded);
        fold(query.name.unwrap_or(""), &mut s.name_folded);
        s.name_key.set(s.name_folded.chars());
        let at = self.default_area(query.city.unwrap_or(""), s);
        let default = &s.defaults[at].1;
        s.sketch.read(self.divisions, s.folded.chars(), default);
        s.key.set(s.folded.chars());
        s.doors.clear();
    }

    /// Where in `s.defaults` the divisions stand that a feed of this area speaks of.
    fn default_area(&self, city: &str, s: &mut Scratch) -> usize {
        if s.defaults_of != self.salt || s.defaults.len() == DEFAULTS_MAX {
            s.defaults.clear();
            s.defaults_of = self.salt;
        }
        if let Some(at) = s.defaults.iter().position(|default| default.0 == city) {
            return at;
        }
        let area = self.divisions.area(city);
        // A feed of a whole province, or without an area: wherever in it there are standard addresses.
        let is_wide = area.is_none_or(|a| self.divisions.get(a).level < Level::City);
        let within = |c: &&DivisionId| area.is_none_or(|a| self.divisions.within(**c, a));
        let mut default: Vec<_> = self.cities.iter().filter(|_| is_wide).filter(within).copied().collect();
        if default.is_empty() {
            default.extend(area);
        }
        s.defaults.push((city.to_owned(), default));
        s.defaults.len() - 1
    }

    /// Does the text name an area that no standard address lies in?
    fn elsewhere(&self, s: &Scratch) -> Option<Reason> {
        let area = &s.sketch.area;
        if self.provinces.is_empty() || !area.named {
            return None;
        }
        let d = self.divisions;
        let covered = |id: DivisionId, list: &[DivisionId]| list.iter().any(|&c| d.agree(id, c));
        if let Some(id) = area.elsewhere.filter(|&id| !covered(id, &self.provinces)) {
            // A second province inside one of ours is only believed where it is a city or a province itself.
            if d.get(id).level <= Level::City || !area.context.iter().any(|&c| covered(c, &self.provinces)) {
                return Some(Reason::OtherProvince);
            }
        }
        if area.context.is_empty() {
            return None;
        }
        if !area.context.iter().any(|&c| covered(c, &self.provinces)) {
            return Some(Reason::OtherProvince);
        }
        (!area.context.iter().any(|&c| covered(c, &self.cities))).then_some(Reason::OutsideArea)
    }

    fn area_code(&self, s: &Scratch) -> Option<u64> {
        let all = &s.sketch.area.context;
        crate::gazetteer::build::common(self.divisions, all).map(|d| self.divisions.get(d).code)
    }

    /// A listed alias of a building, unit or dwelling that is the whole text.
    fn by_alias(&self, s: &Scratch) -> Option<PlaceIndex> {
        let start = s.key.at_folded(s.sketch.area.end).min(s.key.chars.len());
        let text = &s.key.chars[start..];
        if text.len() < 4 {
            return None;
        }
        let mut places = self.gazetteer.indexed(KeyHash::new(About::Alias).chars(text).finish());
        let first = places.next()?;
        places.next().is_none().then_some(first.0)
    }

    /// Picks the compound, or says why none can be picked.
    fn decide(&self, s: &mut Scratch) -> Answer {
        let highest =
            s.evidence.iter().copied().filter(enough).reduce(|a, b| if b.score > a.score { b } else { a });
        let Some(best) = highest else {
            return match self.nearly_described(s) {
                Some(e) => self.answer(e, 0.97, s),
                None => self.by_slip_and_door(s),
            };
        };
        // Of namesakes a road without a number decides nothing: both may stand on it.
        let by_road = |e: &Evidence| {
            best.street <= StreetEvidence::Road && e.name == best.name && best.name >= NameEvidence::Written
        };
        let margin = |e: &Evidence| if by_road(e) { NAMESAKE_MARGIN } else { MARGIN };
        let close = |e: &Evidence| enough(e) && best.score - e.score < margin(e);
        if s.evidence.iter().filter(|e| close(e)).count() == 1 {
            if self.is_undecided(&best) {
                return self.abstain(Reason::Ambiguous, s);
            }
            if self.is_unsupported(&best, s) {
                return self.by_slip_and_door(s);
            }
            return self.answer(best, 1.0, s);
        }
        if let Some(e) = most_alike(s.evidence.iter().filter(|e| close(e))).filter(is_described) {
            return self.answer(e, 0.97, s);
        }
        // Namesakes: the one that has such a door, if only one has.
        let mut with_door = None;
        for i in 0..s.evidence.len() {
            let e = s.evidence[i];
            if !close(&e) {
                continue;
            }
            self.read_doors(e, s);
            if matches!(descend(self.layer(e.added), e.compound, s), Descent::Found { .. }) {
                if with_door.is_some() {
                    return self.abstain(Reason::Ambiguous, s);
                }
                with_door = Some(e);
            }
        }
        match with_door {
            Some(e) => self.answer(e, 0.93, s),
            None => self.abstain(Reason::Ambiguous, s),
        }
    }

    /// A number alone, from a list that gives its neighbours the same or calls them by it.
    fn is_undecided(&self, e: &Evidence) -> bool {
        let number_alone = e.name <= NameEvidence::Mentioned && e.street <= StreetEvidence::Number;
        number_alone && self.layer(e.added).compound(e.compound).undecided_by_number
    }

    /// A name one slip away, or one that many places bear, that nothing but the door confirms: only if it is the only
    /// such name with such a door.
    fn by_slip_and_door(&self, s: &mut Scratch) -> Answer {
        let mut only = None;
        for i in 0..s.evidence.len() {
            let e = s.evidence[i];
            let vague = e.name_length <= 3 && e.area < AreaEvidence::County;
            let doubtful = e.name == NameEvidence::Typo || self.is_unsupported(&e, s);
            if !doubtful || e.other_name || vague || e.area <= AreaEvidence::OtherDistrict {
                continue;
            }
            self.read_doors(e, s);
            if matches!(descend(self.layer(e.added), e.compound, s), Descent::Found { .. })
                && s.doors.len() > 1
            {
                if only.is_some() {
                    return self.abstain(Reason::Ambiguous, s);
                }
                only = Some(e);
            }
        }
        match only {
            Some(e) => self.answer(e, 1.0, s),
            None => self.abstain(Reason::NotFound, s),
        }
    }

    /// The doors behind the words that named the compound.
    fn read_doors(&self, e: Evidence, s: &mut Scratch) {
        let streets = s.sketch.streets.iter().filter(|t| t.is_road).filter_map(|t| t.number.map(|n| n.end));
        let tail = streets.fold(e.tail, usize::max).max(s.sketch.area.end);
        s.sketch.doors_behind(s.folded.chars(), tail, &mut s.doors);
    }

    fn answer(&self, e: Evidence, certainty: f32, s: &mut Scratch) -> Answer {
        self.read_doors(e, s);
        let mut reason = reason(&e, s);
        let rest = s.doors.last().map_or(&[][..], |d| &s.folded.chars()[d.end..]);
        if s.folded.chars().contains(&char::REPLACEMENT_CHARACTER) {
            // Damaged bytes: no number of this text can be trusted.
            return self.abstain(Reason::NotFound, s);
        }
        if rest.iter().find(|&&c| !is_gap(c)).is_some_and(char::is_ascii_alphanumeric) {
            reason = Reason::Coarser;
        }
        let confidence = confidence(&e, reason) * certainty;
        let gazetteer = self.layer(e.added);
        match descend(gazetteer, e.compound, s) {
            Descent::Here => self.found((e.compound, e.compound, e.added), reason, confidence, s),
            Descent::Found { place, left_out: false } => {
                self.found((place, e.compound, e.added), reason, confidence, s)
            }
            Descent::Found { place, left_out: true } => {
                self.found((place, e.compound, e.added), Reason::LevelLeftOut, confidence * 0.96, s)
            }
            Descent::Deeper { place } => {
                self.found((place, e.compound, e.added), Reason::Coarser, confidence * 0.97, s)
            }
            Descent::Provisional { building, id } => {
                let mut answer = self.found((building, e.compound, e.added), reason, confidence * 0.85, s);
                answer.within = answer.place.replace(id);
                answer.level = Level::Dwelling;
                answer.provisional = true;
                answer.status = None;
                answer
            }
            Descent::Several { within, places } => {
                let mut answer = self.abstain(Reason::Ambiguous, s);
                answer.within = Some(gazetteer.id(within));
                answer.division_code = gazetteer.division_of_compound(e.compound);
                answer.candidates = places
                    .iter()
                    .take(CANDIDATES_MAX)
                    .map(|&p| self.candidate((p, e.added), e.score))
                    .collect();
                answer
            }
            Descent::NoSuchBuilding => {
                let mut answer = self.abstain(Reason::NoSuchBuilding, s);
                answer.within = Some(gazetteer.id(e.compound));
                answer.division_code = gazetteer.division_of_compound(e.compound);
                answer
            }
        }
    }

    /// `place` lies in `compound`; the overlay holds both where `added`.
    fn found(
        &self,
        (place, compound, added): (PlaceIndex, PlaceIndex, bool),
        reason: Reason,
        confidence: f32,
        s: &Scratch,
    ) -> Answer {
        let gazetteer = self.layer(added);
        let (id, (level, status, implied)) = (gazetteer.id(place), gazetteer.kind(place));
        let status = if self.withdraws(id) { Status::Withdrawn } else { status };
        let mut candidates = self.candidates(s);
        if let Some(c) = candidates.first_mut() {
            (c.place_id, c.level) = (id, level);
        }
        Answer {
            place: Some(id),
            level,
            provisional: implied,
            reason,
            confidence: confidence.clamp(0.0, 1.0),
            within: None,
            status: Some(status).filter(|_| !implied || status != Status::InUse),
            division_code: gazetteer.division_of_compound(compound),
            candidates,
        }
    }

    fn abstain(&self, reason: Reason, s: &Scratch) -> Answer {
        let mut answer = Answer::none(reason);
        answer.candidates = self.candidates(s);
        answer.division_code = self.area_code(s);
        answer
    }

    fn candidates(&self, s: &Scratch) -> ArrayVec<Candidate, CANDIDATES_MAX> {
        s.evidence
            .iter()
            .take(CANDIDATES_MAX)
            .map(|e| self.candidate((e.compound, e.added), e.score))
            .collect()
    }

    fn candidate(&self, (place, added): (PlaceIndex, bool), score: f32) -> Candidate {
        let gazetteer = self.layer(added);
        Candidate { place_id: gazetteer.id(place), level: gazetteer.level(place), score }
    }
}

/// Is this enough to answer at all?
fn enough(e: &Evidence) -> bool {
    if e.other_name {
        return false;
    }
    let confirmed = e.street >= StreetEvidence::Road;
    let (here, near) = (e.area > AreaEvidence::OtherDistrict, e.area >= AreaEvidence::OtherDistrict);
    match e.name {
        NameEvidence::Given => here || confirmed || (near && e.name_length >= 3),
        NameEvidence::Written => here || e.street >= StreetEvidence::Number,
        NameEvidence::Typo => e.street >= StreetEvidence::Number && here,
        NameEvidence::Mentioned | NameEvidence::None => {
            e.street >= StreetEvidence::Crossing && here || e.street == StreetEvidence::Text && near
        }
    }
}

fn reason(e: &Evidence, s: &Scratch) -> Reason {
    use crate::divisions::Naming;
    let renamed = s
        .sketch
        .area
        .mentions
        .iter()
        .any(|m| matches!(m.naming, Naming::Former | Naming::FormerShort | Naming::FormerVague));
    match (e.name, e.street) {
        (NameEvidence::Typo, _) | (_, StreetEvidence::NumberTypo) => Reason::Typo,
        _ if e.via == via::FORMER || renamed => Reason::Renamed,
        _ if e.via == via::ALIAS => Reason::Alias,
        (NameEvidence::None | NameEvidence::Mentioned, StreetEvidence::Text | StreetEvidence::Crossing) => {
            Reason::Described
        }
        (_, StreetEvidence::Text) => Reason::Exact,
        (NameEvidence::None | NameEvidence::Mentioned, _) => Reason::NumberOnly,
        (_, StreetEvidence::Number) => Reason::Exact,
        _ => Reason::CompoundOnly,
    }
}

/// The shares of answers that were right on real compounds, rounded down; slips are too few to say.
fn confidence(e: &Evidence, reason: Reason) -> f32 {
    let base = match reason {
        Reason::CompoundOnly => 0.99,
        Reason::Exact => 0.98,
        Reason::Alias | Reason::Renamed => 0.97,
        Reason::NumberOnly => 0.95,
        Reason::Described => 0.94,
        Reason::Coarser => 0.90,
        _ => 0.80,
    };
    match e.area {
        AreaEvidence::OtherCounty | AreaEvidence::OtherDistrict => base - 0.08,
        AreaEvidence::Unknown => base - 0.01,
        _ => base,
    }
}
