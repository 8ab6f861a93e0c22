//! The batch of a fusion shard: which places it touches, what it reads, and what it writes in one piece.

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

use crate::{
    rows::City,
    store::{FACTS, META, OUTBOX, PLACES, POSITIONS, Store, View, Write},
};

const SEQUENCE: &[u8] = b"sequence";
/// Projection and delivery are so many batches behind; what they have is trimmed.
const BATCHES_KEPT: u64 = 20;
/// A fact and a row for each touched place.
const CHANGES_PER_TOUCH: u64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// Every place as often.
    Uniform,
    /// The place of rank r with a share of 1/r (Zipf).
    Skewed,
}

/// Batches in their order, from 1; the same for every engine.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    pub city: City,
    pub touched: u64,
    pub choice: Choice,
}

/// A touched place, and the number of the fact that is said of it.
type Touch = (u64, u64);

impl Batches {
    /// In the order of places. Four fifths correct a fact that is there, one fifth brings a new one.
    fn touches(&self, number: u64) -> Vec<Touch> {
        let mut random = ChaCha8Rng::seed_from_u64(number);
        let mut places = BTreeSet::new();
        let wanted = self.touched.min(self.city.places / 2);
        while (places.len() as u64) < wanted {
            places.insert(match self.choice {
                Choice::Uniform => random.random_range(0..self.city.places),
                Choice::Skewed => {
                    let rank = (self.city.places as f64).powf(random.random::<f64>()) as u64;
                    self.city.scattered(rank.min(self.city.places - 1))
                }
            });
        }
        let fact = |place| match random.random_range(0..5) {
            0 => 3 + number,
            _ => random.random_range(0..self.city.facts_of(place)),
        };
        let facts: Vec<u64> = places.iter().copied().map(fact).collect();
        places.into_iter().zip(facts).collect()
    }

    pub fn keys(&self, number: u64) -> Keys {
        let touches = self.touches(number);
        let mut places: Vec<_> = touches.iter().map(|(place, _)| self.city.place_key(*place)).collect();
        places.sort_unstable();
        let facts = touches.iter().map(|(place, fact)| self.city.fact_key(*place, *fact)).collect();
        Keys { places, facts }
    }

    pub fn writes(&self, number: u64) -> Vec<Write> {
        let city = &self.city;
        let touches = self.touches(number);
        let changes = touches.len() as u64 * CHANGES_PER_TOUCH;
        let mut sequence = (number - 1) * changes;
        let mut writes = Vec::with_capacity(touches.len() * 4 + 2);
        for (place, fact) in touches {
            let (row, said) = (city.place_row(place, number), city.fact_row(place, fact, number));
            let (place_key, fact_key) = (city.place_key(place), city.fact_key(place, fact));
            for change in [[&fact_key[..], &said].concat(), [&place_key[..], &row[..row.len() / 2]].concat()]
            {
                sequence += 1;
                writes.push(Write::put(OUTBOX, sequence.to_be_bytes().to_vec(), change));
            }
            writes.push(Write::put(FACTS, fact_key, said));
            writes.push(Write::put(PLACES, place_key, row));
        }
        writes.push(Write::put(META, SEQUENCE.to_vec(), sequence.to_be_bytes().to_vec()));
        writes.push(Write::put(POSITIONS, vec![0; 8], number.to_be_bytes().to_vec()));
        writes
    }

    /// What is trimmed from the change log after batch `number`.
    pub fn trims(&self, number: u64) -> Vec<Write> {
        let changes = self.touched.min(self.city.places / 2) * CHANGES_PER_TOUCH;
        let Some(through) = number.checked_sub(BATCHES_KEPT) else { return Vec::new() };
        let sequences = through.saturating_sub(1) * changes + 1..=through * changes;
        sequences.map(|sequence| Write::delete(OUTBOX, sequence.to_be_bytes().to_vec())).collect()
    }
}

pub struct Keys {
    pub places: Vec<Vec<u8>>,
    pub facts: Vec<Vec<u8>>,
}

impl Keys {
    /// Reads all, in order, and returns how many are there.
    pub fn read(&self, store: &dyn Store) -> Result<usize> {
        let mut found = 0;
        store.get_sorted(PLACES, &self.places, &mut |_, value| found += usize::from(value.is_some()))?;
        store.get_sorted(FACTS, &self.facts, &mut |_, value| found += usize::from(value.is_some()))?;
        Ok(found)
    }
}

/// The last batch that the store holds; 0 where it holds none.
pub fn last_batch(view: &dyn View) -> Result<u64> {
    let mut last = 0u64;
    view.get(POSITIONS, &[0; 8], &mut |value| {
        last = value.try_into().map(u64::from_be_bytes).unwrap_or_default()
    })?;
    Ok(last)
}

/// That everything of batch `number` stands in the store, and nothing of the one after it.
pub fn check_whole(view: &dyn View, batches: &Batches, number: u64) -> Result<()> {
    for write in batches.writes(number) {
        let mut is_equal = false;
        view.get(write.keyspace, &write.key, &mut |found| {
            is_equal = Some(found) == write.value.as_deref();
        })?;
        ensure!(is_equal, "batch {number} is not whole: keyspace {}, key {:?}", write.keyspace, write.key);
    }
    for write in batches.writes(number + 1).into_iter().filter(|write| write.keyspace == OUTBOX) {
        let is_there = view.get(OUTBOX, &write.key, &mut |_| ())?;
        ensure!(!is_there, "batch {} is there in part: change {:?}", number + 1, write.key);
    }
    Ok(())
}
