//! Numbers from text, exactly: no float is ever between a source's digits and the thousandths.

/// Why a text is not the number that the contract says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberError {
    /// Not a number at all.
    Unreadable,
    /// A number with a fraction where a whole one is wanted.
    NotWhole,
    /// It does not fit in 64 bits of thousandths.
    TooBig,
}

/// Whole thousandths. Reads `12`, `-0.5`, `+3`, `.5`, `1,234.5`, `1.2e3`; rounds half away from zero beyond
/// three decimals (workbooks write 3.3 as 3.3000000000000003). The text is folded already.
pub fn thousandths(text: &str) -> Result<i64, NumberError> {
    let parts = split(text)?;
    if parts.exponent == 0 && parts.whole.len() <= 15 && !parts.whole.contains(&b',') {
        return Ok(sign(parts.negative, small(&parts)));
    }
    let digits = ungroup(parts.whole)?;
    let all = digits.iter().chain(parts.fraction).copied();
    // The power of ten of the last digit, counted in thousandths.
    let scale = i32::from(parts.exponent) + 3 - parts.fraction.len() as i32;
    let mut value: i128 = 0;
    for digit in all {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(digit - b'0')))
            .ok_or(NumberError::TooBig)?;
    }
    if scale >= 0 {
        for _ in 0..scale.min(40) {
            value = value.checked_mul(10).ok_or(NumberError::TooBig)?;
        }
    } else {
        let down = 10i128.checked_pow(scale.unsigned_abs().min(38)).ok_or(NumberError::TooBig)?;
        value = (value + down / 2) / down;
    }
    i64::try_from(value).map(|v| sign(parts.negative, v)).map_err(|_| NumberError::TooBig)
}

/// A whole number. Reads what [`thousandths`] reads, as long as the fraction is zero (`3.0`).
pub fn whole(text: &str) -> Result<i64, NumberError> {
    let bytes = text.as_bytes();
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    if !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit) {
        let value = digits.iter().fold(0i64, |n, d| n * 10 + i64::from(d - b'0'));
        return Ok(sign(digits.len() < bytes.len(), value));
    }
    match thousandths(text)? {
        value if value % 1000 == 0 => Ok(value / 1000),
        _ => Err(NumberError::NotWhole),
    }
}

struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i16,
}

fn split(text: &str) -> Result<Parts<'_>, NumberError> {
    let bytes = text.as_bytes();
    let (negative, rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let exponent_at = rest.iter().position(|b| matches!(b, b'e' | b'E'));
    let (mantissa, exponent) = match exponent_at {
        None => (rest, 0),
        Some(at) => {
            let text = std::str::from_utf8(&rest[at + 1..]).map_err(|_| NumberError::Unreadable)?;
            (&rest[..at], text.parse::<i8>().map_err(|_| NumberError::Unreadable)?.into())
        }
    };
    let (whole, fraction): (&[u8], &[u8]) = match mantissa.iter().position(|&b| b == b'.') {
        None => (mantissa, &[]),
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
    };
    let readable = whole.len() + fraction.len() > 0
        && whole.len() + fraction.len() <= 60
        && whole.iter().all(|b| b.is_ascii_digit() || *b == b',')
        && fraction.iter().all(u8::is_ascii_digit);
    readable.then_some(Parts { negative, whole, fraction, exponent }).ok_or(NumberError::Unreadable)
}

/// At most 15 whole digits, no exponent: fits without a check.
fn small(parts: &Parts<'_>) -> i64 {
    let mut value = parts.whole.iter().fold(0i64, |n, d| n * 10 + i64::from(d - b'0'));
    for at in 0..3 {
        value = value * 10 + parts.fraction.get(at).map_or(0, |d| i64::from(d - b'0'));
    }
    value + i64::from(parts.fraction.get(3).is_some_and(|d| *d >= b'5'))
}

/// `1,234,567` without its commas; other groupings are not numbers.
fn ungroup(whole: &[u8]) -> Result<Vec<u8>, NumberError> {
    let mut groups = whole.split(|&b| b == b',');
    let first = groups.next().unwrap_or_default();
    let mut digits = first.to_vec();
    let grouped = whole.contains(&b',');
    if grouped && !(1..=3).contains(&first.len()) {
        return Err(NumberError::Unreadable);
    }
    for group in groups {
        if group.len() != 3 {
            return Err(NumberError::Unreadable);
        }
        digits.extend_from_slice(group);
    }
    Ok(digits)
}

fn sign(negative: bool, value: i64) -> i64 {
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_exact_thousandths() {
        for (text, value) in [
            ("12", 12_000),
            ("-0.5", -500),
            ("+3", 3_000),
            (".5", 500),
            ("7.", 7_000),
            ("1,234.5", 1_234_500),
            ("1.2e3", 1_200_000),
            ("3.3000000000000003", 3_300),
            ("0.0005", 1),
            ("0.00049", 0),
            ("-0.0005", -1),
            ("1E-3", 1),
            ("12345678901234.5", 12_345_678_901_234_500),
            ("0", 0),
            ("1,234,567", 1_234_567_000),
        ] {
            assert_eq!(thousandths(text), Ok(value), "{text}");
        }
        for text in ["", "-", ".", "12吨", "1,23", "1.2.3", "NaN", "inf", "0x10", "1e", "--1", ",123", "1 2"]
        {
            assert_eq!(thousandths(text), Err(NumberError::Unreadable), "{text}");
        }
        assert_eq!(thousandths("99999999999999999999"), Err(NumberError::TooBig));
        assert_eq!(thousandths("9e120"), Err(NumberError::TooBig));
    }

    #[test]
    fn whole_numbers_may_carry_a_zero_fraction_and_nothing_else() {
        assert_eq!(whole("12"), Ok(12));
        assert_eq!(whole("-12.000"), Ok(-12));
        assert_eq!(whole("3.5"), Err(NumberError::NotWhole));
        assert_eq!(whole("三"), Err(NumberError::Unreadable));
    }
}
