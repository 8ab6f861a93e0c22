//! The first half of folding: each character by itself.

use super::{Folded, is_numeral};
use std::sync::OnceLock;

const VARIANTS: &str = include_str!("../../data/variants.txt");
const FIRST: u32 = 0x2e80;
const LAST: u32 = 0xfaff;

/// For U+2E80 to U+FAFF: the character's simplified form, or 0 where it stands for itself.
fn variants() -> &'static [u16] {
    static TABLE: OnceLock<Vec<u16>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = vec![0u16; (LAST - FIRST + 1) as usize];
        for line in VARIANTS.lines() {
            let mut chars = line.chars();
            while let (Some(from), Some(to)) = (chars.next(), chars.next()) {
                if let (FIRST..=LAST, Ok(to)) = (from as u32, u16::try_from(to as u32)) {
                    table[(from as u32 - FIRST) as usize] = to;
                }
            }
        }
        table
    })
}

pub(super) fn simplified(c: char) -> char {
    match c as u32 {
        n @ FIRST..=LAST => match variants()[(n - FIRST) as usize] {
            0 => c,
            to => char::from_u32(u32::from(to)).unwrap_or(c),
        },
        _ => c,
    }
}

enum Kind {
    Keep(char),
    Number(u32),
    Separator,
    /// Nothing at all: marks that only decorate a name or steer a terminal.
    Drop,
    /// Between two digits it parts numbers, elsewhere it decorates.
    MiddleDot,
    /// Between two digits a decimal point, elsewhere it separates.
    Dot,
}

fn kind(c: char) -> Kind {
    let c = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        _ => c,
    };
    Kind::Keep(match c {
        'A'..='Z' => c.to_ascii_lowercase(),
        'a'..='z' | '0'..='9' | '#' | '&' | '+' | '@' | '/' => c,
        '-' | '_' | '~' | '～' | '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '─' | '━' | 'ー' | '﹣' => {
            '-'
        }
        '(' | '[' | '{' | '<' | '〔' | '【' | '《' | '〈' | '「' | '『' | '〖' => '(',
        ')' | ']' | '}' | '>' | '〕' | '】' | '》' | '〉' | '」' | '』' | '〗' => ')',
        '\\' => '/',
        '○' | '◯' => '〇',
        '.' | '。' => return Kind::Dot,
        '·' | '•' | '・' | '‧' | '●' => return Kind::MiddleDot,
        '①'..='⑳' => return Kind::Number(c as u32 - '①' as u32 + 1),
        'Ⅰ'..='Ⅻ' => return Kind::Number(c as u32 - 'Ⅰ' as u32 + 1),
        '"'
        | '\''
        | '`'
        | '“'
        | '”'
        | '‘'
        | '’'
        | '\u{00ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}' => return Kind::Drop,
        ' ' | '\t' | '\r' | '\n' | ',' | '、' | ';' | ':' | '!' | '?' | '|' | '…' | '^' | '*' | '=' | '$'
        | '%' | '\u{3000}' => return Kind::Separator,
        _ if c.is_whitespace() || c.is_control() => return Kind::Separator,
        _ if c >= '\u{2e80}' => simplified(c),
        _ => c.to_lowercase().next().unwrap_or(c),
    })
}

const FIRST_IDEOGRAPH: u32 = 0x4e00;
const LAST_IDEOGRAPH: u32 = 0x9fff;
const ASCII: u32 = 0x80;

/// Of ASCII and the common ideographs: what stays as it is, without another look.
#[derive(Clone, Copy, PartialEq)]
enum Quick {
    No,
    Keep,
    /// The same, but it may be a number: numerals, and the letter O.
    KeepNumber,
}

const QUICK: usize = (ASCII + LAST_IDEOGRAPH - FIRST_IDEOGRAPH + 1) as usize;

fn quick_table() -> &'static [Quick; QUICK] {
    static TABLE: OnceLock<[Quick; QUICK]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = [Quick::No; QUICK];
        let chars = (0..ASCII).chain(FIRST_IDEOGRAPH..=LAST_IDEOGRAPH).filter_map(char::from_u32);
        for (quick, c) in table.iter_mut().zip(chars) {
            *quick = match kind(c) {
                Kind::Keep(same) if same != c || c == '-' => Quick::No,
                Kind::Keep(_) if may_be_number(c) => Quick::KeepNumber,
                Kind::Keep(_) => Quick::Keep,
                _ => Quick::No,
            };
        }
        table
    })
}

