//! Rules planned once, and run batch after batch over whatever their tables hold then.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, new_null_array},
    datatypes::{DataType, Int64Type},
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{
    common::{
        TableReference,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::DataFusionError,
    execution::TaskContext,
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, collect, execution_plan::reset_plan_states},
    prelude::{SessionConfig, SessionContext},
    sql::{
        parser::{DFParser, Statement},
        sqlparser::ast,
    },
};
use yibiao_records::{PlaceId, TableSchema, Value, schema};
use yibiao_tables::{
    Problem, Tables,
    shard::StoredFact,
    spec::{PLACES, fact_table},
};

use super::{
    Hit, Rule, check,
    front::{Parameter, Shape},
    personal, placeholders, silent,
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

struct Planned {
    rule: Rule,
    plan: Arc<dyn ExecutionPlan>,
    reads: Reads,
    /// Its table `silent`.
    silent: Option<(TableSchema, Arc<Slot>)>,
}

/// Which tables a rule reads.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    pub places: bool,
    /// The kinds of its fact tables.
    pub kinds: BTreeSet<String>,
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

/// Of two rows for one place the more severe stays; of two equally severe the one whose numbers sort last, so that
/// the engine's order does not matter.
fn worst(hits: &mut BTreeMap<PlaceId, Hit>, hit: Hit) {
    let order = |hit: &Hit| (hit.severity, format!("{:?}", hit.numbers));
    match hits.get_mut(&hit.place) {
        Some(present) if order(present) >= order(&hit) => {}
        Some(present) => *present = hit,
        None => {
            hits.insert(hit.place, hit);
        }
    }
}

struct Planner<'a> {
    tables: &'a Tables,
    context: SessionContext,
    slots: HashMap<String, Arc<Slot>>,
}

impl<'a> Planner<'a> {
    fn new(tables: &'a Tables) -> Result<Self, Error> {
        let mut config = SessionConfig::new().with_target_partitions(1).with_batch_size(8192);
        // A plan with dynamic filters cannot be run again.
        config.options_mut().optimizer.enable_dynamic_filter_pushdown = false;
        let context = SessionContext::new_with_config(config);
        let mut slots = HashMap::new();
        let fact_tables = tables.kinds().iter().map(|kind| fact_table(&kind.name));
        for table in std::iter::once(PLACES.to_owned()).chain(fact_tables) {
            let slot = Slot::register(&context, tables.schema(&table)?)
                .map_err(|source| Error::Rule { rule: table.clone(), source: Box::new(source) })?;
            slots.insert(table, slot);
        }
        Ok(Self { tables, context, slots })
    }

    async fn plan(&mut self, rule: Rule) -> Result<Planned, Vec<Problem>> {
        let told = |error: DataFusionError| {
            let text = error.strip_backtrace();
            vec![rule.problem(line_in(&text), text)]
        };
        let problems = silent::problems(&rule, self.tables);
        if !problems.is_empty() {
            return Err(problems);
        }
        // Each rule has a table `silent` of its own, with its own days.
        let silent = match rule.shape {
            Shape::Silence => {
                let table = silent::schema(&rule);
                let slot = Slot::register(&self.context, &table).map_err(told)?;
                Some((table, slot))
            }
            Shape::Row | Shape::Facts => None,
        };
        let planned = self.plan_over_tables(rule, silent).await;
        self.context
            .deregister_table(TableReference::bare(silent::TABLE))
            .map_err(|error| vec![Problem { path: "".into(), line: 0, what: error.to_string() }])?;
        planned
    }

