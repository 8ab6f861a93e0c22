//! Where the elements stand in a folded text.

use super::area::Area;
use super::door::{Door, DoorKind, find_doors, more_doors};
use super::label::Label;
use super::names::{Piece, PieceKind, begins_office, is_remark, pieces};
use super::street::{Street, streets};
use crate::charset::one_of;
use crate::divisions::{DivisionId, Divisions};
use crate::model::Level;

/// The positions of the elements in folded text. Reused between texts.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    pub area: Area,
    pub streets: Vec<Street>,
    pub doors: Vec<Door>,
    pub door_span: Option<(usize, usize)>,
    pub group: Option<(usize, usize)>,
    pub pieces: Vec<Piece>,
    /// A village or community that the area part did not take.
    pub village: Option<(usize, usize)>,
    pub compound: Option<(usize, usize)>,
    /// Where roads and doors stand.
    taken: Vec<(usize, usize)>,
    /// From where on doors were looked for, and how many were found side by side.
    doors_from: usize,
    first_doors: usize,
}

impl Sketch {
    /// The doors behind `tail`, which is where some words end: those that were read already, where they are the same.
    pub fn doors_behind(&self, text: &[char], tail: usize, out: &mut Vec<Door>) {
        out.clear();
        let start = self.door_span.map_or(usize::MAX, |span| span.0);
        // A door that was parted since is not what stands in the text.
        let whole =
            self.doors.first().is_some_and(|d| d.start == start) && self.doors.len() >= self.first_doors;
        let parted = self.first_doors == 1 && self.doors.len() > 1;
        if whole && !parted && (self.doors_from..=start).contains(&tail) {
            out.extend_from_slice(&self.doors[..self.first_doors]);
        } else if find_doors(text, tail.min(text.len()), out).is_none() {
            out.clear();
        }
    }

    pub fn read(&mut self, divisions: &Divisions, text: &[char], default: &[DivisionId]) {
        self.area.read(divisions, text, default);
        self.part_office(text);
        let mut from = self.area.end;
        self.group = group(text, from);
        if let Some((_, end)) = self.group {
            from = end;
        }
        let town_open = self.area.mentions.iter().all(|m| m.level < Level::Township);
        streets(text, from, town_open, &mut self.streets);
        let cursor = self.after_street(from);
        self.door_span = find_doors(text, cursor, &mut self.doors);
        self.doors_from = cursor;
        self.first_doors = self.doors.len();
        if let Some((_, end)) = self.door_span {
            more_doors(text, end, &mut self.doors);
        }
        self.read_names(text, from);
        self.village = self.find_village(from);
        self.compound = self.name(text);
        self.part_digits(text);
    }

    /// 望月县望月县公安局: the second is the beginning of the office's name.
    fn part_office(&mut self, text: &[char]) {
        let [before @ .., last] = &self.area.mentions[..] else { return };
        let name = &text[last.start..last.end];
        let again = before.iter().any(|m| m.end <= last.start && &text[m.start..m.end] == name);
        if again && last.end == self.area.end && begins_office(&text[last.end..]) {
            self.area.end = last.start;
            self.area.mentions.pop();
        }
    }

    /// The road that the address stands on: the first with a number, else the first.
    pub fn street(&self) -> Option<&Street> {
        let roads = || self.streets.iter().filter(|s| s.is_road);
        roads().find(|s| s.number.is_some()).or_else(|| roads().next())
    }

    /// The name of the compound, or of what looks like a village, with the phases or quarters that carry it on: 云栖花园
    /// 二期 is another place than 云栖花园.
    pub fn whole_name(&self, text: &[char]) -> Option<(usize, usize)> {
        let (start, mut end) = self.compound.or(self.village)?;
        for part in self.pieces.iter().filter(|p| p.kind == PieceKind::Part) {
            if part.start == end && matches!(text[part.end - 1], '期' | '区') {
                end = part.end;
            }
        }
        Some((start, end))
    }

    fn after_street(&self, from: usize) -> usize {
        self.street().map_or(from, |s| s.number.map_or(s.end, |n| n.end))
    }

