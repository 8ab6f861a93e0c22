//! The administrative part: provinces to communities, from the start of the text on.
//!
//! Names are read one after the other; each keeps, of the divisions that it may mean, those that agree with
//! what stands before it and with the feed's own area. So 鼓楼区 after 徐州市 is another than after 南京市.

use crate::divisions::{DivisionId, Divisions, Naming};
use crate::model::Level;

/// A division named in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mention {
    pub start: usize,
    pub end: usize,
    pub level: Level,
    /// None: by its form a township or community, but not one that we know.
    pub division: Option<DivisionId>,
    pub naming: Naming,
}

/// What the text says about its area. Kept and reused between texts.
#[derive(Debug, Default)]
pub(crate) struct Area {
    pub mentions: Vec<Mention>,
    /// The deepest divisions that text and default area allow; empty: anywhere.
    pub context: Vec<DivisionId>,
    /// Where the street part begins.
    pub end: usize,
    /// The text itself names a division (not only the feed's default).
    pub named: bool,
    /// The text names a place outside the feed's default area.
    pub elsewhere: Option<DivisionId>,
    found: Vec<(u32, usize)>,
    kept: Vec<DivisionId>,
}

const CONTEXT_MAX: usize = 24;
/// After these a short name is the beginning of a road, a compound or an office.
const STREET_HEADS: [&str; 31] = [
    "路", "街", "巷", "道", "弄", "里", "坊", "桥", "站", "村", "苑", "园", "大", "东路", "西路", "南路",
    "北路", "中路", "东街", "西街", "南街", "北街", "花", "新村", "小区", "公", "广场", "家", "嘉", "国际",
    "商",
];
const ZONES: [&str; 15] = [
    "高新技术产业开发区",
    "高新技术开发区",
    "经济技术开发区",
    "经济开发区",
    "工业园区",
    "高新区",
    "经开区",
    "开发区",
    "市辖区",
    "新区",
    "园区",
    "市区",
    "城区",
    "县城",
    "周边",
];
const OFFICES: [&str; 4] = ["办事处", "街办", "街道", "办"];

fn starts(text: &[char], word: &str) -> Option<usize> {
    super::begins(text, word).then(|| word.chars().count())
}

/// Does a township of `id` stand at the beginning of `text`?
fn followed_within(divisions: &Divisions, text: &[char], id: DivisionId) -> bool {
    let mut found = false;
    divisions.lexicon().prefixes(text, |name, _| {
        let township =
            |m: &(DivisionId, Naming)| m.1 == Naming::Full && m.0 != id && divisions.within(m.0, id);
        found |= divisions.meanings(name).iter().any(township);
    });
    found
}

pub(crate) fn is_gap(c: char) -> bool {
    matches!(c, ' ' | '-' | '(' | ')' | '/' | '#')
}

impl Area {
    /// Reads the administrative beginning of `text` for a feed whose own areas are `default`.
    pub fn read(&mut self, divisions: &Divisions, text: &[char], default: &[DivisionId]) {
        self.mentions.clear();
        self.context.clear();
        self.context.extend_from_slice(&default[..default.len().min(CONTEXT_MAX)]);
        self.named = false;
        self.elsewhere = None;
        let mut at = 0;
        loop {
            while text.get(at).is_some_and(|&c| is_gap(c)) {
                at += 1;
            }
            self.end = at;
            at = match self.known(divisions, text, at).or_else(|| self.by_form(text, at)) {
                Some(end) => end,
                None => break,
            };
        }
    }

    /// A name of the lexicon at `at`, longest first.
    fn known(&mut self, divisions: &Divisions, text: &[char], at: usize) -> Option<usize> {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        divisions.lexicon().prefixes(&text[at..], |name, length| found.push((name, length)));
        let end = found.iter().rev().find_map(|&(name, length)| {
            self.accept(divisions, text, at, at + length, divisions.meanings(name)).then_some(at + length)
        });
        self.found = found;
        end.map(|end| {
            let township = self.mentions.last().is_some_and(|m| m.level == Level::Township);
            let office = OFFICES.iter().filter(|_| township).find_map(|o| starts(&text[end..], o));
            end + office.unwrap_or(0)
        })
    }

