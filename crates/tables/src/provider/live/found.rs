//! Where the superseded rows of a base table lie in its files.
//!
//! A file never changes, so that where it has a key, or that it does not, is true for ever: each key is looked for once in
//! each file. A scan that comes again reads no key; after a batch it looks for the batch's keys alone. Whatever version of
//! the table a query reads, and whatever else is asked meanwhile, what is remembered holds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray},
    datatypes::Int64Type,
};
use datafusion::{common::Result, error::DataFusionError};
use deltalake::parquet::arrow::arrow_reader::RowSelection;

use super::overlay::{Key, Keys};

/// So many files of a bucket are remembered, those that were asked for last: it has one, and a query may still read the
/// one before.
const FILES_A_BUCKET: usize = 3;

/// The file does not have the key.
const NOWHERE: u32 = u32::MAX;

/// By bucket, with their paths.
type Files = HashMap<i64, Vec<(String, Arc<Found>)>>;

/// What is known of the files of one table.
#[derive(Debug, Default)]
pub struct Known {
    files: Mutex<Files>,
}

/// Where one file has some keys; of a file that nothing is known of, none.
#[derive(Debug, Default)]
pub struct Found {
    keys: Keys,
    /// One a key.
    rows: Vec<u32>,
    /// Of the file.
    total: usize,
}

/// The rows of a file that have one of some keys, ascending.
#[derive(Debug)]
pub struct Rows {
    rows: Vec<u32>,
    total: usize,
}

impl Known {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, bucket: i64, path: &str) -> Option<Arc<Found>> {
        let mut files = self.files();
        let of = files.get_mut(&bucket)?;
        let at = of.iter().position(|(known, _)| known == path)?;
        of[..=at].rotate_right(1);
        Some(of[0].1.clone())
    }

    pub fn remember(&self, bucket: i64, path: &str, found: Arc<Found>) {
        let mut files = self.files();
        let of = files.entry(bucket).or_default();
        of.retain(|(known, _)| known != path);
        of.insert(0, (path.to_owned(), found));
        of.truncate(FILES_A_BUCKET);
    }
}

impl Found {
    /// Which of these keys were not looked for yet.
    pub fn unknown(&self, keys: &Keys) -> Vec<Key> {
        if Arc::ptr_eq(keys, &self.keys) {
            return Vec::new();
        }
        let mut unknown = Vec::new();
        self.each_of(keys, |key, row| {
            if row.is_none() {
                unknown.push(key.clone());
            }
        });
        unknown
    }

    /// Calls `take` with each of these keys and, where it was looked for, its row.
    fn each_of<'k>(&self, keys: &'k Keys, mut take: impl FnMut(&'k Key, Option<u32>)) {
        let mut at = 0;
        for key in keys.iter() {
            while self.keys.get(at).is_some_and(|known| known < key) {
                at += 1;
            }
            let is_known = self.keys.get(at) == Some(key);
            take(key, is_known.then(|| self.rows[at]));
        }
    }

    /// For these keys, of which the unknown ones were looked for.
    pub fn with(&self, keys: &Keys, sought: &Sought) -> Self {
        let (mut rows, mut next) = (Vec::with_capacity(keys.len()), sought.rows.iter());
        self.each_of(keys, |_, row| {
            rows.extend(row.or_else(|| next.next().copied()));
        });
        debug_assert!(rows.len() == keys.len() && next.next().is_none());
        Self { keys: keys.clone(), rows, total: sought.total }
    }

    /// The rows of these keys, all of which are known.
    pub fn rows_of(&self, keys: &Keys) -> Rows {
        let mut rows = Vec::with_capacity(keys.len());
        let mut take = |row: u32| {
            if row != NOWHERE {
                rows.push(row);
            }
        };
        match Arc::ptr_eq(keys, &self.keys) {
            true => self.rows.iter().copied().for_each(take),
            false => self.each_of(keys, |_, row| row.into_iter().for_each(&mut take)),
        }
        rows.sort_unstable();
        rows.dedup();
        Rows { rows, total: self.total }
    }
}

