//! The elements of one text, for people and for JSON lines.

use super::area::{Area, is_gap};
use super::door::{DOORS_MAX, Door, DoorKind, find_doors, more_doors};
use super::label::Label;
use super::names::{Piece, PieceKind, pieces};
use super::street::{Street, streets};
use crate::divisions::{DivisionId, Divisions};
use crate::fold::{Folded, fold};
use crate::model::Level;
use serde::Serialize;

/// A division of the address: today's name and code. `span` is None where the text left it out and the rest implies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AreaElement {
    pub name: String,
    /// 12 digits; None where the text names a division by its form that is not in the tables.
    pub code: Option<String>,
    pub span: Option<[u32; 2]>,
}

/// Any other element: as written, and normalised (numbers in digits, without their counter).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Element {
    pub text: String,
    pub value: String,
    /// [start, end) in characters of the original text.
    pub span: [u32; 2],
}

/// What a text says. Serialises to one JSON object as `yibiao address parse` writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Parsed {
    pub text: String,
    pub province: Option<AreaElement>,
    pub city: Option<AreaElement>,
    pub county: Option<AreaElement>,
    pub township: Option<AreaElement>,
    pub community: Option<AreaElement>,
    pub group: Option<Element>,
    pub road: Option<Element>,
    pub number: Option<Element>,
    pub compound: Option<Element>,
    pub building: Option<Element>,
    pub unit: Option<Element>,
    pub floor: Option<Element>,
    pub room: Option<Element>,
    /// What none of the elements took, in the order of the text, parted by single spaces.
    pub residue: String,
}

/// Parses one text. `area` is the feed's own area (see [`Divisions::area`]), where it has one.
pub fn parse(text: &str, divisions: &Divisions, area: Option<DivisionId>) -> Parsed {
    let mut folded = Folded::default();
    fold(text, &mut folded);
    let mut sketch = Sketch::default();
    sketch.read(divisions, folded.chars(), area.as_slice());
    Writer {
        text,
        original: text.chars().collect(),
        folded: &folded,
        taken: vec![false; folded.chars().len()],
    }
    .write(divisions, &sketch)
}

/// The positions of the elements in folded text. Reused between texts.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    pub area: Area,
    pub streets: Vec<Street>,
    pub doors: Vec<Door>,
    pub door_span: Option<(usize, usize)>,
    pub group: Option<(usize, usize)>,
    pub pieces: Vec<Piece>,
    pub compound: Option<(usize, usize)>,
}

impl Sketch {
    pub fn read(&mut self, divisions: &Divisions, text: &[char], default: &[DivisionId]) {
        self.area.read(divisions, text, default);
        let mut from = self.area.end;
        self.group = group(text, from);
        if let Some((_, end)) = self.group {
            from = end;
        }
        streets(text, from, &mut self.streets);
        let cursor = self.after_street(from);
        self.door_span = find_doors(text, cursor, &mut self.doors);
        if let Some((_, end)) = self.door_span {
            more_doors(text, end, &mut self.doors);
        }
        self.read_names(text, from);
        self.compound = self.name();
    }

    /// The road that the address stands on: the first with a number, else the first.
    pub fn street(&self) -> Option<&Street> {
        let roads = || self.streets.iter().filter(|s| s.is_road);
        roads().find(|s| s.number.is_some()).or_else(|| roads().next())
    }

    fn after_street(&self, from: usize) -> usize {
        self.street().map_or(from, |s| s.number.map_or(s.end, |n| n.end))
    }

    /// The compound: the first name, of those that are not only near if there are such.
    fn name(&self) -> Option<(usize, usize)> {
        let near = self.pieces.iter().rposition(|p| p.kind == PieceKind::Nearby);
        let named = |pieces: &[Piece]| {
            let name = pieces
                .iter()
                .find(|p| matches!(p.kind, PieceKind::Name | PieceKind::Village) && p.end - p.start >= 2);
            name.map(|p| (p.start, p.end))
        };
        near.and_then(|n| named(&self.pieces[n..])).or_else(|| named(&self.pieces))
    }

