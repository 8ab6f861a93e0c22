//! Rules planned once, and run batch after batch over whatever their tables hold then.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use arrow::{array::new_null_array, record_batch::RecordBatch};
use datafusion::{
    execution::TaskContext,
    physical_plan::{collect, execution_plan::reset_plan_states},
};
use yibiao_records::{PlaceId, Value, schema};
use yibiao_tables::{
    Problem, Tables,
    shard::StoredFact,
    spec::{PLACES, fact_table},
};

use super::{
    Hit, Rule,
    hits::{hits_of, worst},
    planner::{Planned, Planner, Reads},
    silent,
    slot::{Slot, locked},
};
use crate::{
    Error,
    silence::{Standing, Watched},
};

/// The places of a batch, as the rules see them.
pub struct Touched<'a> {
    pub places: Vec<(PlaceId, &'a [Value])>,
    /// By kind, of the kinds that [`Rules::fact_kinds`] names: all facts of these places.
    pub facts: BTreeMap<String, Vec<StoredFact>>,
    /// How these places stand with the kinds that rules listen to.
    pub standings: BTreeMap<PlaceId, Vec<Standing>>,
}

/// All rules of an installation, ready to run. Not shared: each thread has its own.
pub struct Rules {
    tables: Tables,
    planned: Vec<Planned>,
    slots: HashMap<String, Arc<Slot>>,
    watched: Arc<Watched>,
    task: Arc<TaskContext>,
}

impl Rules {
    /// Reads, checks and plans every `*.sql` in `dir`; every problem at once.
    pub async fn load(dir: &Path, tables: &Tables) -> Result<Self, Error> {
        let refused =
            |what: String| Error::Rules { problems: vec![Problem { path: dir.into(), line: 0, what }] };
        let entries = std::fs::read_dir(dir).map_err(|error| refused(format!("cannot be read: {error}")))?;
        let mut paths: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .collect();
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| refused(format!("{} cannot be read: {error}", path.display())))?;
            files.push((path, text));
        }
        Self::parse(files, tables).await
    }

    /// As [`Rules::load`], from paths (for messages) and texts.
    pub async fn parse<P: AsRef<Path>>(files: Vec<(P, String)>, tables: &Tables) -> Result<Self, Error> {
        let mut planner = Planner::new(tables)?;
        let (mut planned, mut problems) = (Vec::<Planned>::new(), Vec::new());
        for (path, text) in &files {
            let rule = match Rule::parse(path.as_ref(), text) {
                Ok(rule) => rule,
                Err(found) => {
                    problems.extend(found);
                    continue;
                }
            };
            if planned.iter().any(|other| other.rule.name == rule.name) {
                problems.push(rule.problem(1, format!("another file has a rule {} already", rule.name)));
                continue;
            }
            match planner.plan(rule).await {
                Ok(ready) => planned.push(ready),
                Err(found) => problems.extend(found),
            }
        }
        if !problems.is_empty() {
            return Err(Error::Rules { problems });
        }
        let mut watched = Watched::default();
        for (kind, days) in planned.iter().flat_map(|planned| &planned.rule.silent) {
            watched.add(kind, days);
        }
        let Planner { context, slots, .. } = planner;
        let (tables, watched) = (tables.clone(), Arc::new(watched));
        Ok(Self { tables, planned, slots, watched, task: context.task_ctx() })
    }

    /// The kinds whose silence means something to a rule, and after how many days.
    pub fn watched(&self) -> &Arc<Watched> {
        &self.watched
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.planned.iter().map(|planned| &planned.rule)
    }

    pub fn get(&self, name: &str) -> Option<&Rule> {
        self.iter().find(|rule| *rule.name == *name)
    }

    /// Changes when a rule changes: warnings in the state were made with one of these.
    pub fn fingerprint(&self) -> String {
        let mut rules: Vec<_> = self.iter().map(|rule| (&rule.name, &rule.text)).collect();
        rules.sort();
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(format!("{rules:?}").as_bytes()))
    }

    /// The rules, each with what it reads.
    pub fn reads(&self) -> impl Iterator<Item = (&Rule, &Reads)> {
        self.planned.iter().map(|planned| (&planned.rule, &planned.reads))
    }

    /// The kinds whose facts some rule reads.
    pub fn fact_kinds(&self) -> BTreeSet<&str> {
        self.reads().flat_map(|(_, reads)| &reads.kinds).map(String::as_str).collect()
    }

    /// By rule: where it holds, at most once a place. Rules that are not `asked` hold nowhere.
    pub async fn run(
        &mut self,
        touched: &Touched<'_>,
        asked: impl Fn(&Rule) -> bool,
    ) -> Result<Vec<(&Rule, Vec<Hit>)>, Error> {
        let mut levels: HashMap<PlaceId, &str> = HashMap::new();
        let schema = self.tables.schema(PLACES)?;
        let level = schema.column("level").expect("invariant: places has a level");
        for (place, row) in &touched.places {
            levels.insert(*place, row[level].as_text().unwrap_or_default());
        }
        let rows: Vec<&[Value]> = touched.places.iter().map(|(_, row)| *row).collect();
        self.fill(PLACES, &rows)?;
        for (kind, stored) in &touched.facts {
            let width = self.tables.schema(&fact_table(kind))?.columns.len();
            let rows: Vec<Vec<Value>> = stored.iter().map(|stored| stored.row(width)).collect();
            let rows: Vec<&[Value]> = rows.iter().map(Vec::as_slice).collect();
            self.fill(&fact_table(kind), &rows)?;
        }
        let mut all = Vec::with_capacity(self.planned.len());
        for planned in &self.planned {
            let rule = &planned.rule;
            if !asked(rule) {
                all.push((rule, Vec::new()));
                continue;
            }
            let silent = match &planned.silent {
                Some((table, slot)) => Some(silent::fill(rule, table, slot, &touched.standings)?),
                None => None,
            };
            if silent.as_ref().is_some_and(HashSet::is_empty) {
                all.push((rule, Vec::new()));
                continue;
            }
            let failed = |source| Error::Rule { rule: rule.name.to_string(), source: Box::new(source) };
            let plan = reset_plan_states(planned.plan.clone()).map_err(failed)?;
            let batches = collect(plan, self.task.clone()).await.map_err(failed)?;
            let mut hits = BTreeMap::new();
            for batch in &batches {
                for hit in hits_of(batch).map_err(failed)? {
                    let at = rule.level.as_deref().is_none_or(|level| levels.get(&hit.place) == Some(&level));
                    let at = at && silent.as_ref().is_none_or(|silent| silent.contains(&hit.place));
                    if at && levels.contains_key(&hit.place) {
                        worst(&mut hits, hit);
                    }
                }
            }
            all.push((rule, hits.into_values().collect()));
        }
        Ok(all)
    }

    fn fill(&self, table: &str, rows: &[&[Value]]) -> Result<(), Error> {
        let Some(slot) = self.slots.get(table) else { return Ok(()) };
        let schema = self.tables.schema(table)?;
        let read = locked(&slot.columns);
        let columns = schema.columns.iter().enumerate().map(|(index, column)| {
            if read.contains(&index) {
                schema::array(column, rows.iter().map(|row| &row[index]))
            } else {
                Ok(new_null_array(&column.column_type.arrow(), rows.len()))
            }
        });
        let batch = RecordBatch::try_new(slot.schema.clone(), columns.collect::<Result<_, _>>()?)
            .expect("invariant: arrays are made in the order and types of the schema");
        slot.set(batch);
        Ok(())
    }
}