    fn accept(
        &mut self,
        divisions: &Divisions,
        text: &[char],
        start: usize,
        end: usize,
        meanings: &[(DivisionId, Naming)],
    ) -> bool {
        let next = text.get(end).copied();
        // 武夷山市场 is a market.
        if text[end - 1] == '市' && matches!(next, Some('场' | '民' | '政')) {
            return false;
        }
        let parted = next.is_none_or(is_gap);
        let street_follows = !parted && STREET_HEADS.iter().any(|h| starts(&text[end..], h).is_some());
        let street_like = text[start..end].last().is_some_and(|c| "路街巷桥道里".contains(*c));
        let mut kept = std::mem::take(&mut self.kept);
        kept.clear();
        let mut best: Option<(Level, Naming)> = None;
        for &(id, naming) in meanings {
            let level = divisions.get(id).level;
            let agrees = self.context.iter().any(|&c| divisions.agree(c, id));
            let near = agrees && self.context.iter().any(|&c| divisions.get(c).level >= Level::City);
            let fits = match (naming, level) {
                (Naming::Full | Naming::Former, Level::Province | Level::City | Level::County) => {
                    agrees || self.context.is_empty()
                }
                (Naming::Full, Level::Township) => agrees || (self.context.is_empty() && meanings.len() <= 3),
                (Naming::Full, _) => near && !street_follows,
                (Naming::Short, Level::Township | Level::Community) => {
                    near && !street_follows
                        && (parted || !(street_like || next.is_some_and(|c| c.is_ascii_alphanumeric())))
                }
                // 五台山社区 is not in 五台县: without any context only provinces and cities are called short.
                (Naming::Short | Naming::FormerShort, _) => {
                    let alone = self.context.is_empty()
                        && naming == Naming::Short
                        && (level <= Level::City
                            || divisions.get(id).name.ends_with('市')
                            || followed_within(divisions, &text[end..], id));
                    (agrees || alone) && !street_follows
                }
                (Naming::FormerVague, _) => near,
                (Naming::Former, _) => false,
            };
            if fits && kept.len() < CONTEXT_MAX {
                best = Some(best.map_or((level, naming), |b: (Level, Naming)| b.min((level, naming))));
                kept.push(id);
            }
        }
        let accepted = match best {
            Some((_, naming)) => {
                // Of what fits, the widest level: 南通 the city before 通州 the former county.
                let widest = kept.iter().map(|&id| divisions.get(id).level).min().unwrap_or_default();
                kept.retain(|&id| divisions.get(id).level == widest);
                self.mentions.push(Mention { start, end, level: widest, division: Some(kept[0]), naming });
                self.settle(divisions, &kept);
                self.named = true;
                true
            }
            None => self.contradicts(divisions, (start, end), parted, meanings),
        };
        self.kept = kept;
        accepted
    }