impl Rows {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// All other rows of the file.
    pub fn others(&self) -> RowSelection {
        let ends = self.rows.iter().map(|row| *row as usize).chain([self.total]);
        let mut from = 0;
        let ranges = ends.map(|end| std::mem::replace(&mut from, end + 1)..end);
        RowSelection::from_consecutive_ranges(ranges, self.total)
    }
}

/// Keys that are looked for in a file, batch by batch.
#[derive(Debug)]
pub struct Sought {
    keys: Vec<Key>,
    /// One a key.
    rows: Vec<u32>,
    /// Rows of the file that were looked at.
    total: usize,
}

impl Sought {
    /// Ascending keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self { rows: vec![NOWHERE; keys.len()], keys, total: 0 }
    }

    /// The file's next rows: their places and, where a place may have several rows, which of them each is.
    pub fn look(&mut self, batch: &RecordBatch) -> Result<()> {
        let wrong = |what: &str| DataFusionError::Internal(format!("keys of a base table are not {what}"));
        let places = batch.column(0).as_primitive_opt::<Int64Type>().ok_or_else(|| wrong("numbers"))?;
        let own = match batch.columns().get(1) {
            Some(column) => Some(column.as_string_opt::<i32>().ok_or_else(|| wrong("texts"))?),
            None => None,
        };
        match places.null_count() == 0 && places.values().is_sorted() {
            true => self.look_in_order(places.values(), own),
            false => {
                for (row, place) in places.iter().enumerate() {
                    self.look_at(place, row, own);
                }
            }
        }
        self.total += places.len();
        Ok(())
    }

    /// Both ascend, so that few rows are looked at.
    fn look_in_order(&mut self, places: &[i64], own: Option<&StringArray>) {
        let Some(first) = places.first() else { return };
        let mut row = 0;
        for key in self.keys.partition_point(|(place, _)| place < first)..self.keys.len() {
            let (place, wanted) = &self.keys[key];
            row += first_not_below(&places[row..], *place);
            if row == places.len() {
                return;
            }
            let mut here = (row..places.len()).take_while(|row| places[*row] == *place);
            if let Some(row) = here.find(|row| is_own(own, *row, wanted.as_deref())) {
                self.rows[key] = (self.total + row) as u32;
            }
        }
    }

    fn look_at(&mut self, place: Option<i64>, row: usize, own: Option<&StringArray>) {
        let Some(place) = place else { return };
        for key in self.keys.partition_point(|(other, _)| *other < place)..self.keys.len() {
            let (other, wanted) = &self.keys[key];
            if *other != place {
                return;
            }
            if is_own(own, row, wanted.as_deref()) {
                self.rows[key] = (self.total + row) as u32;
            }
        }
    }
}

fn is_own(own: Option<&StringArray>, row: usize, wanted: Option<&str>) -> bool {
    match (own, wanted) {
        (Some(own), Some(wanted)) => own.is_valid(row) && own.value(row) == wanted,
        _ => true,
    }
}