    /// 云栖花园291004, 云栖花园21702: the dash between building and room was lost. A room has at most four digits, and
    /// four only from the tenth storey on. Shops have longer numbers.
    fn part_digits(&mut self, text: &[char]) {
        let Some((start, end)) = self.compound else { return };
        let [only] = self.doors[..] else { return };
        let digits = &text[only.start..only.end];
        let is_shop = one_of!(text[end - 1], "场城厦心楼") && end - start > 1;
        let is_plain = only.kind == DoorKind::Bare && digits.iter().all(char::is_ascii_digit);
        if end != only.start || is_shop || !is_plain || digits[0] == '0' {
            return;
        }
        let room = match digits {
            [_, '1'..='3', _, '0' | '1', _] => 4,
            [_, _, '1'..='9', '0', _] => 3,
            [_, _, '1'..='3', _, '0' | '1', _] => 4,
            _ => return,
        };
        let part = |from: usize, to: usize| {
            let value = Label::from_chars(text[from..to].iter().copied())?;
            Some(Door { kind: DoorKind::Bare, value, start: from, end: to })
        };
        let middle = only.end - room;
        if let (Some(building), Some(room)) = (part(only.start, middle), part(middle, only.end)) {
            self.doors.clear();
            self.doors.extend([building, room]);
        }
    }

    /// A village right behind the area, or behind the roads of it.
    fn find_village(&self, from: usize) -> Option<(usize, usize)> {
        let deepest = self.area.mentions.iter().map(|m| m.level).max()?;
        let known = (Level::County..=Level::Township).contains(&deepest);
        let first =
            self.pieces.first().filter(|p| known && p.kind == PieceKind::Village && p.start == from)?;
        Some((first.start, first.end))
    }

    /// The compound: the first name; where a door says which building is meant, the first that is not only near.
    fn name(&self, text: &[char]) -> Option<(usize, usize)> {
        let door = self.doors.first().map_or(usize::MAX, |d| d.start);
        let near = self.pieces.iter().rposition(|p| p.kind == PieceKind::Nearby && p.start < door);
        let named = |pieces: &[Piece]| {
            let is_name = |p: &&Piece| p.kind == PieceKind::Name && p.end - p.start >= 2;
            let name = pieces.iter().find(|p| is_name(p) && !is_remark(&text[p.start..p.end]));
            name.map(|p| (p.start, p.end - usize::from(side_of_door(text, p))))
        };
        near.filter(|_| !self.doors.is_empty())
            .and_then(|n| named(&self.pieces[n..]))
            .or_else(|| named(&self.pieces))
            .or_else(|| self.village_of_flats())
    }

    /// 云栖村3号楼: a village with buildings is a compound.
    fn village_of_flats(&self) -> Option<(usize, usize)> {
        let flats = self.doors.iter().any(|d| d.kind == DoorKind::Building);
        let village = self.pieces.iter().find(|p| flats && p.kind == PieceKind::Village)?;
        (self.village != Some((village.start, village.end))).then_some((village.start, village.end))
    }

    /// Splits what is left between area, streets and doors into pieces.
    fn read_names(&mut self, text: &[char], from: usize) {
        self.pieces.clear();
        let roads = self.streets.iter().filter(|s| s.is_road);
        let roads = roads.map(|s| (s.quarter, s.number.map_or(s.end, |n| n.end)));
        let doors = self.doors.iter().map(|d| (d.start, d.end));
        self.taken.clear();
        self.taken.extend(roads.chain(doors));
        self.taken.sort_unstable();
        let mut at = from;
        for &(start, end) in self.taken.iter().chain(&[(text.len(), text.len())]) {
            if at >= text.len() {
                break;
            }
            if end > at {
                if start > at {
                    pieces(text, at, start, &mut self.pieces);
                }
                at = end;
            }
        }
    }
}

/// 云栖花园东14幢: the side belongs to the door. Not so in 云栖江南14幢.
fn side_of_door(text: &[char], name: &Piece) -> bool {
    let door = text.get(name.end).is_some_and(char::is_ascii_digit);
    let [.., before, '东' | '西' | '南' | '北'] = text[name.start..name.end] else { return false };
    door && name.end - name.start >= 4 && !"江河海湖溪塘山城郡村".contains(before)
}

/// 三组, 12队 at the beginning of the street part.
pub(super) fn group(text: &[char], from: usize) -> Option<(usize, usize)> {
    let digits = text[from..].iter().take(4).take_while(|c| c.is_ascii_digit()).count();
    let end = from + digits;
    (digits > 0 && matches!(text.get(end), Some('组' | '队' | '社'))).then_some((from, end + 1))
}