fn may_be_number(c: char) -> bool {
    c == 'o' || is_numeral(c)
}

/// Writes every character that stays, folded, to `out`, which has room for all. Gives where the first one stands that
/// may be a number in other than digits.
pub(super) fn write(text: &str, out: &mut Folded) -> Option<usize> {
    let mut first_number = None;
    let (mut byte, mut at) = (0, 0);
    loop {
        (byte, at) = write_quick(text, byte, at, out, &mut first_number);
        let mut rest = text[byte..].chars();
        let Some(c) = rest.next() else { break };
        let before = out.length;
        write_one(c, at, rest.as_str(), out);
        if out.length > before && may_be_number(out.chars[before]) {
            first_number = first_number.or(Some(before));
        }
        (byte, at) = (byte + c.len_utf8(), at + 1);
    }
    if out.last() == Some(' ') {
        out.length -= 1;
    }
    first_number
}

/// Writes what stays as it is from `byte` on, which is character number `at`. Gives where it stopped.
#[inline(never)]
fn write_quick(
    text: &str,
    byte: usize,
    at: u32,
    out: &mut Folded,
    first_number: &mut Option<usize>,
) -> (usize, u32) {
    let table = quick_table();
    let mut bytes = &text.as_bytes()[byte..];
    let start = out.length;
    let room = out.chars[start..].iter_mut().zip(&mut out.from[start..]).zip(&mut out.to[start..]);
    let mut next = at;
    for ((char, from), to) in room {
        let (n, rest) = match *bytes {
            [a, ref rest @ ..] if a < 0x80 => (u32::from(a), rest),
            [a @ 0xe0..=0xef, b, c, ref rest @ ..] => {
                (u32::from(a & 0x0f) << 12 | u32::from(b & 0x3f) << 6 | u32::from(c & 0x3f), rest)
            }
            _ => break,
        };
        let place = match n {
            0..ASCII => n,
            FIRST_IDEOGRAPH..=LAST_IDEOGRAPH => n - FIRST_IDEOGRAPH + ASCII,
            _ => break,
        };
        match (table[place as usize], char::from_u32(n)) {
            (Quick::Keep, Some(c)) => *char = c,
            (Quick::KeepNumber, Some(c)) => {
                *char = c;
                *first_number = first_number.or(Some(start + (next - at) as usize));
            }
            _ => break,
        }
        *from = next;
        next += 1;
        *to = next;
        bytes = rest;
    }
    out.length = start + (next - at) as usize;
    (text.len() - bytes.len(), next)
}

fn write_one(c: char, at: u32, next: &str, out: &mut Folded) {
    let between_digits = |out: &Folded| {
        out.last().is_some_and(|l| l.is_ascii_digit())
            && next.chars().next().is_some_and(|n| n.is_ascii_digit() || ('０'..='９').contains(&n))
    };
    match kind(c) {
        Kind::Drop => {}
        Kind::Number(n) => {
            if n >= 10 {
                out.push(digit(n / 10), at, at + 1);
            }
            out.push(digit(n % 10), at, at + 1);
        }
        Kind::MiddleDot if between_digits(out) => dash(out, at),
        Kind::MiddleDot => {}
        Kind::Dot if between_digits(out) => out.push('.', at, at + 1),
        Kind::Dot | Kind::Separator => {
            if out.last().is_some_and(|l| l != ' ') {
                out.push(' ', at, at + 1);
            }
        }
        Kind::Keep('-') => dash(out, at),
        Kind::Keep(c) => out.push(c, at, at + 1),
    }
}

fn digit(n: u32) -> char {
    char::from_digit(n, 10).unwrap_or('0')
}

fn dash(out: &mut Folded, at: u32) {
    match out.last() {
        Some('-') => out.to[out.length - 1] = at + 1,
        _ => out.push('-', at, at + 1),
    }
}