    /// Splits what is left between area, streets and doors into pieces.
    fn read_names(&mut self, text: &[char], from: usize) {
        self.pieces.clear();
        let mut at = from;
        while at < text.len() {
            let roads = self.streets.iter().filter(|s| s.is_road);
            let roads = roads.map(|s| (s.start, s.number.map_or(s.end, |n| n.end)));
            let doors = self.doors.iter().map(|d| (d.start, d.end));
            let taken = roads.chain(doors).filter(|t| t.1 > at).min();
            let (start, end) = taken.unwrap_or((text.len(), text.len()));
            if start > at {
                pieces(text, at, start, &mut self.pieces);
            }
            at = end.max(at + 1);
        }
    }
}

pub(crate) fn contains(text: &[char], word: &str) -> bool {
    (0..text.len()).any(|at| begins(&text[at..], word))
}

pub(crate) fn begins(text: &[char], word: &str) -> bool {
    let mut rest = text.iter();
    word.chars().all(|c| rest.next() == Some(&c))
}

/// 三组, 12队 at the beginning of the street part.
pub(super) fn group(text: &[char], from: usize) -> Option<(usize, usize)> {
    let digits = text[from..].iter().take(4).take_while(|c| c.is_ascii_digit()).count();
    let end = from + digits;
    (digits > 0 && matches!(text.get(end), Some('组' | '队' | '社'))).then_some((from, end + 1))
}

fn is_village(name: &[char]) -> bool {
    name.len() >= 3
        && (name.ends_with(&['村']) || name.ends_with(&['社', '区']))
        && !name.ends_with(&['新', '村'])
}

/// The length of a name without the phase or part at its end: 颐和花园二期, 威高花园a区.
fn without_phase(name: &[char]) -> usize {
    let Some(('期' | '区', head)) = name.split_last().map(|(last, head)| (*last, head)) else {
        return name.len();
    };
    let part =
        |c: &char| c.is_ascii_alphanumeric() || "东西南北中".contains(*c) || crate::fold::is_numeral(*c);
    let length = head.len() - head.iter().rev().take_while(|c| part(c)).count();
    if length >= 2 && length < head.len() { length } else { name.len() }
}

struct Writer<'a> {
    text: &'a str,
    original: Vec<char>,
    folded: &'a Folded,
    taken: Vec<bool>,
}

