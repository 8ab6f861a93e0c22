//! What two texts say of each other: areas, road, number, names, door, and how much of their words they share.

use super::words::{shared_stretches, weights};
use crate::divisions::Divisions;
use crate::fold::{Folded, fold};
use crate::key::NameKey;
use crate::parse::{AreaElement, Element, Parsed, parse};

/// Of longer texts only the beginning is compared by its words, in characters: addresses are shorter.
const COMPARED_MAX: usize = 120;

/// A name that weighs less does not tell places apart.
const TELLING_MIN: f32 = 1.5;

/// What both say about one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Same,
    Other,
    QueryOnly,
    CandidateOnly,
    Neither,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Road {
    Same,
    /// The road of one stands somewhere in the other.
    Named,
    Other,
    Unknown,
}

/// What the names of their compounds share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    Equal,
    /// The name of one stands somewhere in the other.
    Within,
    Alike,
    Nothing,
}

#[derive(Debug)]
pub(super) struct Facts {
    /// They are the same text, however spelt.
    pub is_equal: bool,
    /// Both name their city or province, and they are not the same.
    pub other_city: bool,
    pub county: Relation,
    /// One of them says its province.
    pub says_province: bool,
    pub road: Road,
    pub compound: Shared,
    pub building: Relation,
    /// Zones, phases, rows: a区, 2期.
    pub zone: Relation,
    /// The candidate is a gate of something.
    pub is_gate: bool,
    /// The weight of the longest stretch of the query that the candidate has too.
    pub stretch: f32,
    /// How much of the query's words the candidate has, by weight: 0 to 1.
    pub of_query: f32,
    pub query: Rest,
    pub candidate: Rest,
    /// Numbers of the query that the candidate has not.
    pub numbers_missing: usize,
}

/// What one text says and the other does not, by weight.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rest {
    /// The longest stretch of it.
    pub lost: f32,
    /// All behind the last stretch of words that both have.
    pub tail: f32,
}

/// One text, parsed, with its key and the key of what stands behind its area.
struct Side {
    parsed: Parsed,
    whole: Vec<char>,
    key: Vec<char>,
}

impl Side {
    fn new(text: &str, divisions: &Divisions) -> Self {
        let parsed = parse(text, divisions, None);
        let areas = [&parsed.province, &parsed.city, &parsed.county, &parsed.township, &parsed.community];
        let end = areas.iter().filter_map(|a| a.as_ref()?.span).map(|s| s[1]).max().unwrap_or(0);
        let rest: String = text.chars().skip(end as usize).take(COMPARED_MAX).collect();
        Self { whole: key(text), key: key(&rest), parsed }
    }
}

impl Facts {
    pub fn new(query: &str, candidate: &str, divisions: &Divisions) -> Self {
        let (q, c) = (Side::new(query, divisions), Side::new(candidate, divisions));
        let (a, b) = (&q.parsed, &c.parsed);
        let province = |p: &Parsed| p.province.as_ref().is_some_and(|p| p.span.is_some());
        let (stretch, of_query, query) = shared(&q.key, &c.key);
        let (_, _, candidate) = shared(&c.key, &q.key);
        let other = |x: &Option<AreaElement>, y: &Option<AreaElement>| {
            let named = [x, y].iter().all(|a| a.as_ref().is_some_and(|a| a.span.is_some()));
            named && same_area(x, y) == Relation::Other
        };
        Self {
            is_equal: !q.whole.is_empty() && q.whole == c.whole,
            other_city: other(&a.city, &b.city) || other(&a.province, &b.province),
            county: same_area(&a.county, &b.county),
            says_province: province(a) || province(b),
            road: road(&q, &c),
            compound: compound(&q, &c),
            building: same_element(&a.building, &b.building),
            zone: zone(&q.key, &c.key),
            is_gate: is_gate(&c.key),
            stretch,
            of_query,
            query,
            candidate,
            numbers_missing: numbers_missing(&q.key, &c.key),
        }
    }
}

fn key(text: &str) -> Vec<char> {
    let (mut folded, mut key) = (Folded::default(), NameKey::default());
    fold(text, &mut folded);
    key.set(folded.chars());
    key.chars
}

fn relation<T>(a: Option<&T>, b: Option<&T>, same: impl FnOnce(&T, &T) -> bool) -> Relation {
    match (a, b) {
        (Some(a), Some(b)) => {
            if same(a, b) {
                Relation::Same
            } else {
                Relation::Other
            }
        }
        (Some(_), None) => Relation::QueryOnly,
        (None, Some(_)) => Relation::CandidateOnly,
        (None, None) => Relation::Neither,
    }
}

fn same_area(a: &Option<AreaElement>, b: &Option<AreaElement>) -> Relation {
    let known = |a: &AreaElement| a.code.clone().unwrap_or_else(|| a.name.clone());
    relation(a.as_ref(), b.as_ref(), |a, b| known(a) == known(b))
}

fn same_element(a: &Option<Element>, b: &Option<Element>) -> Relation {
    relation(a.as_ref(), b.as_ref(), |a, b| key(&a.value) == key(&b.value))
}

