//! The second half of folding: runs of digits, Chinese numerals and letters O that mean zero.

use super::Folded;
use crate::charset::{CharSet, one_of};

/// What a number counts, right after it. Not 村, 里, 区, 门, 房: those end names (三门峡, 三房巷).
const COUNTERS: &CharSet = &CharSet::new("号栋幢座楼单室层户弄组期楝");

fn digit(c: char) -> Option<u32> {
    Some(match c {
        '零' | '〇' => 0,
        '一' | '壹' => 1,
        '二' | '贰' | '两' => 2,
        '三' | '叁' => 3,
        '四' | '肆' => 4,
        '五' | '伍' => 5,
        '六' | '陆' => 6,
        '七' | '柒' => 7,
        '八' | '捌' => 8,
        '九' | '玖' => 9,
        _ => return None,
    })
}

fn multiple(c: char) -> Option<u32> {
    Some(match c {
        '十' | '拾' => 10,
        '廿' => 20,
        '卅' => 30,
        '百' => 100,
        _ => return None,
    })
}

/// All of which [`is_numeral`] is true.
pub(crate) const NUMERALS: &str = "零〇一壹二贰两三叁四肆五伍六陆七柒八捌九玖十拾廿卅百";

#[inline]
pub(crate) fn is_numeral(c: char) -> bool {
    const SET: &CharSet = &CharSet::new(NUMERALS);
    SET.has(c)
}

/// The number that a run of Chinese numerals means: by place (二〇一 is 201) or by value (二十三 is 23).
/// None where it is not one number, or above 9999. Leading zeros by place are dropped.
pub fn chinese_number(run: &[char]) -> Option<u32> {
    if run.is_empty() || run.len() > 6 {
        return None;
    }
    if run.iter().all(|&c| digit(c).is_some()) {
        let n = run.iter().try_fold(0u32, |n, &c| Some(n * 10 + digit(c)?))?;
        return (n <= 9999).then_some(n);
    }
    let (mut total, mut pending, mut last_unit) = (0u32, None, u32::MAX);
    for &c in run {
        match (digit(c), multiple(c)) {
            (Some(0), _) => pending = None,
            (Some(d), _) if pending.is_none() => pending = Some(d),
            (None, Some(m)) => {
                let unit = if m == 100 { 100 } else { 10 };
                let factor = if m == 20 || m == 30 {
                    pending.is_none().then_some(m / 10)?
                } else {
                    pending.unwrap_or(1)
                };
                if unit >= last_unit || (unit == 100 && pending.is_none()) {
                    return None;
                }
                total += factor * unit;
                (pending, last_unit) = (None, unit);
            }
            _ => return None,
        }
    }
    Some(total + pending.unwrap_or(0))
}

/// One settled number may make another (O0一0: a dash parts the run, then its O is a zero); three passes are
/// more than any text was seen to need.
const PASSES_MAX: usize = 6;

/// Settles the numbers of `out`, of which the first that is not in digits stands at `first`.
pub(super) fn settle(out: &mut Folded, first: usize) {
    let digits = out.chars[..first].iter().rev().take_while(|c| c.is_ascii_digit()).count();
    let Some(start) = unsettled(out.chars(), first - digits) else { return };
    for _ in 0..=PASSES_MAX {
        if !pass(out, start) {
            return;
        }
    }
}

/// The first run from `start` on that may not stay as it is: most numerals belong to names.
fn unsettled(text: &[char], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += text[at..].iter().position(|&c| in_run(c))?;
        let run = &text[at..];
        let run = &run[..run.iter().position(|&c| !in_run(c)).unwrap_or(run.len())];
        let counts = match text.get(at + run.len()) {
            None | Some(' ' | ')' | '门') => true,
            Some(&c) => COUNTERS.has(c),
        };
        let plain = run.iter().all(char::is_ascii_digit);
        let alone = run.len() == 1 || !run.iter().any(|&c| c == 'o' || c.is_ascii_digit());
        if !plain && (counts || !alone) {
            return Some(at);
        }
        at += run.len();
    }
}

#[inline]
fn in_run(c: char) -> bool {
    c.is_ascii_digit() || c == 'o' || is_numeral(c)
}

