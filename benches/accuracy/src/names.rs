//! When two ways to write a division or a door's number are the same, as the scorer counts it.

/// What a division's name may end with.
const SUFFIXES: [&str; 15] = [
    "特别行政区",
    "维吾尔自治区",
    "壮族自治区",
    "回族自治区",
    "自治区",
    "自治州",
    "自治县",
    "地区",
    "新区",
    "省",
    "市",
    "区",
    "县",
    "盟",
    "旗",
];

/// What a door's number may end with, several in a row.
const COUNTERS: [&str; 21] = [
    "号楼", "号院", "栋", "幢", "座", "棟", "楝", "楼", "单元", "门栋", "门", "梯", "室", "房间", "房", "号",
    "户", "铺", "#", "层", "f",
];

const DIGITS: &str = "零一二三四五六七八九";

/// A division's name without its suffix, where two characters remain.
pub(crate) fn stem(name: &str) -> &str {
    let longest = SUFFIXES.iter().filter_map(|s| name.strip_suffix(s)).min_by_key(|cut| cut.len());
    longest.filter(|cut| cut.chars().count() >= 2).unwrap_or(name)
}

fn digit(c: char) -> Option<u32> {
    match c {
        '〇' => Some(0),
        '两' | '贰' => Some(2),
        '壹' => Some(1),
        '叁' => Some(3),
        '肆' => Some(4),
        '伍' => Some(5),
        _ => DIGITS.chars().position(|d| d == c).map(|d| d as u32),
    }
}

fn arabic(text: &str) -> String {
    let mut out = String::new();
    let mut run: Vec<char> = Vec::new();
    for c in text.chars() {
        if c == '十' || c == '百' || digit(c).is_some() {
            run.push(c);
        } else {
            push_number(&mut run, &mut out);
            out.push(c);
        }
    }
    push_number(&mut run, &mut out);
    out
}

fn push_number(run: &mut Vec<char>, out: &mut String) {
    if run.iter().any(|c| matches!(c, '十' | '百')) {
        let (mut total, mut current) = (0, 0);
        for &c in run.iter() {
            match (c, digit(c)) {
                (_, Some(digit)) => current = digit,
                (c, None) => {
                    total += if current == 0 { 1 } else { current } * if c == '百' { 100 } else { 10 };
                    current = 0;
                }
            }
        }
        out.push_str(&(total + current).to_string());
    } else {
        run.iter().filter_map(|&c| digit(c)).for_each(|digit| out.push_str(&digit.to_string()));
    }
    run.clear();
}

/// The compatibility forms that numbers are written in.
fn plain(c: char) -> String {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).map_or_else(String::new, String::from),
        '\u{3000}' => " ".to_owned(),
        '①'..='⑳' => (c as u32 - '①' as u32 + 1).to_string(),
        'Ⅰ'..='Ⅻ' => ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"]
            [c as usize - 'Ⅰ' as usize]
            .to_owned(),
        _ => c.to_string(),
    }
}

/// The number of a door: in digits, without counters and leading zeros.
pub(crate) fn door(text: &str) -> String {
    let text: String = text.chars().map(plain).collect::<String>().to_lowercase();
    let text = text.trim_matches([' ', '-', '_', ',', '，']);
    let number = arabic(&text[..text.len() - counters(text)]);
    let zeros = number.bytes().take_while(|&b| b == b'0').count();
    let more = number[zeros..].starts_with(|c: char| c.is_ascii_digit());
    number[if more { zeros } else { zeros.saturating_sub(1) }..].to_owned()
}

/// How many bytes at the end of `text` are counters: as many as can be cut into counters to the end.
fn counters(text: &str) -> usize {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let mut cut = vec![false; text.len() + 1];
    cut[text.len()] = true;
    let mut most = 0;
    for &at in starts.iter().rev() {
        cut[at] = COUNTERS.iter().any(|c| text[at..].starts_with(c) && cut[at + c.len()]);
        if cut[at] {
            most = text.len() - at;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisions_are_compared_without_their_suffix() {
        assert_eq!(stem("南京市"), "南京");
        assert_eq!(stem("内蒙古自治区"), "内蒙古");
        assert_eq!(stem("沙县"), "沙县");
        assert_eq!(stem("南京"), "南京");
    }

    #[test]
    fn doors_are_compared_by_their_number() {
        assert_eq!(door("十二号楼"), "12");
        assert_eq!(door("0402室"), "402");
        assert_eq!(door("０"), "0");
        assert_eq!(door("Ａ座"), "a");
        assert_eq!(door("二单元门"), "2");
        assert_eq!(door(""), "");
    }
}
