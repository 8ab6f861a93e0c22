//! A column of whole numbers, packed: blocks of 128 values, each value as its distance from the least of its block, in
//! as many bits as the widest of them needs. Any value is read by itself.
//!
//! ```text
//!  count u64 │ per block: least u64, first word << 8 | bits │ words u64 …, and one more
//! ```

use super::file::u64_at;
use crate::lexicon::partition;

const BLOCK: usize = 128;
const HEAD: usize = 8;
const BLOCK_HEAD: usize = 16;

/// Takes values one by one.
#[derive(Debug, Default)]
pub(super) struct ColumnWriter {
    open: Vec<u64>,
    heads: Vec<u8>,
    words: Vec<u64>,
    count: u64,
}

impl ColumnWriter {
    pub fn push(&mut self, value: u64) {
        self.open.push(value);
        self.count += 1;
        if self.open.len() == BLOCK {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(&least) = self.open.iter().min() else { return };
        let widest = self.open.iter().map(|v| v - least).max().unwrap_or(0);
        let bits = 64 - widest.leading_zeros();
        self.heads.extend_from_slice(&least.to_le_bytes());
        self.heads.extend_from_slice(&((self.words.len() as u64) << 8 | u64::from(bits)).to_le_bytes());
        let first = self.words.len();
        self.words.resize(first + (self.open.len() * bits as usize).div_ceil(64), 0);
        for (i, value) in self.open.drain(..).enumerate() {
            let at = i * bits as usize;
            let (word, shift, value) = (first + at / 64, at % 64, value - least);
            if bits == 0 {
                continue;
            }
            self.words[word] |= value << shift;
            if shift + bits as usize > 64 {
                self.words[word + 1] |= value >> (64 - shift);
            }
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        // One more, so that a value's two words can be read without asking whether there is a second.
        self.words.push(0);
        let mut out = Vec::with_capacity(HEAD + self.heads.len() + self.words.len() * 8);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.heads);
        self.words.iter().for_each(|w| out.extend_from_slice(&w.to_le_bytes()));
        out
    }
}

impl FromIterator<u64> for ColumnWriter {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut writer = Self::default();
        values.into_iter().for_each(|v| writer.push(v));
        writer
    }
}

/// A packed column in the bytes of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'a> {
    heads: &'a [u8],
    words: &'a [u8],
    count: usize,
}

impl<'a> Column<'a> {
    /// Whatever the bytes: a damaged column has wrong values, or fewer.
    pub fn new(bytes: &'a [u8]) -> Self {
        let count = usize::try_from(u64_at(bytes, 0)).unwrap_or(usize::MAX);
        let rest = bytes.get(HEAD..).unwrap_or_default();
        let heads = count.div_ceil(BLOCK).checked_mul(BLOCK_HEAD).filter(|&length| length <= rest.len());
        let Some(heads) = heads else { return Self { heads: &[], words: &[], count: 0 } };
        let (heads, words) = rest.split_at(heads);
        Self { heads, words, count }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// The value at `i`; 0 beyond the end.
    #[inline]
    pub fn get(&self, i: usize) -> u64 {
        let block = i / BLOCK * BLOCK_HEAD;
        if i >= self.count {
            return 0;
        }
        let (least, head) = (u64_at(self.heads, block), u64_at(self.heads, block + 8));
        let bits = (head & 0xff) as usize;
        if bits == 0 {
            return least;
        }
        let at = i % BLOCK * bits;
        let word = ((head >> 8) as usize).saturating_add(at / 64).saturating_mul(8);
        let shift = at % 64;
        let low = u64_at(self.words, word) >> shift;
        // Two shifts, because one by 64 is none.
        let high = u64_at(self.words, word.saturating_add(8)) << 1 << (63 - shift);
        let mask = u64::MAX >> (64 - bits.min(64));
        least.wrapping_add((low | high) & mask)
    }

    /// The value at `i` as a position or count.
    #[inline]
    pub fn get_u32(&self, i: usize) -> u32 {
        u32::try_from(self.get(i)).unwrap_or(u32::MAX)
    }

    /// How many values lie at or below `value`, in a column that never falls: found by the blocks' heads, then within
    /// one block.
    pub fn count_up_to(&self, value: u64) -> usize {
        let blocks = self.heads.len() / BLOCK_HEAD;
        let block = partition(0, blocks, |b| u64_at(self.heads, b * BLOCK_HEAD) <= value);
        let Some(block) = block.checked_sub(1) else { return 0 };
        let end = ((block + 1) * BLOCK).min(self.count);
        partition(block * BLOCK, end, |i| self.get(i) <= value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_whatever_its_width(
            values in prop::collection::vec(prop_oneof![0u64..20, any::<u64>(), Just(u64::MAX)], 0..600),
        ) {
            let bytes = values.iter().copied().collect::<ColumnWriter>().finish();
            let column = Column::new(&bytes);
            prop_assert_eq!(column.len(), values.len());
            let read: Vec<u64> = (0..values.len()).map(|i| column.get(i)).collect();
            prop_assert_eq!(read, values);
            prop_assert_eq!(column.get(column.len()), 0);
        }

        #[test]
        fn a_place_in_a_rising_column_is_found_as_by_counting(
            mut values in prop::collection::vec(0u64..3_000, 0..600), looked_for in 0u64..3_100,
        ) {
            values.sort_unstable();
            let bytes = values.iter().copied().collect::<ColumnWriter>().finish();
            let expected = values.iter().filter(|&&v| v <= looked_for).count();
            prop_assert_eq!(Column::new(&bytes).count_up_to(looked_for), expected);
        }

        #[test]
        fn damaged_bytes_are_read_as_some_numbers(bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..1_000) {
            let column = Column::new(&bytes);
            column.get(at);
            column.count_up_to(at as u64);
        }
    }

    #[test]
    fn values_near_each_other_take_few_bits() {
        let bytes = (1_000_000u64..1_010_000).collect::<ColumnWriter>().finish();
        assert!(bytes.len() < 10_000 * 9 / 8 + 16, "{} bytes for 10,000 values in a row", bytes.len());
    }
}
