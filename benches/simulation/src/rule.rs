//! One rule over rows, or one of silence, and where it must hold.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use yibiao_records::{PlaceId, Value};
use yibiao_tables::{View, spec::WARNINGS};

use crate::{oracle::Expected, setup::Setup, silence};

/// Which rule a seed has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    None,
    Row,
    Silence,
}

impl Which {
    /// Rules cost much more than everything else here: most seeds have none.
    pub fn of(seed: u64) -> Self {
        match seed % 10 {
            0 => Self::Row,
            3 | 7 => Self::Silence,
            _ => Self::None,
        }
    }

    pub fn files(self) -> Vec<(&'static str, String)> {
        match self {
            Self::None => Vec::new(),
            Self::Row => vec![("heavy_use.sql", ROW.to_owned())],
            Self::Silence => vec![("quiet.sql", silence::RULE.to_owned())],
        }
    }
}

const ROW: &str = r#"-- rule: heavy_use
-- title: 用电偏高
-- version: 1
-- shape: row
-- message: "{address}：近30天用电{kwh}千瓦时"
-- update_when: kwh
-- evidence: electricity newest 1
-- param kwh_min: 2
--
-- So low that it rises, changes and clears all the time.
SELECT place_id, CASE WHEN kwh >= 3 THEN 2 ELSE 1 END AS severity, kwh
FROM (SELECT place_id, CAST(electricity_kwh_30d AS DOUBLE) AS kwh FROM places)
WHERE kwh >= $kwh_min
"#;
const KWH_MIN: i64 = 2_000;
const KWH_GRAVE: i64 = 3_000;

/// Where the rule holds, and how gravely.
#[derive(Debug, Default, PartialEq)]
pub struct Firing(BTreeMap<PlaceId, i64>);

impl Firing {
    pub fn of(
        which: Which,
        expected: &Expected,
        rows: &BTreeMap<PlaceId, BTreeMap<&'static str, Value>>,
        shards: u32,
    ) -> Self {
        match which {
            Which::None => Self::default(),
            Which::Row => Self::of_rows(rows),
            Which::Silence => {
                let silences = (0..shards).map(|shard| silence::Silences::of(expected, shard, shards));
                Self(silences.flat_map(|silences| silences.firing()).collect())
            }
        }
    }

    fn of_rows(rows: &BTreeMap<PlaceId, BTreeMap<&'static str, Value>>) -> Self {
        let kwh = |cells: &BTreeMap<&str, Value>| cells.get("electricity_kwh_30d").and_then(Value::as_i64);
        let firing = rows.iter().filter_map(|(place, cells)| Some((*place, kwh(cells)?)));
        let firing = firing.filter(|(_, kwh)| *kwh >= KWH_MIN);
        Self(firing.map(|(place, kwh)| (place, if kwh >= KWH_GRAVE { 2 } else { 1 })).collect())
    }

    pub fn compare(&self, setup: &Setup, views: &[View]) -> Result<()> {
        let schema = setup.tables.schema(WARNINGS)?;
        let column = |name: &str| schema.column(name).context("a column of warnings");
        let (place, state, severity) = (column("place_id")?, column("state")?, column("severity")?);
        let mut found = BTreeMap::new();
        for view in views {
            for row in view.rows(WARNINGS) {
                let row = row?;
                if row[state].as_text() != Some("cleared") {
                    let place = row[place].as_i64().and_then(PlaceId::new).context("a place's id")?;
                    let before = found.insert(place, row[severity].as_i64().unwrap_or_default());
                    ensure!(before.is_none(), "place {place} has two warnings");
                }
            }
        }
        let found = Self(found);
        ensure!(found == *self, "warnings stand at {found:?}, not {self:?}");
        Ok(())
    }
}
