//! What was applied already: duplicates and zombies are told by their raw positions.
//!
//! | the frame's raw offsets, against the mark | then |
//! |---|---|
//! | all below | skipped, its data is not looked at |
//! | the last one equal, or the mark in between | rows at or below the mark are skipped |
//! | all above | applied |

use std::collections::HashMap;

use yibiao_records::{FrameHeader, RawPosition};
use yibiao_tables::shard::{Mark, MarkKey};

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Skip,
    /// Apply the rows after this position; None: all.
    After(Option<RawPosition>),
}

/// The highest raw position applied, by std topic and raw partition. One entry a feed's partition and kind.
#[derive(Debug, Default)]
pub struct Marks(HashMap<MarkKey, RawPosition>);

impl Marks {
    pub fn new(marks: Vec<Mark>) -> Self {
        Self(marks.into_iter().collect())
    }

    /// By the header alone.
    pub fn decide(&self, key: &MarkKey, header: &FrameHeader) -> Decision {
        match self.0.get(key) {
            Some(mark) if header.last_offset < mark.offset => Decision::Skip,
            Some(mark) if header.first_offset > mark.offset => Decision::After(None),
            mark => Decision::After(mark.copied()),
        }
    }

    /// Raises the mark; it never falls.
    pub fn applied(&mut self, key: &MarkKey, raw: RawPosition) {
        match self.0.get_mut(key) {
            Some(mark) => *mark = (*mark).max(raw),
            None => {
                self.0.insert(key.clone(), raw);
            }
        }
    }

    pub fn get(&self, key: &MarkKey) -> Option<RawPosition> {
        self.0.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_skipped_exactly_when_all_of_it_was_applied() {
        let key = MarkKey { std_topic: "std.water".into(), raw_topic: "raw.a.b".into(), raw_partition: 0 };
        let frame =
            |first_offset, last_offset| FrameHeader { first_offset, last_offset, ..Default::default() };
        let at = |offset, index| RawPosition { offset, index };
        let mut marks = Marks::default();
        assert_eq!(marks.decide(&key, &frame(0, 5)), Decision::After(None));
        marks.applied(&key, at(5, 1));
        marks.applied(&key, at(3, 0));
        assert_eq!(marks.get(&key), Some(at(5, 1)));
        assert_eq!(marks.decide(&key, &frame(0, 4)), Decision::Skip);
        // The record at offset 5 may have had a third fact, in a frame of its own.
        assert_eq!(marks.decide(&key, &frame(0, 5)), Decision::After(Some(at(5, 1))));
        assert_eq!(marks.decide(&key, &frame(4, 9)), Decision::After(Some(at(5, 1))));
        assert_eq!(marks.decide(&key, &frame(6, 9)), Decision::After(None));
        let other = MarkKey { raw_partition: 1, ..key };
        assert_eq!(marks.decide(&other, &frame(0, 4)), Decision::After(None));
    }
}
