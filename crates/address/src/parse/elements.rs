//! The elements of one text, by the positions that its sketch found.

use super::area::{Area, is_gap, likeliest};
use super::label::Label;
use super::reading::{AreaReading, ElementReading, Reading, Wording, Words, slice};
use super::roles::{Role, roles};
use super::sketch::Sketch;
use crate::charset::one_of;
use crate::divisions::{DivisionId, Divisions};
use crate::fold::Folded;
use crate::model::Level;

pub(super) struct Writer<'a> {
    pub text: &'a str,
    pub folded: &'a Folded,
    pub taken: &'a mut [bool],
}

impl<'a> Writer<'a> {
    pub fn write(mut self, divisions: &'a Divisions, sketch: &Sketch) -> Reading<'a> {
        let mut out = Reading::of(self.text, self.folded);
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
        if let Some((start, end)) = sketch.village.filter(|_| out.community.is_none()) {
            let name = Wording(Words::Folded(&self.folded.chars()[start..end]));
            let span = Some(self.take(start, end));
            out.community = Some(AreaReading { name, code: None, span });
        }
        out.compound = sketch.compound.map(|(s, e)| self.element(s, e, None));
        self.doors(sketch, &mut out);
        out.with_taken(self.taken)
    }

    fn doors(&mut self, sketch: &Sketch, out: &mut Reading<'a>) {
        let name = sketch.compound.map_or(&[][..], |(s, e)| &self.folded.chars()[s..e]);
        let is_market = name.last().is_some_and(|c| one_of!(*c, "场城厦楼心"));
        let text = self.folded.chars();
        let road_end = sketch.street().map(|s| s.end);
        // 云栖路12号, 云栖路南12号; 望月桥12号 has its number as a road has.
        let follows_road = |at: usize| {
            road_end
                .is_some_and(|e| e <= at && text[e..at].iter().all(|&c| is_gap(c) || "东西南北".contains(c)))
        };
        let roles = roles(&sketch.doors);
        for (door, role) in sketch.doors.iter().zip(roles) {
            let slot = match role {
                Role::Building => &mut out.building,
                Role::Unit => &mut out.unit,
                Role::Floor => &mut out.floor,
                Role::Room => &mut out.room,
                Role::Number if out.number.is_none() && follows_road(door.start) => &mut out.number,
                // 商贸城2975号 is a shop, 望月园7号 a house.
                Role::Number if is_market && door.value.len() >= 3 => &mut out.room,
                Role::Number => &mut out.building,
            };
            if slot.is_none() {
                *slot = Some(self.element(door.start, door.end, Some(door.value)));
            }
        }
    }

    fn areas(&mut self, divisions: &'a Divisions, area: &Area, out: &mut Reading<'a>) {
        let deepest = match area.context[..] {
            [] => None,
            [one] => Some(one),
            // Undecided: what all of them share.
            [first, ..] => {
                divisions.line(first).find(|&d| area.context.iter().all(|&c| divisions.within(c, d)))
            }
        };
        let guess = likeliest(divisions, &area.context);
        let levels = [Level::Province, Level::City, Level::County, Level::Township, Level::Community];
        // Nothing of the text: the feed's default alone is no element.
        let line = |id: Option<DivisionId>| {
            id.filter(|_| area.named).map_or([None; 6], |id| divisions.line_by_level(id))
        };
        let (all_known, all_likely) = (line(deepest), line(guess));
        let latest = area.mentions.iter().map(|m| m.beginning).max();
        let mentions = area.by_level();
        let slots =
            [&mut out.province, &mut out.city, &mut out.county, &mut out.township, &mut out.community];
        for (level, slot) in levels.into_iter().zip(slots) {
            let known = all_known[level as usize];
            let likely = all_likely[level as usize].filter(|_| level <= Level::County);
            let mention = mentions[level as usize].filter(|m| {
                Some(m.beginning) == latest
                    || known.is_none_or(|k| m.division.is_some_and(|d| divisions.agree(d, k)))
            });
            if known.is_none() && likely.is_none() && mention.is_none() {
                continue;
            }
            let span = mention.map(|m| self.take(m.start, m.end));
            let only = mention.and_then(|m| m.division).filter(|_| guess.is_none());
            let element = match (known.or(only).filter(|&id| !divisions.is_nameless(id)), likely, span) {
                (Some(id), _, span) => {
                    let name = Wording(Words::Written(divisions.shown_name(id)));
                    Some(AreaReading { name, code: Some(divisions.get(id).code), span })
                }
                // Several bear the name: the likeliest by name, without a code.
                (None, Some(id), span) if !divisions.is_nameless(id) => {
                    let name = Wording(Words::Written(divisions.shown_name(id)));
                    Some(AreaReading { name, code: None, span })
                }
                (None, _, Some(written)) => {
                    let name = Wording(Words::Written(slice(self.text, written)));
                    Some(AreaReading { name, code: None, span })
                }
                (None, _, None) => None,
            };
            *slot = element;
        }
        for m in &area.mentions {
            self.mark(m.start, m.end);
        }
    }

    fn mark(&mut self, start: usize, end: usize) {
        for taken in &mut self.taken[start..end] {
            *taken = true;
        }
    }

    fn take(&mut self, start: usize, end: usize) -> [u32; 2] {
        self.mark(start, end);
        self.folded.original(start, end)
    }

    fn element(&mut self, start: usize, end: usize, value: Option<Label>) -> ElementReading<'a> {
        let span = self.take(start, end);
        let folded = || Words::Folded(&self.folded.chars()[start..end]);
        ElementReading { value: Wording(value.map_or_else(folded, Words::Number)), span }
    }
}

pub(crate) fn code(divisions: &Divisions, id: DivisionId) -> String {
    super::parsed::code(divisions.get(id).code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::divisions::Divisions;
    use crate::parse::{AreaElement, Element, Parsed, parse};
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

        #[test]
        fn any_string_of_the_words_of_addresses_is_parsed(text in "(省|市|区|县|镇|街道|村|社区|组|路|街|巷|弄|道|环|大道|段|号|院|楼|栋|单元|门|室|户|层|期|小区|花园|园|城|苑|中心|工业园|开发区|中国|null|浙江|杭州|西湖|绍兴|奉化|云|栖|东|一|二|十|旁|对面|口|米|内|与|附|之|甲|a|f|#|-|[0-9]|[0-9]{2,6}| |[(]|[)]){0,14}") {
            let p = read(&text);
            let count = text.chars().count() as u32;
            for a in [&p.province, &p.city, &p.county, &p.township, &p.community].into_iter().flatten() {
                prop_assert!(a.span.is_none_or(|[s, t]| s < t && t <= count) && !a.name.is_empty());
            }
        }
    }
}
