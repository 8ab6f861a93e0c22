//! Candidates: every compound that the text gives a reason to think of, with the evidence for and against it.

use super::{Resolver, Scratch};
use crate::divisions::DivisionId;
use crate::gazetteer::layout::{blanks, number_hash, road_hash};
use crate::gazetteer::{PlaceIndex, via};
use crate::key::{About, KeyHash, NameKey, may_be_mistyped};
use crate::model::Level;
use crate::parse::area::is_gap;
use crate::parse::{Label, contains};

/// How strongly the compound's name speaks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NameEvidence {
    None,
    /// The text mentions it beside the address proper: a landmark, a quarter.
    Mentioned,
    /// One character differs.
    Typo,
    /// The address names it.
    Written,
    /// The record gives it as the name, apart from the address.
    Given,
}

/// What the street says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreetEvidence {
    /// The same road, another number.
    Conflict,
    None,
    Road,
    NumberTypo,
    Number,
    /// The whole text is a surface address of it.
    Text,
}

/// Whether the areas of text and place agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AreaEvidence {
    OtherCity,
    OtherCounty,
    Unknown,
    County,
    Township,
}

/// One compound under consideration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    pub compound: PlaceIndex,
    pub name: NameEvidence,
    pub street: StreetEvidence,
    pub area: AreaEvidence,
    /// The worst way by which it was found: standard, alias, former.
    pub via: u32,
    /// Characters of the name that matched.
    pub name_length: usize,
    /// Where its own words end in the folded text: the door follows.
    pub tail: usize,
    /// The record gives a name, and it is not this one's.
    pub other_name: bool,
    /// How alike the text is to one of its free surface texts, 0 to 1.
    pub likeness: f32,
    pub score: f32,
}

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
const NEARBY: [&str; 22] = [
    "对面", "旁", "附近", "隔壁", "北侧", "南侧", "东侧", "西侧", "以东", "以西", "以南", "以北", "东北",
    "西北", "东南", "西南", "斜对", "后面", "前面", "向东", "向西", "交",
];

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
        if unnamed && s.evidence.iter().all(|e| e.street <= StreetEvidence::Road) {
            self.by_slip(s);
            self.by_road_alone(s);
        } else if unnamed {
            self.by_other_name(s);
        }
        self.compare_texts(s);
        self.weigh(s);
    }

    /// 云栖路12号锦绣花园: the street is known, and the text names a compound that is not the one there.
    fn by_other_name(&self, s: &mut Scratch) {
        let text = s.folded.chars();
        let behind = s.sketch.street().and_then(|t| t.number).map(|n| n.end);
        let Some((start, end)) = s.sketch.compound.filter(|c| behind.is_some_and(|b| c.0 >= b)) else {
            return;
        };
        if !is_residence(&text[start..end]) {
            return;
        }
        let mut key = std::mem::take(&mut s.road_key);
        key.set(&s.folded.chars()[start..end]);
        self.by_slipped_name(s, &key.chars, end);
        for e in &mut s.evidence {
            let own = self.gazetteer.string(self.gazetteer.record(e.compound).label);
            e.other_name = e.name == NameEvidence::None
                && e.street >= StreetEvidence::Number
                && likeness(&key.chars, own) < 0.5;
        }
        s.road_key = key;
    }

    /// What stands on the road that the text names. Never enough for an answer, but worth being listed.
    fn by_road_alone(&self, s: &mut Scratch) {
        let streets = std::mem::take(&mut s.sketch.streets);
        let mut road = std::mem::take(&mut s.road_key);
        for street in streets.iter().filter(|t| t.is_road) {
            road.set(&s.folded.chars()[street.start..street.end]);
            for (compound, how) in self.gazetteer.indexed(road_hash(&road.chars)) {
                // Many cities have a 解放路: those elsewhere would only crowd out the others.
                if self.area_evidence(compound, &s.sketch.area.context) <= AreaEvidence::OtherCounty {
                    continue;
                }
                s.note(compound, |e| {
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
    fn compare_texts(&self, s: &mut Scratch) {
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
                .map(|t| likeness(&s.key.chars[start..end], t))
                .fold(0.0, f32::max);
        }
    }

    /// Every longest name of a compound or road in the text, left to right.
    fn spot(&self, s: &mut Scratch) {
        let lexicon = self.gazetteer.lexicon();
        let key = &s.key;
        let mut covered = 0;
        let area_end = s.sketch.area.end;
        for at in key.at_folded(area_end)..key.chars.len() {
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
        let mut key = std::mem::take(&mut s.name_key);
        if key.chars.len() >= 2 {
            let before = s.evidence.len();
            self.by_name(s, &key.chars, NameEvidence::Given);
            if s.evidence.len() == before {
                // 国泰新村(南苑): without what is in brackets; then by what the name begins with.
                let folded = s.name_folded.chars();
                let open = folded.iter().position(|&c| c == '(');
                if let Some(open) = open.filter(|&o| o >= 2) {
                    let mut bare = NameKey::default();
                    bare.set(&folded[..open]);
                    let detail = self.detail_of_name(s, open);
                    if !detail {
                        self.by_name(s, &bare.chars, NameEvidence::Given);
                    }
                }
            }
            if s.evidence.len() == before {
                for suffix in [&['小', '区'][..], &['别', '墅'], &['公', '寓']] {
                    if let Some(bare) = key.chars.strip_suffix(suffix).filter(|b| b.len() >= 3) {
                        self.by_name(s, bare, NameEvidence::Typo);
                    } else if suffix == ['小', '区'] {
                        let mut longer = key.chars.clone();
                        longer.extend_from_slice(suffix);
                        self.by_name(s, &longer, NameEvidence::Typo);
                    }
                }
            }
        }
        key.chars.truncate(key.chars.len());
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
                s.note(compound, |e| {
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
                let lane = numbered && self.gazetteer.children(compound).is_empty();
                let strength = if lane { strength.min(NameEvidence::Mentioned) } else { strength };
                s.note(compound, |e| {
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
                s.note(compound, |e| {
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
        for (compound, how) in self.gazetteer.indexed(hash) {
            s.note(compound, |e| {
                e.street = StreetEvidence::Text;
                if e.name == NameEvidence::None {
                    e.via = how;
                    e.tail = end;
                }
            });
        }
    }

    /// The miss path: one character of a name or road may have slipped. Numbers never.
    fn by_slip(&self, s: &mut Scratch) {
        let given = std::mem::take(&mut s.name_key);
        self.by_slipped_name(s, &given.chars, 0);
        s.name_key = given;
        let mut key = std::mem::take(&mut s.road_key);
        if let Some((start, end)) = s.sketch.compound {
            key.set(&s.folded.chars()[start..end]);
            self.by_slipped_name(s, &key.chars, end);
        }
        let streets = std::mem::take(&mut s.sketch.streets);
        for street in streets.iter().filter(|t| t.is_road) {
            let Some(number) = street.number else { continue };
            key.set(&s.folded.chars()[street.start..street.end]);
            for blank in blanks(&key.chars, 3) {
                let hash = KeyHash::new(About::BlankedRoad).blanked(&key.chars, blank).part();
                let hash = number.value.as_str().chars().fold(hash, KeyHash::char).finish();
                for (compound, how) in self.gazetteer.indexed(hash) {
                    s.note(compound, |e| {
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
        if key.len() < 3 {
            return;
        }
        let mut found = |s: &mut Scratch, compound: PlaceIndex, how: u32| {
            s.note(compound, |e| {
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

    /// Compares areas, scores, and puts the best first; of an entry and its duplicates the better one stays.
    fn weigh(&self, s: &mut Scratch) {
        for e in &mut s.evidence {
            e.area = self.area_evidence(e.compound, &s.sketch.area.context);
        }
        // A compound's name given apart from the address decides which compound it is. Names of shops do not.
        let given = s.name_key.chars.len() >= 2 && !is_business(s.name_folded.chars());
        let known =
            s.evidence.iter().any(|e| e.name == NameEvidence::Given && e.area > AreaEvidence::OtherCity);
        for e in &mut s.evidence {
            if given && e.name != NameEvidence::Given {
                e.other_name |= known || e.name != NameEvidence::Typo;
            }
            e.score = score(e);
        }
        s.evidence.retain(|e| e.area != AreaEvidence::OtherCity);
        for e in &mut s.evidence {
            e.compound = self.gazetteer.compound(e.compound).canonical;
        }
        // Likeness orders the candidates; it never decides.
        let rank = |e: &Evidence| e.score + 0.2 * e.likeness;
        s.evidence.sort_by(|a, b| rank(b).total_cmp(&rank(a)).then(a.compound.cmp(&b.compound)));
        let mut kept = 0;
        for i in 0..s.evidence.len() {
            let twin = s.evidence[..kept].iter().any(|k| k.compound == s.evidence[i].compound);
            if !twin {
                s.evidence.swap(kept, i);
                kept += 1;
            }
        }
        s.evidence.truncate(kept);
    }

    fn area_evidence(&self, compound: PlaceIndex, context: &[DivisionId]) -> AreaEvidence {
        let own = self.gazetteer.division_code(compound).and_then(|code| self.divisions.covering(code));
        let Some(own) = own.filter(|_| !context.is_empty()) else { return AreaEvidence::Unknown };
        let d = self.divisions;
        let mut best = AreaEvidence::OtherCity;
        for &c in context {
            let shared = if d.within(own, c) {
                c
            } else if d.within(c, own) {
                own
            } else {
                match d.line(own).find(|&l| d.within(c, l)) {
                    Some(shared) => shared,
                    None => continue,
                }
            };
            let agree = d.agree(own, c);
            best = best.max(match d.get(shared).level {
                Level::Township | Level::Community => AreaEvidence::Township,
                Level::County => AreaEvidence::County,
                Level::City | Level::Province if agree => AreaEvidence::Unknown,
                Level::City => AreaEvidence::OtherCounty,
                _ => AreaEvidence::OtherCity,
            });
        }
        best
    }
}

impl Scratch {
    /// The evidence on `compound`, made if new.
    fn note(&mut self, compound: PlaceIndex, change: impl FnOnce(&mut Evidence)) {
        if let Some(e) = self.evidence.iter_mut().find(|e| e.compound == compound) {
            return change(e);
        }
        if self.evidence.len() < EVIDENCE_MAX {
            let mut e = Evidence {
                compound,
                name: NameEvidence::None,
                street: StreetEvidence::None,
                area: AreaEvidence::Unknown,
                via: via::STANDARD,
                name_length: 0,
                tail: 0,
                other_name: false,
                likeness: 0.0,
                score: 0.0,
            };
            change(&mut e);
            self.evidence.push(e);
        }
    }
}

/// A name that ends or begins with a digit must not be part of a longer number, nor be cut out of a longer road.
fn bounded(text: &[char], start: usize, end: usize) -> bool {
    let joined = |a: char, b: char| {
        (a.is_ascii_digit() && b.is_ascii_digit()) || (a.is_ascii_lowercase() && b.is_ascii_lowercase())
    };
    let before = start == 0 || !joined(text[start - 1], text[start]);
    let after = end == text.len() || !joined(text[end - 1], text[end]);
    let street = match (text.get(end), text.get(end + 1)) {
        (Some('路' | '街' | '巷' | '弄'), _) => true,
        (Some('东' | '西' | '南' | '北' | '中'), Some('路' | '街' | '巷')) => true,
        (Some('大'), Some('道' | '街')) => true,
        _ => false,
    };
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

/// Does a number with 号 follow the name, and nothing more of a door?
fn numbered(s: &Scratch, spot: &Spot) -> bool {
    s.sketch
        .streets
        .iter()
        .any(|t| t.end == spot.end && t.number.is_some_and(|n| n.end == s.folded.chars().len()))
}

/// Is the name at `spot` the address, or only near it?
fn strength(s: &Scratch, spot: &Spot) -> NameEvidence {
    let text = s.folded.chars();
    let rest = &text[spot.end..];
    let near = NEARBY.iter().any(|w| w.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c)));
    let direction = matches!(rest, ['东' | '西' | '南' | '北', next, ..] if next.is_ascii_digit() || *next == '面' || *next == '侧');
    let before = &text[..spot.start];
    let led = matches!(before.last(), Some('近' | '临' | '邻' | '与' | '至'));
    let road = matches!(text[spot.end - 1], '路' | '街' | '巷' | '道' | '弄');
    if near || direction || led || road {
        return NameEvidence::Mentioned;
    }
    // Before a street that has its own number it is a quarter, unless a door follows it.
    let street_after =
        s.sketch.streets.iter().any(|t| (t.is_road || t.number.is_some()) && t.start >= spot.end);
    let door_follows = rest.first().is_some_and(char::is_ascii_digit);
    if street_after && !door_follows || spot.length < 3 && !door_follows && !rest.is_empty() {
        return NameEvidence::Mentioned;
    }
    // 国泰新村南院25幢: the name goes on, so it is another one, or this one with a slip.
    let goes_on = rest.iter().take_while(|c| !c.is_ascii_alphanumeric() && !is_gap(**c)).count();
    let filler = ["小区", "内", "里", "门口", "大院", "院内", "社区", "东门", "南门", "西门", "北门"]
        .iter()
        .any(|w| rest[..goes_on].iter().copied().eq(w.chars()));
    let door_word = matches!(
        rest,
        [
            '东' | '西' | '南' | '北' | '中' | '甲' | '乙' | '丙' | '丁',
            '单' | '楼' | '幢' | '栋' | '座' | '门',
            ..
        ]
    );
    if goes_on > 0 && !filler && !door_word {
        return NameEvidence::Typo;
    }
    NameEvidence::Written
}

/// The share of pairs of neighbouring characters that two texts have in common (Dice).
fn likeness(text: &[char], other: &str) -> f32 {
    let pairs = |at: &[char]| (at[0], at[1]);
    let mut shared = 0;
    let mut count = 0;
    let mut last = None;
    for c in other.chars() {
        if let Some(before) = last {
            count += 1;
            shared += usize::from(text.windows(2).any(|w| pairs(w) == (before, c)));
        }
        last = Some(c);
    }
    let total = count + text.len().saturating_sub(1);
    if total == 0 { 0.0 } else { (2 * shared.min(text.len().saturating_sub(1))) as f32 / total as f32 }
}

/// Does a name say by its ending that people live there?
fn is_residence(name: &[char]) -> bool {
    const ENDS: [&str; 18] = [
        "新村", "小区", "花园", "花苑", "家园", "公寓", "苑", "园", "村", "里", "坊", "庭", "府", "邸", "城",
        "湾", "居", "寓",
    ];
    let ends = |w: &&str| {
        name.len() > w.chars().count() && name[name.len() - w.chars().count()..].iter().copied().eq(w.chars())
    };
    ENDS.iter().any(|w| ends(&w)) && !is_business(name)
}

/// A shop, a company, an office: its name says nothing about the compound that it is in.
fn is_business(name: &[char]) -> bool {
    [
        "公司",
        "店",
        "超市",
        "中心",
        "银行",
        "学校",
        "幼儿园",
        "医院",
        "协会",
        "基金会",
        "服务",
        "工作室",
        "餐",
        "馆",
        "厂",
    ]
    .iter()
    .any(|w| contains(name, w))
}

fn score(e: &Evidence) -> f32 {
    let name = match e.name {
        NameEvidence::Given => 0.60,
        NameEvidence::Written => 0.50 + 0.01 * (e.name_length.min(10) as f32),
        NameEvidence::Typo => 0.35,
        NameEvidence::Mentioned => 0.15,
        NameEvidence::None => 0.0,
    };
    let street = match e.street {
        StreetEvidence::Text => 0.35,
        StreetEvidence::Number => 0.32,
        StreetEvidence::NumberTypo => 0.18,
        StreetEvidence::Road => 0.08,
        StreetEvidence::None => 0.0,
        StreetEvidence::Conflict => -0.02,
    };
    let area = match e.area {
        AreaEvidence::Township => 0.06,
        AreaEvidence::County => 0.05,
        AreaEvidence::Unknown => 0.03,
        AreaEvidence::OtherCounty => -0.20,
        AreaEvidence::OtherCity => -1.0,
    };
    let via = if e.via == via::STANDARD { 0.0 } else { -0.01 };
    let other = if e.other_name { -0.30 } else { 0.0 };
    (name + street + area + via + other).clamp(0.0, 1.0)
}
