//! Lists of words, found by one of their characters: nearly always a single look tells that none is there.

use std::sync::OnceLock;

/// Words that are looked for where a text begins or ends with them. Laid out when first used.
pub(crate) struct Words {
    /// Parted by spaces.
    list: &'static str,
    table: OnceLock<Table>,
}

struct Table {
    /// Bit (character modulo 4096) is set where a word begins, or ends, with the character.
    begins: [u64; 64],
    ends: [u64; 64],
    by_first: Vec<Vec<char>>,
    by_last: Vec<Vec<char>>,
}

fn bit(c: char) -> (usize, u64) {
    let n = c as u32 % 4096;
    ((n / 64) as usize, 1 << (n % 64))
}

impl Words {
    pub const fn new(list: &'static str) -> Self {
        Self { list, table: OnceLock::new() }
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| {
            let words: Vec<Vec<char>> = self.list.split_whitespace().map(|w| w.chars().collect()).collect();
            let mut table =
                Table { begins: [0; 64], ends: [0; 64], by_first: words.clone(), by_last: words.clone() };
            for word in &words {
                if let [first, .., last] | [first @ last] = word[..] {
                    table.begins[bit(first).0] |= bit(first).1;
                    table.ends[bit(last).0] |= bit(last).1;
                }
            }
            // Of one character the longest first, so that the first match is the longest.
            table.by_first.sort_by_key(|w| (w.first().copied(), std::cmp::Reverse(w.len())));
            table.by_last.sort_by_key(|w| (w.last().copied(), std::cmp::Reverse(w.len())));
            table
        })
    }

    /// The length of the longest word that `text` begins with; 0 where there is none.
    pub fn beginning(&self, text: &[char]) -> usize {
        let Some(&first) = text.first() else { return 0 };
        let table = self.table();
        let (at, mask) = bit(first);
        if table.begins[at] & mask == 0 {
            return 0;
        }
        let from = table.by_first.partition_point(|w| w.first() < Some(&first));
        let same = table.by_first[from..].iter().take_while(|w| w.first() == Some(&first));
        same.map(Vec::as_slice).find(|w| text.starts_with(w)).map_or(0, <[char]>::len)
    }

    /// The length of the longest word that `text` ends with; 0 where there is none.
    pub fn ending(&self, text: &[char]) -> usize {
        let Some(&last) = text.last() else { return 0 };
        let table = self.table();
        let (at, mask) = bit(last);
        if table.ends[at] & mask == 0 {
            return 0;
        }
        let from = table.by_last.partition_point(|w| w.last() < Some(&last));
        let same = table.by_last[from..].iter().take_while(|w| w.last() == Some(&last));
        same.map(Vec::as_slice).find(|w| text.ends_with(w)).map_or(0, <[char]>::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_is_found_at_either_end() {
        static WORDS: Words = Words::new("园 花园 小区 工业园 工业园区");
        let text = |s: &str| s.chars().collect::<Vec<char>>();
        assert_eq!(WORDS.ending(&text("云栖花园")), 2);
        assert_eq!(WORDS.ending(&text("青山工业园")), 3);
        assert_eq!(WORDS.beginning(&text("工业园区东路")), 4);
        assert_eq!(WORDS.beginning(&text("东工业园区")), 0);
        assert_eq!(WORDS.ending(&[]), 0);
    }
}
