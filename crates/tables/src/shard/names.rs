//! Feeds, topics, kinds and versions recur in every fact: they are stored as small numbers.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{RwLock, RwLockReadGuard};

/// Numbers are given once and never change their meaning. New ones become durable with the batch that uses them.
#[derive(Debug, Default)]
pub(super) struct Names(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_number: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
    durable: usize,
}

impl Names {
    /// `names` in the order of their numbers, as they were read from the store.
    pub fn new(names: Vec<Arc<str>>) -> Self {
        let by_name = names.iter().enumerate().map(|(number, name)| (name.clone(), number as u32)).collect();
        Self(RwLock::new(Inner { durable: names.len(), by_number: names, by_name }))
    }

    /// Only the shard's writer gives numbers to new names.
    pub fn number_or_add(&self, name: &str) -> u32 {
        if let Some(number) = self.number(name) {
            return number;
        }
        let mut inner = self.0.write();
        let number = inner.by_number.len() as u32;
        let name = Arc::<str>::from(name);
        inner.by_number.push(name.clone());
        inner.by_name.insert(name, number);
        number
    }

    pub fn number(&self, name: &str) -> Option<u32> {
        self.0.read().by_name.get(name).copied()
    }

    pub fn name(&self, number: u32) -> Option<Arc<str>> {
        self.0.read().by_number.get(number as usize).cloned()
    }

    /// For reading many. Nothing else of the names may be asked as long as it lives.
    pub fn reading(&self) -> Reading<'_> {
        Reading(self.0.read())
    }

    /// All names so far, by number.
    pub fn all(&self) -> Vec<Arc<str>> {
        self.0.read().by_number.clone()
    }

    /// Names that no committed batch holds, with their numbers.
    pub fn not_durable(&self) -> Vec<(u32, Arc<str>)> {
        let inner = self.0.read();
        let names = inner.by_number.iter().enumerate().skip(inner.durable);
        names.map(|(number, name)| (number as u32, name.clone())).collect()
    }

    pub fn made_durable(&self, count: usize) {
        self.0.write().durable += count;
    }
}

pub(super) struct Reading<'a>(RwLockReadGuard<'a, Inner>);

impl Reading<'_> {
    pub fn all(&self) -> &[Arc<str>] {
        &self.0.by_number
    }

    pub fn name(&self, number: u32) -> Option<&Arc<str>> {
        self.0.by_number.get(number as usize)
    }
}