    async fn plan_over_tables(
        &mut self,
        rule: Rule,
        silent: Option<(TableSchema, Arc<Slot>)>,
    ) -> Result<Planned, Vec<Problem>> {
        let told = |error: DataFusionError| {
            let text = error.strip_backtrace();
            vec![rule.problem(line_in(&text), text)]
        };
        let statement = self.statement(&rule)?;
        let state = self.context.state();
        let logical = state.statement_to_plan(statement).await.map_err(told)?;
        let problems = check::problems(&rule, &logical);
        if !problems.is_empty() {
            return Err(problems);
        }
        self.check_names(&rule, &logical)?;
        // Once optimised, a scan names exactly the columns that something is made of.
        let optimised = state.optimize(&logical).map_err(told)?;
        let problems = personal::problems(&rule, &optimised, self.tables);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut reads = Reads::default();
        let visited: Result<_, DataFusionError> = logical.apply(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                match scan.table_name.table() {
                    silent::TABLE => {}
                    PLACES => reads.places = true,
                    table => reads.kinds.extend(table.strip_prefix("fact_").map(str::to_owned)),
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        visited.map_err(told)?;
        self.note_columns(&optimised).map_err(told)?;
        let plan = state.create_physical_plan(&logical).await.map_err(told)?;
        Ok(Planned { rule, plan, reads, silent })
    }

    /// Keeps which columns the plan's scans read.
    fn note_columns(&self, optimised: &LogicalPlan) -> Result<(), DataFusionError> {
        optimised.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(slot) = self.slots.get(scan.table_name.table())
            {
                let mut columns = locked(&slot.columns);
                match &scan.projection {
                    Some(projection) => columns.extend(projection),
                    None => columns.extend(0..slot.schema.fields().len()),
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    /// Exactly one query, its parameters replaced by their values.
    fn statement(&self, rule: &Rule) -> Result<Statement, Vec<Problem>> {
        let mut statements = DFParser::parse_sql(&rule.text).map_err(|error| {
            let text = error.strip_backtrace();
            vec![rule.problem(line_in(&text), text)]
        })?;
        let mut statement = match (statements.pop_front(), statements.is_empty()) {
            (Some(Statement::Statement(statement)), true)
                if matches!(*statement, ast::Statement::Query(_)) =>
            {
                statement
            }
            _ => return Err(vec![rule.problem(1, "a rule is exactly one SELECT")]),
        };
        let mut used = BTreeSet::new();
        let _ = ast::visit_expressions_mut(&mut statement, |expr| {
            if let ast::Expr::Value(value) = expr
                && let ast::Value::Placeholder(name) = &value.value
                && let Some(parameter) = rule.parameters.get(name.trim_start_matches('$'))
            {
                used.insert(name.trim_start_matches('$').to_owned());
                value.value = match parameter {
                    Parameter::Int(v) => ast::Value::Number(v.to_string(), false),
                    // With a point always, so that it is a number with a fraction also where that is 0.
                    Parameter::Number(v) => ast::Value::Number(format!("{v:?}"), false),
                    Parameter::Text(v) => ast::Value::SingleQuotedString(v.clone()),
                    Parameter::Bool(v) => ast::Value::Boolean(*v),
                };
            }
            ControlFlow::<()>::Continue(())
        });
        let unused: Vec<Problem> = rule
            .parameters
            .keys()
            .filter(|name| !used.contains(*name))
            .map(|name| {
                rule.problem(
                    1,
                    format!("the parameter {name} is not used: remove it, or write ${name} in the SQL"),
                )
            })
            .collect();
        if unused.is_empty() { Ok(Statement::Statement(statement)) } else { Err(unused) }
    }

    /// Columns that message, update_when and evidence name.
    fn check_names(&self, rule: &Rule, plan: &LogicalPlan) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let output: Vec<&str> = plan.schema().fields().iter().map(|field| field.name().as_str()).collect();
        let places = self.tables.schema(PLACES).map_err(|error| vec![rule.problem(0, error.to_string())])?;
        for name in placeholders(&rule.message) {
            match places.column(name) {
                _ if output.contains(&name) => {}
                Some(index) if places.columns[index].personal => problems.push(rule.problem(
                    personal::line_of_key(rule, "message"),
                    format!(
                        "message: {{{name}}} is a personal column of places, and warnings leave: remove it \
                         from the message"
                    ),
                )),
                Some(_) => {}
                None => problems.push(
                    rule.problem(1, format!("message: {{{name}}} is no column of the rule or of places")),
                ),
            }
        }
        for name in &rule.update_when {
            let is_personal = places.column(name).is_some_and(|index| places.columns[index].personal);
            if is_personal {
                problems.push(rule.problem(
                    personal::line_of_key(rule, "update_when"),
                    format!(
                        "update_when: {name} is a personal column of places, and the times of a warning would \
                         tell of it: remove it from the list"
                    ),
                ));
            } else if !output.contains(&name.as_str()) {
                problems.push(rule.problem(1, format!("update_when: the rule has no column {name}")));
            }
        }
        for evidence in &rule.evidence {
            let kind = self.tables.kinds().get(&evidence.kind);
            let has_column = |kind: &yibiao_records::FactKind| match &evidence.pick {
                super::Pick::Newest => true,
                super::Pick::Heaviest(column) => kind.column(column).is_some(),
            };
            let by_personal = |kind: &yibiao_records::FactKind| match &evidence.pick {
                super::Pick::Newest => false,
                super::Pick::Heaviest(column) => {
                    kind.column(column).is_some_and(|index| kind.columns[index].personal)
                }
            };
            if kind.is_some_and(|kind| by_personal(kind)) {
                problems.push(rule.problem(
                    personal::line_of_key(rule, "evidence"),
                    format!(
                        "evidence: facts of {} cannot be chosen by a personal column: choose the newest, or \
                         another column",
                        evidence.kind
                    ),
                ));
            }
            if !kind.is_some_and(|kind| has_column(kind)) {
                problems.push(
                    rule.problem(
                        1,
                        format!("evidence: {} does not exist, or lacks the column", evidence.kind),
                    ),
                );
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// The line that the parser's message names.
fn line_in(message: &str) -> usize {
    let after = message.split("Line: ").nth(1).unwrap_or_default();
    after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(1)
}

fn hits_of(batch: &RecordBatch) -> Result<Vec<Hit>, DataFusionError> {
    let schema = batch.schema();
    let whole = |name: &str| -> Result<_, DataFusionError> {
        let column = batch.column_by_name(name).cloned();
        let column = column.ok_or_else(|| DataFusionError::Execution(format!("the result lacks {name}")))?;
        Ok(arrow::compute::cast(&column, &DataType::Int64)?)
    };
    let (places, severities) = (whole("place_id")?, whole("severity")?);
    let (places, severities) = (places.as_primitive::<Int64Type>(), severities.as_primitive::<Int64Type>());
    let options = FormatOptions::default().with_date_format(Some("%Y-%m-%d"));
    let mut columns = Vec::new();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        if !["place_id", "severity"].contains(&field.name().as_str()) {
            columns.push((field.name(), array, ArrayFormatter::try_new(array, &options)?));
        }
    }
    let mut hits = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let Some(place) = PlaceId::new(places.value(row)).filter(|_| places.is_valid(row)) else { continue };
        let numbers = columns
            .iter()
            .map(|(name, array, formatter)| {
                ((*name).clone(), json(array, row, &formatter.value(row).to_string()))
            })
            .collect();
        let severity = if severities.is_valid(row) { severities.value(row) } else { 1 };
        hits.push(Hit { place, severity, numbers });
    }
    Ok(hits)
}

/// Numbers with at most three decimals: nobody inspects a flat for the fourth.
fn json(array: &dyn Array, row: usize, text: &str) -> serde_json::Value {
    use serde_json::Value as Json;
    if array.is_null(row) {
        return Json::Null;
    }
    match array.data_type() {
        DataType::Boolean => Json::Bool(array.as_boolean().value(row)),
        kind if kind.is_integer() => text.parse::<i64>().map_or_else(|_| Json::from(text), Json::from),
        kind if kind.is_numeric() => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                let rounded = (number * 1000.0).round() / 1000.0;
                if rounded.fract() == 0.0 && rounded.abs() < 1e15 {
                    Json::from(rounded as i64)
                } else {
                    Json::from(rounded)
                }
            }
            _ => Json::from(text),
        },
        _ => Json::from(text),
    }
}