    /// A division that does not lie where all before it lies.
    fn contradicts(
        &mut self,
        divisions: &Divisions,
        (start, end): (usize, usize),
        parted: bool,
        meanings: &[(DivisionId, Naming)],
    ) -> bool {
        let Some(&(id, naming)) = meanings.iter().min_by_key(|m| (m.1, divisions.get(m.0).level)) else {
            return false;
        };
        let level = divisions.get(id).level;
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
            // A township of the same city, but of another county than the text says: both may be meant.
            let same_city = |a: DivisionId| {
                let city = divisions.at_level(a, Level::City);
                city.is_some() && self.context.iter().any(|&c| divisions.at_level(c, Level::City) == city)
            };
            let township = meanings.iter().find(|m| {
                m.1 == Naming::Full && divisions.get(m.0).level == Level::Township && same_city(m.0)
            });
            return match township {
                Some(&(id, naming)) => {
                    self.mentions.push(Mention {
                        start,
                        end,
                        level: Level::Township,
                        division: Some(id),
                        naming,
                    });
                    self.context.push(id);
                    true
                }
                None => false,
            };
        }
        // All that the text itself named so far may hold it: only the feed's default is against it.
        let text_agrees = self.mentions.iter().all(|m| m.division.is_none_or(|d| divisions.agree(d, id)));
        if text_agrees {
            // The text is right.
            self.context.clear();
            let best = meanings.iter().filter(|m| m.1 == naming && divisions.get(m.0).level == level);
            self.context.extend(best.map(|m| m.0).take(CONTEXT_MAX));
        } else if level <= Level::City || self.elsewhere.is_none() {
            self.context.extend(meanings.iter().filter(|m| m.1 == naming).map(|m| m.0).take(4));
        }
        if level <= Level::City || text_agrees {
            self.elsewhere = Some(id);
        }
        self.named = true;
        self.mentions.push(Mention { start, end, level, division: Some(id), naming });
        true
    }

    /// Narrows the context to what agrees with `ids`.
    fn settle(&mut self, divisions: &Divisions, ids: &[DivisionId]) {
        let before = std::mem::take(&mut self.context);
        for &id in ids {
            let mut agreeing = before.iter().filter(|&&c| divisions.agree(c, id)).peekable();
            if agreeing.peek().is_none() {
                self.context.push(id);
            }
            for &c in agreeing {
                let deeper = if divisions.within(c, id) { c } else { id };
                if !self.context.contains(&deeper) {
                    self.context.push(deeper);
                }
            }
        }
        self.context.truncate(CONTEXT_MAX);
    }

    /// 江东区: a county that is no more, or misspelt. Behind a city or province, or at the very beginning.
    fn county_by_form(&self, name: &[char]) -> bool {
        const OTHERS: &str = "小社园校厂院库景片新市专发山地矿住宅";
        let others = |c: &char| OTHERS.contains(*c) || c.is_ascii() || crate::fold::is_numeral(*c);
        let sized = name.len() == 3 || (name.len() == 4 && self.named && name[3] == '县');
        sized
            && !name[..name.len() - 1].last().is_some_and(others)
            && !self.mentions.iter().any(|m| m.level >= Level::County)
    }

    /// A zone, a county, a township or a community by its form only.
    fn by_form(&mut self, text: &[char], at: usize) -> Option<usize> {
        if let Some(n) = ["null", "中国"].iter().filter(|_| !self.named).find_map(|w| starts(&text[at..], w))
        {
            return (text.len() > at + n).then_some(at + n);
        }
        if let Some(n) = ZONES.iter().find_map(|z| starts(&text[at..], z)).filter(|_| self.named) {
            return Some(at + n);
        }
        if !self.named && at > 0 {
            return None;
        }
        let rest = &text[at..];
        let reach = rest.iter().take(8).take_while(|c| !is_gap(**c) && !c.is_ascii_digit()).count();
        let has = |level: Level| self.mentions.iter().any(|m| m.level >= level);
        for n in 2..=reach {
            let (level, more) = match rest[n - 1] {
                '区' | '县' | '市' if self.county_by_form(&rest[..n]) => (Level::County, 0),
                '道' if rest[n - 2] == '街' && n >= 4 => (Level::Township, 0),
                '处' if n >= 5 && rest[..n].ends_with(&['办', '事', '处']) => (Level::Township, 0),
                '镇' | '乡' if (3..=5).contains(&n) && !rest.get(n).is_some_and(|c| "路街".contains(*c)) => {
                    (Level::Township, 0)
                }
                '区' if rest[n - 2] == '社' && n >= 4 => (Level::Community, 0),
                '委' if rest.get(n) == Some(&'会') && n >= 3 => (Level::Community, 1),
                '村' if n >= 3
                    && (has(Level::Township) || n == 3)
                    && !rest[..n].ends_with(&['新', '村'])
                    && (super::elements::group(text, at + n).is_some()
                        || !rest.get(n).is_some_and(|c| {
                            c.is_ascii_alphanumeric() || "路街小花苑北南东西".contains(*c)
                        })) =>
                {
                    (Level::Community, 0)
                }
                // 青禾街街道, 云栖路办事处
                '路' | '街' if matches!(rest[n..], ['街', '道', ..] | ['道', ..] | ['办', '事', ..]) =>
                {
                    continue;
                }
                '路' | '街' | '巷' | '号' => return None,
                _ => continue,
            };
            if has(level) || (!self.named && level == Level::Community) {
                return None;
            }
            self.named = true;
            let end = at + n + more;
            self.mentions.push(Mention { start: at, end, level, division: None, naming: Naming::Full });
            return Some(end);
        }
        None
    }
}
