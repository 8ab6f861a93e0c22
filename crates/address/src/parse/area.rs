//! The administrative part: provinces to communities, from the start of the text on.
//!
//! Names are read one after the other; each keeps, of the divisions that it may mean, those that agree with
//! what stands before it and with the feed's own area. So 鼓楼区 after 徐州市 is another than after 南京市.

mod behind;
mod communities;
mod decide;
mod filler;
mod form;
mod known;

pub(crate) use decide::likeliest;

use crate::charset::one_of;
use crate::divisions::{DivisionId, Divisions, Meaning, NameId, Naming};
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
    /// A text may begin anew (浙江省杭州市浙江省杭州市西湖区): which beginning this belongs to.
    pub beginning: u8,
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
    beginning: u8,
    deepest: Level,
    found: Vec<(NameId, usize)>,
    kept: Vec<DivisionId>,
    before: Vec<DivisionId>,
}

const CONTEXT_MAX: usize = 24;

pub(crate) fn is_gap(c: char) -> bool {
    matches!(c, ' ' | '-' | '(' | ')' | '/' | '#')
}

/// How long `word` is, where `text` begins with it.
fn starts(text: &[char], word: &str) -> Option<usize> {
    super::begins(text, word).then(|| word.chars().count())
}

/// Where the area part begins behind a few words that are none (收件地址浙江省…): at a division's name in full.
fn late_start(divisions: &Divisions, text: &[char]) -> Option<usize> {
    const LEAD_MAX: usize = 8;
    let is_street = |c: &char| one_of!(*c, "路街巷道弄号村") || c.is_ascii_digit();
    let lead = text.iter().take(LEAD_MAX).take_while(|c| !is_street(c)).count();
    (1..=lead.min(text.len())).find(|&at| {
        let mut found = false;
        divisions.names().prefixes(&text[at..], |name, length| {
            let wide = |m: &Meaning| m.naming() == Naming::Full && m.level() <= Level::County;
            let market = matches!(text.get(at + length), Some('场' | '民'));
            found |= length >= 3 && !market && divisions.names().meanings(name).iter().any(wide);
        });
        found
    })
}

impl Area {
    /// Reads the administrative beginning of `text` for a feed whose own areas are `default`.
    pub fn read(&mut self, divisions: &Divisions, text: &[char], default: &[DivisionId]) {
        self.mentions.clear();
        self.context.clear();
        self.context.extend_from_slice(&default[..default.len().min(CONTEXT_MAX)]);
        self.named = false;
        self.elsewhere = None;
        (self.beginning, self.deepest) = (0, Level::Unknown);
        self.read_from(divisions, text, 0);
        if !self.named
            && default.is_empty()
            && let Some(at) = late_start(divisions, text)
        {
            self.read_from(divisions, text, at);
        }
        self.decide_by_rest(divisions, text);
    }

    fn read_from(&mut self, divisions: &Divisions, text: &[char], mut at: usize) {
        loop {
            while text.get(at).is_some_and(|&c| is_gap(c)) {
                at += 1;
            }
            self.end = at;
            let next = self
                .filler(divisions, text, at)
                .or_else(|| self.known(divisions, text, at))
                .or_else(|| self.community(divisions, text, at))
                .or_else(|| self.zone(text, at))
                .or_else(|| self.by_form(text, at));
            at = match next {
                Some(end) => end,
                None => break,
            };
        }
    }

    /// The mention that stands for each level, by its number: of the last beginning, the first in full, else the first.
    pub fn by_level(&self) -> [Option<&Mention>; 6] {
        let mut mentions: [Option<&Mention>; 6] = [None; 6];
        for m in &self.mentions {
            let Some(stands) = mentions.get_mut(m.level as usize) else { continue };
            let fuller = |best: &Mention| best.naming == Naming::Short && m.naming != Naming::Short;
            let later = |best: &Mention| {
                m.beginning > best.beginning || m.beginning == best.beginning && fuller(best)
            };
            if stands.is_none_or(later) {
                *stands = Some(m);
            }
        }
        for stands in mentions.iter_mut().flatten().filter(|m| m.naming == Naming::Short) {
            *stands = self.said_again(stands).unwrap_or(stands);
        }
        mentions
    }

    /// 台州台州临海市: said twice in a row, the second belongs to what follows.
    fn said_again(&self, first: &Mention) -> Option<&Mention> {
        let is_again =
            |m: &&Mention| m.level == first.level && m.beginning == first.beginning && m.start == first.end;
        let again = self.mentions.iter().find(is_again)?;
        self.mentions.iter().any(|m| m.start == again.end).then_some(again)
    }

    /// The deepest level named since the text last began anew.
    fn deepest(&self) -> Level {
        self.deepest
    }

    /// What follows may name the whole line of divisions again.
    fn begin_anew(&mut self) {
        if let Some(next) = self.beginning.checked_add(1) {
            (self.beginning, self.deepest) = (next, Level::Unknown);
        }
    }

    fn push(&mut self, mention: Mention) {
        self.named = true;
        self.deepest = self.deepest.max(mention.level);
        self.mentions.push(mention);
    }

    /// Narrows the context to what agrees with `ids`.
    fn settle(&mut self, divisions: &Divisions, ids: &[DivisionId]) {
        match (&mut self.context[..], ids) {
            ([], _) => {
                self.context.extend_from_slice(&ids[..ids.len().min(CONTEXT_MAX)]);
                return;
            }
            ([only], [id]) => {
                if !divisions.within(*only, *id) {
                    *only = *id;
                }
                return;
            }
            _ => {}
        }
        std::mem::swap(&mut self.context, &mut self.before);
        self.context.clear();
        let before = &self.before;
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
}