fn has(text: &[char], part: &[char]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|w| w == part)
}

fn road(q: &Side, c: &Side) -> Road {
    let own = |s: &Side| s.parsed.road.as_ref().map(|r| key(&r.value)).unwrap_or_default();
    let (a, b) = (own(q), own(c));
    match (a.is_empty(), b.is_empty()) {
        (false, false) if a == b => Road::Same,
        _ if has(&c.key, &a) || has(&q.key, &b) => Road::Named,
        (false, false) => Road::Other,
        _ => Road::Unknown,
    }
}

fn compound(q: &Side, c: &Side) -> Shared {
    let own = |s: &Side| s.parsed.compound.as_ref().map(|r| key(&r.value)).unwrap_or_default();
    let (a, b) = (own(q), own(c));
    // 工商银行 and 工商银行 are two as easily as one.
    let telling = |name: &[char]| weights(name).iter().sum::<f32>() >= TELLING_MIN;
    if !a.is_empty() && a == b {
        if telling(&a) { Shared::Equal } else { Shared::Nothing }
    } else if has(&c.key, &a) || has(&q.key, &b) {
        Shared::Within
    } else if alike(&a, &b) {
        Shared::Alike
    } else {
        Shared::Nothing
    }
}

/// Do two names share more than half of their pairs of characters?
fn alike(a: &[char], b: &[char]) -> bool {
    let shared = a.windows(2).filter(|pair| has(b, pair)).count();
    let pairs = a.len().saturating_sub(1) + b.len().saturating_sub(1);
    pairs > 0 && 4 * shared > pairs
}

/// The weight of the longest stretch of `a` that `b` has too, the share of all such in the weight of `a`, and the rest.
fn shared(a: &[char], b: &[char]) -> (f32, f32, Rest) {
    let weights = weights(a);
    let sum = |start: usize, end: usize| weights[start..end].iter().sum::<f32>();
    let (mut longest, mut both, mut last, mut words_end) = (0.0_f32, 0.0, 0, 0);
    let mut rest = Rest::default();
    for (start, length) in shared_stretches(a, b) {
        let end = start + length;
        rest.lost = rest.lost.max(sum(last, start));
        longest = longest.max(sum(start, end));
        both += sum(start, end);
        last = end;
        if !a[start..end].iter().all(char::is_ascii_digit) {
            words_end = end;
        }
    }
    rest.lost = rest.lost.max(sum(last, a.len()));
    rest.tail = sum(words_end, a.len());
    (longest, both / sum(0, a.len()).max(0.1), rest)
}

/// (东)门, (南2)门 at the end of `text`.
fn is_gate(text: &[char]) -> bool {
    let gate = |w: &[char]| match *w {
        [side, '门'] | [side, _, '门'] => {
            "东西南北正侧后".contains(side) && w[1..w.len() - 1].iter().all(char::is_ascii_digit)
        }
        _ => false,
    };
    let end = &text[text.len().saturating_sub(4)..];
    end.windows(2).chain(end.windows(3)).any(gate)
}

/// What counts zones, phases and rows, and what it may be counted by.
const ZONES: &str = "区期苑村队组巷弄排座";

fn zone(q: &[char], c: &[char]) -> Relation {
    let (a, b) = (zones(q), zones(c));
    let of_kind = |z: &(char, &[char])| b.iter().any(|o| o.0 == z.0);
    let both: Vec<_> = a.iter().filter(|z| of_kind(z)).collect();
    match (both.is_empty(), a.is_empty(), b.is_empty()) {
        (false, ..) => {
            // Of every kind that both have, one must be the same.
            let agrees = |z: &(char, &[char])| a.iter().any(|o| o.0 == z.0 && b.contains(o));
            if both.iter().all(|z| agrees(z)) { Relation::Same } else { Relation::Other }
        }
        (true, false, _) => Relation::QueryOnly,
        (true, true, false) => Relation::CandidateOnly,
        (true, true, true) => Relation::Neither,
    }
}

/// (kind, by what it is counted) of every zone in `text`.
fn zones(text: &[char]) -> Vec<(char, &[char])> {
    let mut out = Vec::new();
    for (at, &kind) in text.iter().enumerate().filter(|(_, c)| ZONES.contains(**c)) {
        let head = &text[..at];
        let digits = head.iter().rev().take_while(|c| c.is_ascii_digit()).count();
        let letter = at > digits && head[at - digits - 1].is_ascii_lowercase();
        let side = digits == 0 && head.last().is_some_and(|c| "东西南北中".contains(*c));
        let length = digits + usize::from(letter || side);
        if length > 0 {
            out.push((kind, &text[at - length..at]));
        }
    }
    out
}

fn numbers_missing(query: &[char], candidate: &[char]) -> usize {
    let numbers = |text: &'_ [char]| -> Vec<Vec<char>> {
        let mut all: Vec<_> =
            text.split(|c| !c.is_ascii_digit()).filter(|n| !n.is_empty()).map(<[char]>::to_vec).collect();
        all.sort();
        all.dedup();
        all
    };
    let known = numbers(candidate);
    numbers(query).iter().filter(|n| !known.contains(n)).count()
}
