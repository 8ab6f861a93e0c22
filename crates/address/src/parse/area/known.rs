//! Divisions that the tables know, by their names in full, short or of the past.

use super::behind::Behind;
use super::filler::ZONES;
use super::form::office;
use super::{Area, CONTEXT_MAX, Mention};
use crate::charset::one_of;
use crate::divisions::{DivisionId, Divisions, Meaning, Naming};
use crate::model::Level;
use std::cell::LazyCell;

impl Area {
    /// A name of the lexicon at `at`, longest first.
    pub(super) fn known(&mut self, divisions: &Divisions, text: &[char], at: usize) -> Option<usize> {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        divisions.names().prefixes(&text[at..], |name, length| found.push((name, length)));
        let end = found.iter().rev().find_map(|&(name, length)| {
            self.accept(divisions, text, (at, at + length), divisions.names().meanings(name))
        });
        self.found = found;
        end
    }

    fn accept(
        &mut self,
        divisions: &Divisions,
        text: &[char],
        (start, end): (usize, usize),
        meanings: &[Meaning],
    ) -> Option<usize> {
        let behind = Behind::new(&text[end..]);
        // 武夷山市场 is a market, but 张掖市民乐县 is not.
        if text[end - 1] == '市'
            && (matches!(
                behind.text,
                ['场' | '民', ..] | ['政', '府' | '务' | '法' | '协' | '公' | '工', ..]
            ))
            && !meanings.iter().any(|m| behind.names_within(divisions, m.id()))
        {
            return None;
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.clear();
        let mut best: Option<(Level, Naming)> = None;
        let anywhere = self.context.is_empty();
        // Nearly always one division is meant so far: its range and level stay at hand.
        let first = self.context.first().map(|&c| (divisions.rows_within(c), divisions.level(c)));
        let (rows, deepest) = first.unwrap_or((0..0, Level::Unknown));
        for &meaning in meanings {
            let agrees = meaning.row().wrapping_sub(rows.start) < rows.len() as u32
                || meaning.level() < deepest && divisions.within(self.context[0], meaning.id())
                || self.context.len() > 1 && self.agrees(divisions, meaning);
            if (agrees || anywhere)
                && kept.len() < CONTEXT_MAX
                && self.fits(divisions, &text[start..end], &behind, (meaning, meanings), agrees)
            {
                let (id, naming, level) = meaning.parts();
                // What bears the name today, before what once did.
                let former = |n: Naming| n > Naming::Short;
                if best.is_some_and(|b| former(b.1) && naming == Naming::Full) {
                    kept.clear();
                    best = None;
                } else if best.is_some_and(|b| b.1 == Naming::Full && former(naming)) {
                    continue;
                }
                best = Some(best.map_or((level, naming), |b| b.min((level, naming))));
                kept.push(id);
            }
        }
        let end = match best {
            Some((widest, naming)) => {
                // Of what fits, the widest level: 南通 the city before 通州 the former county.
                if kept.len() > 1 {
                    kept.retain(|&id| divisions.level(id) == widest);
                }
                Some(self.mention_of(divisions, (start, end), &behind, &kept, (widest, naming)))
            }
            None => self.contradicts(divisions, (start, end), behind.parted, meanings).then_some(end),
        };
        self.kept = kept;
        end
    }

    /// Notes that `ids`, all of one level, are meant by the name at [start, end). Gives where the mention ends.
    fn mention_of(
        &mut self,
        divisions: &Divisions,
        (start, mut end): (usize, usize),
        behind: &Behind<'_>,
        ids: &[DivisionId],
        (mut level, naming): (Level, Naming),
    ) -> usize {
        // 北京北京市: a municipality's name in full is that of its city.
        let is_province = level == Level::Province && naming == Naming::Full;
        let municipality = is_province.then(|| divisions.municipality(ids[0])).flatten();
        if municipality.is_some() && self.deepest() < Level::City {
            level = Level::City;
        }
        if level == Level::Province && naming == Naming::Full && self.deepest() >= Level::City {
            self.begin_anew();
        }
        let renamed = (naming == Naming::Short).then(|| behind.renamed(level)).flatten();
        let (more, naming) = renamed.map_or((0, naming), |more| (more, Naming::Full));
        end += more;
        if level == Level::Township {
            end += office(&behind.text[more..]);
        }
        let beginning = self.beginning;
        let division = municipality.filter(|_| level == Level::City).or(Some(ids[0]));
        self.push(Mention { start, end, level, division, naming, beginning });
        self.settle(divisions, ids);
        end
    }

    /// May the name at hand mean this, after all that the text said before it? Either it agrees with that, or nothing
    /// was said.
    #[inline(never)]
    fn fits(
        &self,
        divisions: &Divisions,
        name: &[char],
        behind: &Behind<'_>,
        (meaning, all): (Meaning, &[Meaning]),
        agrees: bool,
    ) -> bool {
        let (id, naming, level) = meaning.parts();
        let near = || agrees && self.context.iter().any(|&c| divisions.level(c) >= Level::City);
        let names_road = || matches!(behind.text, ['路', ..] | ['大', '道' | '街', ..]);
        match (naming, level) {
            // 鄞县大道 is a road.
            (Naming::Full | Naming::Former, Level::Province | Level::City | Level::County) => !names_road(),
            (Naming::Full, Level::Township) => {
                // 青禾镇青禾镇学堂: the second is the name of a school.
                let again = !behind.parted && self.names(id);
                let alone = all.len() <= 3 && self.mentions.is_empty();
                (agrees || alone) && !names_road() && !again
            }
            (Naming::Full, _) => near() && !behind.street,
            (Naming::Short, Level::Township | Level::Community) => {
                // A road behind a name that only one township bears vouches for it.
                let only = !agrees && self.mentions.is_empty() && all.len() == 1 && level == Level::Township;
                self.deepest() < Level::Township
                    && (near() || only)
                    && stands_short(name, behind, level, only)
            }
            (Naming::Short | Naming::FormerShort, _) => {
                self.fits_short(divisions, behind, (meaning, all), agrees)
            }
            (Naming::FormerVague, _) => near(),
            (Naming::Former, _) => false,
        }
    }

    /// 五台山社区 is not in 五台县: without any context only provinces and cities are called short, and counties where the
    /// text begins with them.
    fn fits_short(
        &self,
        divisions: &Divisions,
        behind: &Behind<'_>,
        (meaning, all): (Meaning, &[Meaning]),
        agrees: bool,
    ) -> bool {
        let (id, naming, level) = meaning.parts();
        let anywhere = !agrees;
        let within = LazyCell::new(|| behind.names_within(divisions, id));
        let alone = || {
            naming == Naming::Short
                && (level <= Level::City
                    || divisions.get(id).name.ends_with('市') && behind.may_follow_county()
                    || *within
                    || self.begins_with_county(behind, all))
        };
        // 江宁区江宁新城区 says the name again for its zone.
        let zone = || self.names(id) && ZONES.beginning(behind.text) > 0;
        let again = || level <= self.deepest() && !behind.parted && !zone() && !self.repeats(divisions, id);
        let township = matches!(behind.text, ['镇' | '乡', ..] | ['街', '道', ..]);
        let head = || behind.street && !(anywhere && behind.may_follow_county() && level == Level::County);
        (agrees || alone())
            && (!(township || head() || again()) || behind.renamed(level).is_some() || *within)
    }

    /// Does it agree with what the text allows so far: does it lie in that, or that in it?
    fn agrees(&self, divisions: &Divisions, meaning: Meaning) -> bool {
        let (id, level) = (meaning.id(), meaning.level());
        // What is deeper cannot hold what is wider: its line is not looked at, for it lies far away in memory.
        let agrees = |c| divisions.within(id, c) || level < divisions.level(c) && divisions.within(c, id);
        self.context.iter().any(|&c| agrees(c))
    }

    /// Was `id` named since the text last began anew?
    fn names(&self, id: DivisionId) -> bool {
        self.mentions.iter().any(|m| m.beginning == self.beginning && m.division == Some(id))
    }

    /// 杭州市西湖区杭州西湖: the names before are said again, in the same order.
    fn repeats(&self, divisions: &Divisions, id: DivisionId) -> bool {
        let [.., last] = self.mentions[..] else { return false };
        let above = last.division.filter(|&above| above != id && divisions.within(id, above));
        let twice = |d: DivisionId| self.mentions.iter().filter(|m| m.division == Some(d)).count() >= 2;
        self.names(id) && above.is_some_and(twice)
    }

    /// 柯桥翠湖小区: the text begins with a county's short name that no other division bears.
    fn begins_with_county(&self, behind: &Behind<'_>, meanings: &[Meaning]) -> bool {
        let wide = meanings.iter().filter(|m| m.naming() <= Naming::Short && m.level() <= Level::County);
        self.mentions.is_empty() && wide.count() == 1 && behind.may_follow_county()
    }

    /// A division that does not lie where all before it lies.
    fn contradicts(
        &mut self,
        divisions: &Divisions,
        (start, end): (usize, usize),
        parted: bool,
        meanings: &[Meaning],
    ) -> bool {
        let Some(first) = meanings.iter().min_by_key(|m| m.rank()) else { return false };
        let (id, naming, level) = first.parts();
        let clear = match naming {
            // 城区, 郊区: of another city only where nothing else is meant.
            Naming::Full | Naming::Former => level <= Level::County && end - start > 2,
            // 天宁-望月-: behind a county it is a quarter's name; 南京附近-湖州- is another city.
            Naming::Short => {
                level <= Level::City && parted && !self.mentions.iter().any(|m| m.level >= Level::County)
            }
            _ => false,
        };
        if !clear {
            return self.township_nearby(divisions, (start, end), meanings);
        }
        // All that the text itself named so far may hold it: only the feed's default is against it.
        // So it is where the text has just begun anew.
        let anew = self.beginning > 0 && self.mentions.iter().all(|m| m.beginning < self.beginning);
        let text_agrees =
            anew || self.mentions.iter().all(|m| m.division.is_none_or(|d| divisions.agree(d, id)));
        if text_agrees {
            // The text is right.
            self.context.clear();
            let best = meanings.iter().filter(|m| m.naming() == naming && m.level() == level);
            self.context.extend(best.map(|m| m.id()).take(CONTEXT_MAX));
        } else if level <= Level::City || self.elsewhere.is_none() {
            self.context.extend(meanings.iter().filter(|m| m.naming() == naming).map(|m| m.id()).take(4));
        }
        if level <= Level::City || text_agrees {
            self.elsewhere = Some(id);
        }
        if level == Level::Province && self.deepest() >= Level::City {
            self.begin_anew();
        }
        let beginning = self.beginning;
        self.push(Mention { start, end, level, division: Some(id), naming, beginning });
        true
    }

    /// A township of the same city, but of another county than the text says: both may be meant.
    fn township_nearby(
        &mut self,
        divisions: &Divisions,
        (start, end): (usize, usize),
        meanings: &[Meaning],
    ) -> bool {
        let in_same_city = |id: DivisionId| {
            let mut cities = self.context.iter().filter_map(|&c| divisions.at_level(c, Level::City));
            cities.any(|city| divisions.within(id, city))
        };
        let is_township = |m: &&Meaning| m.naming() == Naming::Full && m.level() == Level::Township;
        let township = meanings.iter().find(|m| is_township(m) && in_same_city(m.id()));
        let Some((id, naming, _)) = township.map(|m| m.parts()) else { return false };
        if self.names(id) {
            return false;
        }
        self.context.push(id);
        let (level, beginning) = (Level::Township, self.beginning);
        self.push(Mention { start, end, level, division: Some(id), naming, beginning });
        true
    }
}

/// May what follows stand behind the short name of a township? Where `by_road`, only a road.
fn stands_short(name: &[char], behind: &Behind<'_>, level: Level, by_road: bool) -> bool {
    let street_like = name.last().is_some_and(|c| one_of!(*c, "路街巷桥道里"));
    let road = !street_like && behind.starts_road();
    if by_road || road {
        return road;
    }
    let number = || behind.text.first().is_some_and(char::is_ascii_alphanumeric);
    !behind.continues_name() && (behind.parted || !(street_like || number()))
        || behind.renamed(level).is_some()
}
