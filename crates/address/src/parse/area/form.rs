//! Divisions by their form only: 江东区, which is no more; 某某街道, which the tables lack; a village.

use super::{Area, Mention, is_gap};
use crate::charset::{CharSet, one_of};
use crate::divisions::Naming;
use crate::model::Level;
use crate::parse::sketch::group;

/// The longest name that is believed by its form.
const REACH: usize = 8;

impl Area {
    /// 江东区: a county that is no more, or misspelt. Behind a city or province, or at the very beginning.
    fn county_by_form(&self, name: &[char]) -> bool {
        const OTHERS: &CharSet = &CharSet::new("军小社园校厂院库景片新市专发山地矿住宅");
        let others = |c: &char| OTHERS.has(*c) || c.is_ascii() || crate::fold::is_numeral(*c);
        let sized = name.len() == 3 || (name.len() == 4 && self.named && name[3] == '县');
        sized && !name[..name.len() - 1].last().is_some_and(others) && self.deepest() < Level::County
    }

    /// A county, a township or a community by its form only.
    pub(super) fn by_form(&mut self, text: &[char], at: usize) -> Option<usize> {
        if !self.named && text[..at].iter().any(|&c| !is_gap(c)) {
            return None;
        }
        let rest = &text[at..];
        let reach = rest.iter().take(REACH).take_while(|c| !is_gap(**c) && !c.is_ascii_digit()).count();
        for n in 2..=reach {
            let (level, more) = match rest[n - 1] {
                // 青禾街街道, 云栖路办事处
                '路' | '街' if matches!(rest[n..], ['街', '道', ..] | ['道' | '办' | '镇' | '乡', ..]) =>
                {
                    continue;
                }
                '路' | '街' | '巷' | '号' => return None,
                _ => match self.form(text, at, n) {
                    Some(form) => form,
                    None => continue,
                },
            };
            // 青禾镇望月街道: a township may have been named by what it was before.
            let second = rest[n - 1] == '道' && self.deepest() == Level::Township;
            if self.deepest() >= level && !second || (!self.named && level == Level::Community) {
                return None;
            }
            let end = at + n + more;
            let beginning = self.beginning;
            self.push(Mention { start: at, end, level, division: None, naming: Naming::Full, beginning });
            return Some(end);
        }
        None
    }

    /// The level that the first `n` characters at `at` have by their ending, and how many more belong to them.
    fn form(&self, text: &[char], at: usize, n: usize) -> Option<(Level, usize)> {
        let rest = &text[at..];
        let name = &rest[..n];
        if !one_of!(name[n - 1], "市区县道办处镇乡委村") {
            return None;
        }
        let next = rest.get(n).copied();
        let before = name[n - 2];
        let form = match name[n - 1] {
            '市' if matches!(next, Some('场' | '民' | '政' | '心')) => return None,
            '区' | '县' | '市' if self.county_by_form(name) => (Level::County, 0),
            '道' if before == '街' && n >= 4 => (Level::Township, office(&rest[n..])),
            '办' if before == '街' && n >= 4 => {
                (Level::Township, super::starts(&rest[n..], "事处").unwrap_or(0))
            }
            '处' if n >= 5
                && (name.ends_with(&['办', '事', '处']) || name.ends_with(&['管', '理', '处'])) =>
            {
                (Level::Township, 0)
            }
            '镇' | '乡' if (2..=5).contains(&n) && (n > 2 || self.named) && !is_street_end(&rest[n..]) => {
                (Level::Township, 0)
            }
            '区' if before == '社' && n >= 4 && !goes_on(next) => (Level::Community, 0),
            '委' if next == Some('会') && n >= 3 => (Level::Community, 1),
            '村' if (n >= 3 || self.deepest() == Level::Township) && !name.ends_with(&['新', '村']) => {
                let known_above = self.deepest() >= Level::Township || n == 3;
                let ends = group(text, at + n).is_some()
                    || next.is_none_or(|c| !c.is_ascii_alphanumeric() && !one_of!(c, "路街小花苑北南东西"));
                if !known_above || !ends {
                    return None;
                }
                (Level::Community, committee(&rest[n..]))
            }
            _ => return None,
        };
        Some(form)
    }
}

fn is_street_end(rest: &[char]) -> bool {
    matches!(rest, ['路' | '街' | '巷', ..] | ['大', '道' | '街', ..])
}

fn goes_on(next: Option<char>) -> bool {
    next.is_some_and(|c| one_of!(c, "服卫工"))
}

/// 村委会, 村民委员会: how much of it stands behind 村.
fn committee(rest: &[char]) -> usize {
    ["民委员会", "委员会", "委会"].iter().find_map(|w| super::starts(rest, w)).unwrap_or(0)
}

/// 街道办事处, 街道办: how much of it stands behind 街道.
pub(super) fn office(rest: &[char]) -> usize {
    if !matches!(rest, ['办' | '街', ..]) {
        return 0;
    }
    ["办事处", "街道办事处", "街办", "街道办", "街道", "办"]
        .iter()
        .find_map(|w| super::starts(rest, w).filter(|&n| !rest.get(n).is_some_and(|&c| one_of!(c, "公"))))
        .unwrap_or(0)
}