/// From `start` on, where a run of numerals begins. True where a number was changed.
fn pass(out: &mut Folded, start: usize) -> bool {
    let mut changed = false;
    let mut staged = std::mem::take(&mut out.staged);
    staged.clear();
    staged.extend((start..out.length).map(|i| (out.chars[i], out.from[i], out.to[i])));
    out.length = start;
    let ahead = out.last();
    let mut at = 0;
    while at < staged.len() {
        if !in_run(staged[at].0) {
            let (c, from, to) = staged[at];
            out.push(c, from, to);
            at += 1;
            continue;
        }
        let end = staged[at..].iter().position(|s| !in_run(s.0)).map_or(staged.len(), |n| at + n);
        let before = at.checked_sub(1).map_or(ahead, |i| Some(staged[i].0));
        let after = staged.get(end).map(|s| s.0);
        let behind = staged.get(end + 1).map(|s| s.0);
        changed |= run(&mut staged[at..end], (before, after, behind), out);
        at = end;
    }
    out.staged = staged;
    changed
}

fn run(
    run: &mut [(char, u32, u32)],
    (before, after, behind): (Option<char>, Option<char>, Option<char>),
    out: &mut Folded,
) -> bool {
    let mut changed = false;
    let has_ascii_digit = run.iter().any(|s| s.0.is_ascii_digit());
    let has_numeral = run.iter().any(|s| is_numeral(s.0));
    let beside_letter = [before, after].into_iter().flatten().any(|c| c.is_ascii_lowercase());
    if (has_ascii_digit || has_numeral) && !beside_letter {
        let zero = if has_ascii_digit { '0' } else { '〇' };
        // At either end an O beside numerals may be the letter of a building (O座), between them it is zero.
        let last = run.len() - 1;
        for (i, s) in run.iter_mut().enumerate() {
            if s.0 == 'o' && (has_ascii_digit || (i > 0 && i < last)) {
                s.0 = zero;
                changed = true;
            }
        }
    }
    // 25一402: a dash drawn as the numeral one.
    for i in 1..run.len().max(1) - 1 {
        if run[i].0 == '一' && run[i - 1].0.is_ascii_digit() && run[i + 1].0.is_ascii_digit() {
            run[i].0 = '-';
            changed = true;
        }
    }
    if !has_ascii_digit
        && counted(run, before, after)
        && !(after == Some('号') && is_name(run, before, behind))
    {
        let mut numerals = ['\0'; 6];
        for (slot, s) in numerals.iter_mut().zip(run.iter()) {
            *slot = s.0;
        }
        if let Some(n) = chinese_number(&numerals[..run.len().min(6)]).filter(|_| run.len() <= 6) {
            let (from, to) = (run[0].1, run[run.len() - 1].2);
            let mut digits = [0u8; 10];
            for &d in decimal(n, &mut digits) {
                out.push(char::from(d), from, to);
            }
            return true;
        }
    }
    for &(c, from, to) in run.iter() {
        out.push(c, from, to);
    }
    changed
}

/// 学府一号, 半山壹号: a name. 某某路一号, 一号楼 are numbers.
fn is_name(run: &[(char, u32, u32)], before: Option<char>, behind: Option<char>) -> bool {
    const COUNTED: &CharSet = &CharSet::new("路街巷弄道线村组区期栋幢楼号段桥园苑");
    let first = matches!(run, [('一' | '壹', ..)]);
    let named = before.is_some_and(|c| c >= '\u{2e80}' && !COUNTED.has(c));
    first && named && !behind.is_some_and(|c| c.is_ascii() || one_of!(c, "楼院栋幢室门库单"))
}

/// Does this run count something: a counter follows, or it ends an address after a counter (二单元四零二).
fn counted(run: &[(char, u32, u32)], before: Option<char>, after: Option<char>) -> bool {
    match after {
        Some(c) if COUNTERS.has(c) => true,
        // 10号楼二门204, but not 三门峡.
        Some('门') => before.is_some_and(|c| one_of!(c, "栋幢楼号座")),
        None | Some(' ' | ')') => {
            run.len() >= 3
                && run.iter().all(|s| digit(s.0).is_some())
                && before.is_some_and(|c| one_of!(c, "栋幢楼元号座-"))
        }
        _ => false,
    }
}

fn decimal(mut n: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numerals_are_those_that_have_a_value() {
        let numerals = ('\0'..='\u{ffff}').filter(|&c| digit(c).is_some() || multiple(c).is_some());
        assert!(numerals.eq(('\0'..='\u{ffff}').filter(|&c| is_numeral(c))));
    }
}
