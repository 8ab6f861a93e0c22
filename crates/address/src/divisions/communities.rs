//! The communities of one city, unpacked when a text first needs them: 620,000 are too many for every command to
//! read at its start, and few commands meet more than one province.
//!
//! ```text
//!  packed, behind their township:  锁四C锁v#005岗z…       C: 社区居委会   v: 庄   005: the code's last digits
//!  unpacked, by city:              names, codes, and a hash table of the names as texts write them
//! ```
//! A name in a text means a community only within a city that the text or its feed names, so there is no table of
//! all communities: the one far away cannot win.

use super::names::NameFolder;
use crate::charset::one_of;

/// The signs of the packed lists, from the head of the file.
#[derive(Debug)]
pub(super) struct Signs {
    /// By the letters A to Z: what ends a name.
    ends: [&'static str; 26],
    /// By ASCII characters: what stands within a name.
    parts: [&'static str; 128],
}

impl Default for Signs {
    fn default() -> Self {
        Self { ends: [""; 26], parts: [""; 128] }
    }
}

impl Signs {
    /// Takes a line `ends A村委会 B…` or `parts a家 b东…`, parted by tabs; false where it is another line.
    pub fn take(&mut self, line: &'static str) -> bool {
        let Some((table, entries)) = line.split_once('\t') else { return false };
        for entry in entries.split('\t') {
            let sign = entry.bytes().next().unwrap_or_default();
            let slot = match table {
                "ends" => self.ends.get_mut(usize::from(sign.wrapping_sub(b'A'))),
                "parts" => self.parts.get_mut(usize::from(sign)),
                _ => return false,
            };
            if let (Some(slot), Some(text)) = (slot, entry.get(1..)) {
                *slot = text;
            }
        }
        true
    }
}

/// The communities of one city, in the order of their codes.
#[derive(Debug, Default)]
pub(super) struct City {
    names: String,
    /// Where each name begins in `names`; one more at the end.
    starts: Vec<u32>,
    /// The last three digits of each code.
    codes: Vec<u16>,
    /// Per division of the city: its first community; one more at the end.
    first: Vec<u32>,
    /// 48 bits of the hash of a name as texts write it, then the community's number plus 1; 0 is free.
    slots: Vec<u64>,
    beginnings: Beginnings,
}

/// Bit (hash of two characters) is set where a name begins with them. In place: it is what most texts look at.
#[derive(Debug)]
struct Beginnings([u64; BEGINNINGS / 64]);

impl Default for Beginnings {
    fn default() -> Self {
        Self([0; BEGINNINGS / 64])
    }
}

const NUMBER: u64 = 0xffff;

impl City {
    /// Unpacks the lists of the divisions of one city, in their order; most have none.
    pub fn unpack(signs: &Signs, lists: impl Iterator<Item = &'static str>) -> City {
        let mut city = City::default();
        for list in lists {
            city.first.push(city.codes.len() as u32);
            city.unpack_list(signs, list);
        }
        city.first.push(city.codes.len() as u32);
        city.starts.push(city.names.len() as u32);
        city.names.shrink_to_fit();
        city.starts.shrink_to_fit();
        city.codes.shrink_to_fit();
        city.index();
        city
    }

    fn unpack_list(&mut self, signs: &Signs, list: &'static str) {
        let (mut code, mut digits, mut begins) = (0, 0, true);
        let mut chars = list.chars();
        while let Some(c) = chars.next() {
            if let Some(digit) = c.to_digit(10) {
                digits = digits * 10 + digit as u16;
                continue;
            }
            if begins {
                code = if digits == 0 { code + 1 } else { digits };
                self.starts.push(self.names.len() as u32);
                self.codes.push(code);
                (digits, begins) = (0, false);
            }
            match c {
                '\\' => self.names.extend(chars.next()),
                'A'..='Z' => {
                    self.names.push_str(signs.ends[c as usize - 'A' as usize]);
                    begins = true;
                }
                _ if c.is_ascii() => self.names.push_str(signs.parts[c as usize]),
                _ => self.names.push(c),
            }
        }
    }

    fn index(&mut self) {
        let capacity = (self.codes.len() * 3 / 2).next_power_of_two().max(2);
        self.slots = vec![0; capacity];
        let mut names = NameFolder::default();
        for local in 0..self.codes.len() {
            let (bare, ends) = as_written(names.fold(self.name(local)));
            for end in ends {
                let mut name = bare.iter().copied().chain(end.chars());
                let beginning = name.by_ref().take(2).fold(0, hashed);
                let (word, bit) = beginning_bit(beginning);
                self.beginnings.0[word] |= bit;
                let hash = name.fold(beginning, hashed);
                self.insert(hash & !NUMBER | (local as u64 + 1), slot(hash, capacity));
            }
        }
    }

    fn insert(&mut self, entry: u64, mut at: usize) {
        let mask = self.slots.len() - 1;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = entry;
    }

    pub fn name(&self, local: usize) -> &str {
        let end = self.starts.get(local + 1).map_or(self.names.len(), |&end| end as usize);
        &self.names[self.starts[local] as usize..end]
    }

    pub fn code(&self, local: usize) -> u16 {
        self.codes[local]
    }

    /// The communities of the city's division number `division`.
    pub fn of(&self, division: usize) -> std::ops::Range<usize> {
        self.first[division] as usize..self.first[division + 1] as usize
    }

    /// The community with this code in the city's division number `division`.
    pub fn by_code(&self, division: usize, code: u16) -> Option<usize> {
        let range = self.of(division);
        self.codes[range.clone()].binary_search(&code).ok().map(|at| range.start + at)
    }

    /// The city's division number that a community lies in.
    pub fn division_of(&self, local: usize) -> usize {
        self.first.partition_point(|&first| first as usize <= local) - 1
    }

    /// Calls `found(length, community)` for every community whose name, as texts write it, begins `text`.
    pub fn prefixes(&self, text: &[char], mut found: impl FnMut(usize, usize)) {
        let [first, second, ..] = *text else { return };
        let (word, bit) = beginning_bit(hashed(hashed(0, first), second));
        if self.beginnings.0[word] & bit == 0 {
            return;
        }
        let mask = self.slots.len() - 1;
        let mut hash = hashed(0, first);
        for (at, &c) in text.iter().enumerate().take(LONGEST).skip(1) {
            hash = hashed(hash, c);
            if !may_end(c) {
                continue;
            }
            let mut at_slot = slot(hash, self.slots.len());
            while self.slots[at_slot] != 0 {
                let entry = self.slots[at_slot];
                if entry & !NUMBER == hash & !NUMBER {
                    found(at + 1, (entry & NUMBER) as usize - 1);
                }
                at_slot = (at_slot + 1) & mask;
            }
        }
    }
}

/// Characters of the longest name that is looked for.
const LONGEST: usize = 24;

/// Names as texts write them end so: 村, 社区, 嘎查, 生产队, 牧委会 … All but some sixty of 620,000 do.
fn may_end(c: char) -> bool {
    one_of!(c, "村区查会队)委员")
}

/// Where the longest name that may begin `text` ends; most texts show at once that there is none.
pub(super) fn reach(text: &[char]) -> Option<usize> {
    let near = &text[..text.len().min(LONGEST)];
    near.iter().rposition(|&c| may_end(c)).map(|last| last + 1)
}

fn hashed(hash: u64, c: char) -> u64 {
    (hash.rotate_left(5) ^ u64::from(c as u32)).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// Bits of a city's table of beginnings: some 2,000 names leave most of them free.
const BEGINNINGS: usize = 1 << 13;

fn beginning_bit(hash: u64) -> (usize, u64) {
    let bit = (hash >> 40) as usize % BEGINNINGS;
    (bit / 64, 1 << (bit % 64))
}

/// By the upper bits: the lower ones of a product depend on few characters.
fn slot(hash: u64, capacity: usize) -> usize {
    (hash >> 20) as usize & (capacity - 1)
}

/// The offices that a community is listed by, and what a text writes after a name that says not itself what it is.
const OFFICES: [(&[char], &str); 9] = [
    (&['社', '区', '居', '民', '委', '员', '会'], "社区"),
    (&['社', '区', '村', '民', '委', '员', '会'], "社区"),
    (&['社', '区', '居', '委', '会'], "社区"),
    (&['社', '区', '村', '委', '会'], "社区"),
    (&['居', '民', '委', '员', '会'], "社区"),
    (&['村', '民', '委', '员', '会'], "村"),
    (&['居', '委', '会'], "社区"),
    (&['村', '委', '会'], "村"),
    (&['社', '区', '居', '委'], "社区"),
];

/// A listed name as texts write it: its own part, and what may follow. 张庄村民委员会 is 张庄村, 锁四居委会 is 锁四社区,
/// 石桥村居委会 is 石桥村 or 石桥村社区; 云栖新村 alone is the estate, not its community.
fn as_written(name: &[char]) -> (&[char], &'static [&'static str]) {
    let office = OFFICES.iter().find(|(office, _)| name.len() > office.len() && name.ends_with(office));
    let office = office.map(|(office, kind)| (&name[..name.len() - office.len()], *kind));
    let Some((bare, kind)) = office else { return (name, &[""]) };
    let ends: &[&str] = match (kind, bare) {
        (_, [.., '社', '区'] | [.., '嘎', '查']) | ("村", [.., '村']) => &[""],
        ("村", _) => &["村"],
        (_, [.., '新', '村']) => &["社区"],
        (_, [.., '村']) => &["", "社区"],
        _ => &["社区"],
    };
    (bare, ends)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn city(lists: &'static [&'static str]) -> City {
        let mut signs = Signs::default();
        assert!(signs.take("ends\tA村民委员会\tB社区居委会\tZ") && signs.take("parts\ta家\tb新"));
        City::unpack(&signs, lists.iter().copied())
    }

    fn found(city: &City, text: &str) -> Vec<String> {
        let text: Vec<char> = text.chars().collect();
        let mut out = Vec::new();
        city.prefixes(&text, |length, n| out.push(format!("{length} {}", city.name(n))));
        out
    }

    #[test]
    fn packed_lists_give_names_and_codes_back() {
        let city = city(&["", "云aA石桥B201b桥A\\1队Z", "云aA"]);
        let all: Vec<(&str, u16)> = (0..city.codes.len()).map(|n| (city.name(n), city.code(n))).collect();
        assert_eq!(
            all,
            [
                ("云家村民委员会", 1),
                ("石桥社区居委会", 2),
                ("新桥村民委员会", 201),
                ("1队", 202),
                ("云家村民委员会", 1)
            ]
        );
        assert_eq!((city.of(0), city.of(1), city.of(2)), (0..0, 0..4, 4..5));
        assert_eq!((city.by_code(1, 201), city.by_code(1, 3)), (Some(2), None));
        assert_eq!((city.division_of(0), city.division_of(3), city.division_of(4)), (1, 1, 2));
    }

    #[test]
    fn texts_name_communities_without_their_office_and_namesakes_are_all_found() {
        let city = city(&["云aA石桥B", "云aA"]);
        assert_eq!(found(&city, "云家村3组"), ["3 云家村民委员会", "3 云家村民委员会"]);
        assert_eq!(found(&city, "石桥社区"), ["4 石桥社区居委会"]);
        assert!(found(&city, "云家").is_empty() && found(&city, "石桥村").is_empty());
    }

    #[test]
    fn an_estate_and_the_community_named_after_it_are_told_apart() {
        let written = |name: &str| {
            let name: Vec<char> = name.chars().collect();
            let (bare, ends) = as_written(&name);
            ends.iter().map(|end| bare.iter().collect::<String>() + end).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(written("云栖新村居委会"), "云栖新村社区");
        assert_eq!(written("云栖新村社区居委会"), "云栖新村社区");
        assert_eq!(written("云栖村居委会"), "云栖村 云栖村社区");
        assert_eq!(written("云栖村委会"), "云栖村");
        assert_eq!(written("巴彦嘎查村民委员会"), "巴彦嘎查");
        assert_eq!(written("村委会"), "村委会");
    }
}