impl Writer<'_> {
    fn write(mut self, divisions: &Divisions, sketch: &Sketch) -> Parsed {
        let mut out = Parsed { text: self.text.to_owned(), ..Parsed::default() };
        self.areas(divisions, &sketch.area, &mut out);
        out.group = sketch.group.map(|(s, e)| self.element(s, e, None));
        if let Some(street) = sketch.street() {
            out.road = Some(self.element(street.start, street.end, None));
            out.number = street.number.map(|n| match n.lane_end {
                // 145弄55号: the lane is the number, the house in it the building.
                Some(lane) => {
                    let text = self.folded.chars();
                    out.building = Some(self.element(
                        lane,
                        n.end,
                        Label::from_chars(text[lane..n.end].iter().copied().filter(|&c| c != '号')),
                    ));
                    self.element(n.start, lane, Label::from_chars(text[n.start..lane].iter().copied()))
                }
                None => self.element(n.start, n.end, Some(n.value)),
            });
        }
        if let Some((start, end)) = sketch.compound {
            let text = self.folded.chars();
            let is_village = out.road.is_none() && out.township.is_some() && is_village(&text[start..end]);
            if is_village && out.community.is_none() {
                let span = Some(self.take(start, end));
                out.community =
                    Some(AreaElement { name: text[start..end].iter().collect(), code: None, span });
            } else {
                let end = start + without_phase(&text[start..end]);
                out.compound = Some(self.element(start, end, None));
            }
        }
        let roles = roles(&sketch.doors);
        for (door, role) in sketch.doors.iter().zip(roles) {
            let slot = match role {
                Role::Building => &mut out.building,
                Role::Unit => &mut out.unit,
                Role::Floor => &mut out.floor,
                Role::Room => &mut out.room,
                Role::Number if out.number.is_none() && out.road.is_some() && out.compound.is_none() => {
                    &mut out.number
                }
                // 商贸城2975号 is a shop, 望月园7号 a house.
                Role::Number if door.value.as_str().len() >= 4 => &mut out.room,
                Role::Number => &mut out.building,
            };
            if slot.is_none() {
                *slot = Some(self.element(door.start, door.end, Some(door.value)));
            }
        }
        out.residue = self.residue();
        out
    }

    fn areas(&mut self, divisions: &Divisions, area: &Area, out: &mut Parsed) {
        let deepest = match area.context[..] {
            [] => None,
            [one] => Some(one),
            // Undecided: what all of them share.
            [first, ..] => {
                divisions.line(first).find(|&d| area.context.iter().all(|&c| divisions.within(c, d)))
            }
        };
        let line: Vec<DivisionId> = deepest.map(|d| divisions.line(d).collect()).unwrap_or_default();
        let levels = [Level::Province, Level::City, Level::County, Level::Township, Level::Community];
        for level in levels {
            let mention = area.mention(level);
            let implied = line.iter().copied().find(|&d| divisions.get(d).level == level).or_else(|| {
                (level == Level::City).then(|| deepest.and_then(|d| divisions.municipality(d))).flatten()
            });
            // Nothing of the text: the feed's default alone is no element.
            let known = implied.or(mention.and_then(|m| m.division)).filter(|_| area.named);
            let span = mention.map(|m| self.take(m.start, m.end));
            let written =
                || span.map(|[s, e]| self.original[s as usize..e as usize].iter().collect::<String>());
            let element = match known {
                Some(id)
                    if !matches!(
                        divisions.get(id).name.as_str(),
                        "县" | "省直辖县级行政区划" | "自治区直辖县级行政区划"
                    ) =>
                {
                    Some(AreaElement {
                        name: divisions.shown_name(id).to_owned(),
                        code: Some(code(divisions, id)),
                        span,
                    })
                }
                _ => written().map(|name| AreaElement { name, code: None, span }),
            };
            match level {
                Level::Province => out.province = element,
                Level::City => out.city = element,
                Level::County => out.county = element,
                Level::Township => out.township = element,
                _ => out.community = element,
            }
        }
        for m in &area.mentions {
            self.take(m.start, m.end);
        }
    }

    fn take(&mut self, start: usize, end: usize) -> [u32; 2] {
        self.taken[start..end].iter_mut().for_each(|t| *t = true);
        self.folded.original(start, end)
    }

    fn element(&mut self, start: usize, end: usize, value: Option<Label>) -> Element {
        let span = self.take(start, end);
        let value = match value {
            Some(value) => value.as_str().to_owned(),
            None => self.folded.chars()[start..end].iter().collect(),
        };
        Element { text: self.original[span[0] as usize..span[1] as usize].iter().collect(), value, span }
    }

    fn residue(&self) -> String {
        let mut out = String::new();
        let mut apart = false;
        for (&c, &taken) in self.folded.chars().iter().zip(&self.taken) {
            if taken || is_gap(c) {
                apart = true;
                continue;
            }
            if apart && !out.is_empty() {
                out.push(' ');
            }
            apart = false;
            out.push(c);
        }
        out
    }
}

/// What a door is of, once its neighbours are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Building,
    Unit,
    Floor,
    Room,
    Number,
}

