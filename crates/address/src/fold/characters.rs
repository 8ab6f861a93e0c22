//! The first half of folding: each character by itself.

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

/// Writes (folded character, first and last+1 character of the original) for every character that stays.
pub(super) fn stage(text: &str, out: &mut Vec<(char, u32, u32)>) {
    let mut chars = text.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        let at = at as u32;
        let between_digits = |out: &[(char, u32, u32)], next: Option<&(usize, char)>| {
            out.last().is_some_and(|l| l.0.is_ascii_digit())
                && next.is_some_and(|(_, n)| n.is_ascii_digit() || ('０'..='９').contains(n))
        };
        match kind(c) {
            Kind::Drop => {}
            Kind::Number(n) => {
                for digit in n.to_string().chars() {
                    out.push((digit, at, at + 1));
                }
            }
            Kind::MiddleDot if between_digits(out, chars.peek()) => dash(out, at),
            Kind::MiddleDot => {}
            Kind::Dot if between_digits(out, chars.peek()) => out.push(('.', at, at + 1)),
            Kind::Dot | Kind::Separator => {
                if out.last().is_some_and(|l| l.0 != ' ') {
                    out.push((' ', at, at + 1));
                }
            }
            Kind::Keep('-') => dash(out, at),
            Kind::Keep(c) => out.push((c, at, at + 1)),
        }
    }
    if out.last().is_some_and(|l| l.0 == ' ') {
        out.pop();
    }
}

fn dash(out: &mut Vec<(char, u32, u32)>, at: u32) {
    match out.last_mut() {
        Some(last) if last.0 == '-' => last.2 = at + 1,
        _ => out.push(('-', at, at + 1)),
    }
}
