//! From a rule's text to a plan that runs again and again, or to what is wrong with it.

use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
    sync::Arc,
};

use datafusion::{
    common::{
        TableReference,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::DataFusionError,
    logical_expr::LogicalPlan,
    physical_plan::ExecutionPlan,
    prelude::{SessionConfig, SessionContext},
    sql::{
        parser::{DFParser, Statement},
        sqlparser::ast,
    },
};
use yibiao_records::TableSchema;
use yibiao_tables::{
    Problem, Tables,
    spec::{PLACES, fact_table},
};

use super::{
    Rule, check,
    front::{Parameter, Shape},
    personal, placeholders, silent,
    slot::{Slot, locked},
};
use crate::Error;

/// A rule, ready to run.
pub(super) struct Planned {
    pub rule: Rule,
    pub plan: Arc<dyn ExecutionPlan>,
    pub reads: Reads,
    /// Its table `silent`.
    pub silent: Option<(TableSchema, Arc<Slot>)>,
}

/// Which tables a rule reads.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    pub places: bool,
    /// The kinds of its fact tables.
    pub kinds: BTreeSet<String>,
}

/// Plans rules over the tables of one installation, which are empty until [`Slot::set`].
pub(super) struct Planner<'a> {
    tables: &'a Tables,
    pub context: SessionContext,
    pub slots: HashMap<String, Arc<Slot>>,
}

impl<'a> Planner<'a> {
    pub fn new(tables: &'a Tables) -> Result<Self, Error> {
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

    pub async fn plan(&mut self, rule: Rule) -> Result<Planned, Vec<Problem>> {
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
