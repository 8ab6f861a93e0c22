//! What went wrong in all seeds.

use std::collections::BTreeMap;

use yibiao_records::CrashPoint;

#[derive(Debug, Default)]
pub struct Tally {
    pub faults: BTreeMap<&'static str, u32>,
    pub points: BTreeMap<CrashPoint, u32>,
    /// Shards that were loaded at once.
    pub loads: usize,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (point, count) in other.points {
            *self.points.entry(point).or_default() += count;
        }
        self.loads += other.loads;
    }

    pub fn faults(&self) -> String {
        self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }

    pub fn points(&self) -> String {
        let counts = self.points.iter().map(|(point, count)| format!("{} {count}", point.as_str()));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// Points at which nobody died.
    pub fn never(&self) -> Vec<&'static str> {
        let never = CrashPoint::STAGES
            .iter()
            .chain(&CrashPoint::LOAD)
            .chain(&CrashPoint::LOAD_OWNED)
            .chain(&CrashPoint::NORMALISER_OWNED)
            .filter(|point| !self.points.contains_key(point));
        never.map(|point| point.as_str()).collect()
    }
}
