//! Which records of a shard an edition answers otherwise than what is known of them.

use std::sync::Arc;

use yibiao_address::Memo;
use yibiao_records::FactId;

use crate::{
    Error,
    diff::Located,
    gazetteer::Edition,
    resolve::{Places, Question},
    source::Resolves,
    state::{ShardPrefix, State},
};

/// Records that are asked again in one pass over a raw partition: 32 MiB of offsets.
const PASS_RECORDS: usize = 4 << 20;

/// How far a walk over a shard's records has come.
#[derive(Default)]
pub struct Walk {
    /// None: from the first on.
    standing: Option<FactId>,
    waiting: Option<FactId>,
    standing_done: bool,
    waiting_done: bool,
}

impl Walk {
    pub fn is_at_end(&self) -> bool {
        self.standing_done && self.waiting_done
    }

    /// The raw offsets, ascending, of the next records that this edition answers otherwise.
    pub fn go_on(
        mut self,
        state: &State,
        shard: ShardPrefix,
        feed: &Resolves,
        edition: &Edition,
        cache: usize,
    ) -> Result<(Self, Vec<i64>), Error> {
        let mut asks = Asks { state, feed, edition, places: Places::new(cache), questions: Memo::new(cache) };
        let mut offsets = Vec::new();
        let first = FactId::from_bytes([0; 16]);
        if !self.standing_done {
            self.standing_done = true;
            for record in state.records(shard, self.standing.unwrap_or(first)) {
                let (key, known) = record?;
                let Some(standing) = known.standing.filter(|it| it.asked != 0) else { continue };
                if standing.gazetteer == edition.short() {
                    continue;
                }
                let moved = asks.answer(standing.asked, standing.valid_from_ms)?.is_some_and(|now| {
                    (now.place, now.level, now.provisional, now.division_code)
                        != (standing.place, standing.level, standing.provisional, standing.division_code)
                });
                if moved {
                    offsets.push(known.origin);
                    self.standing = Some(key.fact());
                    if offsets.len() >= PASS_RECORDS {
                        self.standing_done = false;
                        break;
                    }
                }
            }
        }
        if self.standing_done && !self.waiting_done {
            self.waiting_done = true;
            for record in state.waiting(shard, self.waiting.unwrap_or(first)) {
                let (key, waiting) = record?;
                if asks.answer(waiting.asked, waiting.valid_from_ms)?.is_some() {
                    offsets.push(waiting.origin);
                    self.waiting = Some(key.fact());
                    if offsets.len() >= PASS_RECORDS {
                        self.waiting_done = false;
                        break;
                    }
                }
            }
        }
        offsets.sort_unstable();
        offsets.dedup();
        Ok((self, offsets))
    }
}

struct Asks<'a> {
    state: &'a State,
    feed: &'a Resolves,
    edition: &'a Edition,
    places: Places,
    questions: Memo<Arc<Question<'static>>>,
}

impl Asks<'_> {
    /// The place, if the edition has one.
    fn answer(&mut self, asked: u128, valid_from_ms: i64) -> Result<Option<Located>, Error> {
        let question = match self.questions.get(asked) {
            Some(question) => question.clone(),
            None => {
                let Some(question) = self.state.question(asked)?.map(Arc::new) else { return Ok(None) };
                self.questions.put(asked, question.clone());
                question
            }
        };
        Ok(self.places.locate(self.edition, self.feed, &question, asked, valid_from_ms).ok())
    }
}