/// In steps that double, then by halving: where the next one is near, few values are looked at.
fn first_not_below(values: &[i64], wanted: i64) -> usize {
    let mut step = 1;
    while step <= values.len() && values[step - 1] < wanted {
        step *= 2;
    }
    let (from, to) = (step / 2, values.len().min(step));
    from + values[from..to].partition_point(|value| *value < wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::Int64Array;
    use proptest::prelude::*;

    use super::*;

    /// A place with several rows has them in any order.
    fn file() -> impl Strategy<Value = Vec<Key>> {
        let key = (0i64..40, "[a-c]").prop_map(|(place, own)| (place, Some(own.into_boxed_str())));
        prop::collection::hash_set(key, 0..60).prop_map(|keys| {
            let mut keys: Vec<Key> = keys.into_iter().collect();
            keys.sort_by_key(|(place, _)| *place);
            keys
        })
    }

    fn keys() -> impl Strategy<Value = Keys> {
        let key = (0i64..40, "[a-d]").prop_map(|(place, own)| (place, Some(own.into_boxed_str())));
        prop::collection::btree_set(key, 0..30).prop_map(|keys| keys.into_iter().collect())
    }

    fn batch(rows: &[Key], is_own: bool) -> RecordBatch {
        let places = Int64Array::from_iter_values(rows.iter().map(|(place, _)| *place));
        let own = StringArray::from_iter_values(rows.iter().map(|(_, own)| own.as_deref().unwrap()));
        let mut columns = vec![("place_id", Arc::new(places) as _)];
        if is_own {
            columns.push(("warning_id", Arc::new(own) as _));
        }
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn look(sought: &mut Sought, file: &[Key], batch_rows: usize, is_own: bool) {
        file.chunks(batch_rows).for_each(|rows| sought.look(&batch(rows, is_own)).unwrap());
    }

    proptest! {
        /// Whatever was asked before, a query's keys are found where they lie, and only they.
        #[test]
        fn keys_are_found_where_a_naive_search_finds_them(
            mut file in file(),
            asked in prop::collection::vec(keys(), 1..6),
            batch_rows in 1usize..20,
            is_sorted in any::<bool>(),
        ) {
            if !is_sorted {
                file.reverse();
            }
            let mut found = Arc::new(Found::default());
            for keys in &asked {
                let unknown = found.unknown(keys);
                if !unknown.is_empty() {
                    let mut sought = Sought::new(unknown);
                    look(&mut sought, &file, batch_rows, true);
                    found = Arc::new(found.with(keys, &sought));
                }
                prop_assert!(found.unknown(keys).is_empty());
                let wanted: Vec<u32> =
                    (0..file.len()).filter(|row| keys.contains(&file[*row])).map(|row| row as u32).collect();
                let rows = found.rows_of(keys);
                prop_assert_eq!(&rows.rows, &wanted);
                if found.total > 0 {
                    let mut others = Vec::new();
                    let mut row = 0;
                    for selector in rows.others().iter() {
                        if !selector.skip {
                            others.extend(row..row + selector.row_count);
                        }
                        row += selector.row_count;
                    }
                    prop_assert_eq!(row, file.len());
                    prop_assert!(others.iter().all(|row| !wanted.contains(&(*row as u32))));
                    prop_assert_eq!(others.len() + wanted.len(), file.len());
                }
            }
        }

        #[test]
        fn places_with_one_row_each_are_found_however_far_apart(
            places in prop::collection::btree_set(0i64..200, 0..120),
            wanted in prop::collection::btree_set(0i64..200, 0..30),
            batch_rows in 1usize..50,
        ) {
            let file: Vec<Key> = places.iter().map(|place| (*place, Some("a".into()))).collect();
            let keys: Keys = wanted.iter().map(|place| (*place, None)).collect();
            let mut sought = Sought::new(keys.to_vec());
            look(&mut sought, &file, batch_rows, false);
            let found = Found::default().with(&keys, &sought);
            let rows = found.rows_of(&keys).rows.into_iter().map(|row| file[row as usize].0);
            prop_assert_eq!(rows.collect::<Vec<_>>(), places.intersection(&wanted).copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn files_of_a_bucket_that_were_not_asked_for_are_forgotten() {
        let known = Known::default();
        for file in 0..FILES_A_BUCKET {
            known.remember(1, &file.to_string(), Arc::default());
        }
        assert!(known.of(1, "0").is_some());
        known.remember(1, "new", Arc::default());
        assert!(known.of(1, "0").is_some() && known.of(1, "new").is_some() && known.of(1, "1").is_none());
        assert!(known.of(2, "0").is_none());
    }

    #[test]
    fn a_column_of_another_type_is_an_error() {
        let texts = batch(&[(1, Some("a".into()))], true).project(&[1]).unwrap();
        assert!(Sought::new(Vec::new()).look(&texts).is_err());
    }
}