/// The plain reading of a sequence of doors, without any knowledge of the place.
pub(crate) fn roles(doors: &[Door]) -> [Role; DOORS_MAX] {
    let mut out = [Role::Number; DOORS_MAX];
    for (i, door) in doors.iter().enumerate().take(DOORS_MAX) {
        let open = doors[i + 1..]
            .iter()
            .filter(|d| matches!(d.kind, DoorKind::Bare | DoorKind::Hao | DoorKind::Room))
            .count();
        let later = doors.len() - i - 1;
        let has = |r: Role| out[..i].contains(&r);
        let role =
            match door.kind {
                DoorKind::Building => Role::Building,
                DoorKind::Unit => Role::Unit,
                DoorKind::Floor => Role::Floor,
                DoorKind::Room => Role::Room,
                DoorKind::Hao | DoorKind::Bare
                    if has(Role::Building) || has(Role::Unit) || has(Role::Floor) =>
                {
                    if !has(Role::Unit) && open > 0 { Role::Unit } else { Role::Room }
                }
                DoorKind::Hao => {
                    if later > 0 {
                        Role::Building
                    } else {
                        Role::Number
                    }
                }
                DoorKind::Bare if later > 0 => Role::Building,
                DoorKind::Bare if door.value.as_str().len() >= 3 => Role::Room,
                DoorKind::Bare => Role::Building,
            };
        out[i] = role;
    }
    out
}

pub(crate) fn code(divisions: &Divisions, id: DivisionId) -> String {
    format!("{:012}", divisions.get(id).code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Parsed {
        parse(text, Divisions::bundled(), None)
    }

    fn shown(p: &Parsed) -> String {
        let area = |a: &Option<AreaElement>| a.as_ref().map_or("-".to_owned(), |a| a.name.clone());
        let other = |e: &Option<Element>| e.as_ref().map_or("-".to_owned(), |e| e.value.clone());
        [
            area(&p.province),
            area(&p.city),
            area(&p.county),
            area(&p.township),
            area(&p.community),
            other(&p.road),
            other(&p.number),
            other(&p.compound),
            other(&p.building),
            other(&p.unit),
            other(&p.room),
            p.residue.clone(),
        ]
        .join("|")
    }

    #[test]
    fn the_standard_form_gives_every_element() {
        assert_eq!(
            shown(&read("江苏省南京市鼓楼区华侨路街道慈悲社社区上海路12号国泰新村25幢2单元402室")),
            "江苏省|南京市|鼓楼区|华侨路街道|慈悲社社区居委会|上海路|12|国泰新村|25|2|402|"
        );
        assert_eq!(
            shown(&read("南京市鼓楼区上海路12号国泰新村25栋2-402")),
            "江苏省|南京市|鼓楼区|-|-|上海路|12|国泰新村|25|2|402|"
        );
        assert_eq!(shown(&read("国泰新村25-402")), "-|-|-|-|-|-|-|国泰新村|25|-|402|");
        assert_eq!(shown(&read("国泰新村 25栋 二单元402 门口")), "-|-|-|-|-|-|-|国泰新村|25|2|402|门口");
    }

    #[test]
    fn roads_named_after_provinces_stay_roads() {
        assert_eq!(shown(&read("上海市广东路12号")), "上海市|上海市|-|-|-|广东路|12|-|-|-|-|");
        assert_eq!(shown(&read("南京市北京西路3号")), "江苏省|南京市|-|-|-|北京西路|3|-|-|-|-|");
    }

    #[test]
    fn an_old_district_is_read_as_todays() {
        let p = read("南京市白下区上海路12号");
        assert_eq!(p.county.as_ref().unwrap().name, "秦淮区");
        assert_eq!(p.county.unwrap().span, Some([3, 6]));
    }

    proptest! {
        #[test]
        fn every_span_lies_in_the_text_and_shows_its_words(text in "(江苏省|南京市|鼓楼区|白下区|华侨路街道|慈悲社区|上海路|12号|国泰新村|25幢|2单元|402室|二楼|-|（|）| |A座|\\PC){0,10}") {
            let p = read(&text);
            let chars: Vec<char> = text.chars().collect();
            for e in [&p.group, &p.road, &p.number, &p.compound, &p.building, &p.unit, &p.floor, &p.room].into_iter().flatten() {
                let [s, t] = e.span;
                prop_assert!(s < t && t as usize <= chars.len());
                prop_assert_eq!(&chars[s as usize..t as usize].iter().collect::<String>(), &e.text);
            }
        }
    }
}
