//! A rule is about one place at a time: that is what makes it cheap to keep up to date, and its full evaluation
//! equal to the incremental one. Everything else is refused, with the reason.
//!
//! | shape | allowed |
//! |---|---|
//! | row | select and where over `places` |
//! | facts | also joins on place_id, grouping by place_id, windows partitioned by place_id, over `fact_<kind>` and `places` |
//! | silence | the same, and it reads `silent`, where a place is as long as a kind is silent there |

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::DataFusionError,
    logical_expr::{
        BinaryExpr, Distinct, Expr, Join, LogicalPlan, Operator, Volatility, utils::split_conjunction,
    },
};
use yibiao_tables::Problem;

use super::{
    front::{Rule, Shape},
    silent,
};

const PLACE_ID: &str = "place_id";

/// Every reason why the plan is not one of the shapes.
pub(super) fn problems(rule: &Rule, plan: &LogicalPlan) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut refuse = |keyword: &str, what: String| {
        let problem = rule.problem(line_of(rule, keyword), what);
        if !found.contains(&problem) {
            found.push(problem);
        }
    };
    let visited: Result<_, DataFusionError> = plan.apply(|node| {
        check_node(rule, node, &mut refuse);
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                check_expr(expr, &mut refuse);
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(TreeNodeRecursion::Continue)
    });
    if let Err(error) = visited {
        refuse("select", error.to_string());
    }
    check_output(plan, &mut refuse);
    if rule.shape == Shape::Silence && !reads(plan, silent::TABLE) {
        refuse("from", "it does not read the table silent: a rule of another shape would do".into());
    }
    found
}

fn reads(plan: &LogicalPlan, table: &str) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == table)))
        .unwrap_or(false)
}

fn check_node(rule: &Rule, node: &LogicalPlan, refuse: &mut impl FnMut(&str, String)) {
    let facts_only = |what: &str| format!("{what}: only a rule of shape 'facts' or 'silence' may do so");
    match node {
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Sort(_) => {}
        LogicalPlan::TableScan(scan) => {
            let table = scan.table_name.table();
            if rule.shape == Shape::Row && table != yibiao_tables::spec::PLACES {
                refuse(table, facts_only(&format!("it reads {table}")));
            }
        }
        LogicalPlan::Projection(projection) => {
            for expr in &projection.expr {
                let is_place = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == PLACE_ID);
                let (name, inner) = match expr {
                    Expr::Alias(alias) => (alias.name.as_str(), &*alias.expr),
                    Expr::Column(column) => (column.name.as_str(), expr),
                    _ => continue,
                };
                if name == PLACE_ID && !is_place(inner) {
                    refuse(PLACE_ID, "place_id is the place's own, not something computed".into());
                }
            }
        }
        LogicalPlan::Aggregate(aggregate) => {
            if rule.shape == Shape::Row {
                refuse("group", facts_only("it groups"));
            } else if !aggregate.group_expr.iter().any(is_place_column) {
                refuse("group", "it groups without place_id: a rule is about one place at a time".into());
            }
        }
        LogicalPlan::Join(join) => {
            if rule.shape == Shape::Row {
                refuse("join", facts_only("it joins"));
            } else if !joins_on_place(join) {
                refuse("join", "it joins otherwise than on place_id = place_id".into());
            }
        }
        LogicalPlan::Window(window) => {
            if rule.shape == Shape::Row {
                refuse("over", facts_only("it has window functions"));
            }
            for expr in &window.window_expr {
                if !partitions_by_place(expr) {
                    refuse("over", "a window is not partitioned by place_id".into());
                }
            }
        }
        LogicalPlan::Distinct(Distinct::All(_)) | LogicalPlan::Union(_) if rule.shape != Shape::Row => {
            if node.schema().field_with_unqualified_name(PLACE_ID).is_err() {
                refuse("select", "a union or distinct without place_id mixes places".into());
            }
        }
        other => {
            let name = other.display().to_string();
            let name = name.split([':', ' ']).next().unwrap_or_default().to_lowercase();
            refuse(
                &name,
                format!("{name} is not possible in a rule of shape '{:?}'", rule.shape).to_lowercase(),
            );
        }
    }
}

/// As the planner leaves it: `USING` in `on`, `ON a = b AND …` in the filter.
fn joins_on_place(join: &Join) -> bool {
    let is_pair = |a: &Expr, b: &Expr| is_place_column(a) && is_place_column(b) && a != b;
    let conditions = join.filter.iter().flat_map(split_conjunction);
    let mut equal = conditions.filter_map(|condition| match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => Some((&**left, &**right)),
        _ => None,
    });
    join.on.iter().any(|(a, b)| is_pair(a, b)) || equal.any(|(a, b)| is_pair(a, b))
}

fn is_place_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == PLACE_ID)
}

fn partitions_by_place(expr: &Expr) -> bool {
    match expr {
        Expr::WindowFunction(function) => function.params.partition_by.iter().any(is_place_column),
        Expr::Alias(alias) => partitions_by_place(&alias.expr),
        _ => false,
    }
}

fn check_expr(expr: &Expr, refuse: &mut impl FnMut(&str, String)) {
    match expr {
        Expr::ScalarFunction(function) if function.func.signature().volatility != Volatility::Immutable => {
            let name = function.func.name();
            refuse(
                name,
                format!(
                    "{name}() depends on something else than the place's facts; event time is last_event_on, and \
                     what must rise by the passing of time is a rule of shape 'silence'"
                ),
            );
        }
        Expr::ScalarVariable(..) => refuse("@", "variables are not known in rules".into()),
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => {
            refuse("select", "a subquery in an expression: write it as a join on place_id".into());
        }
        Expr::Placeholder(placeholder) => {
            let name = &placeholder.id;
            refuse(name, format!("{name} is not given: add '-- param {}: …'", name.trim_start_matches('$')));
        }
        _ => {}
    }
}

fn check_output(plan: &LogicalPlan, refuse: &mut impl FnMut(&str, String)) {
    let schema = plan.schema();
    if schema.field_with_unqualified_name(PLACE_ID).is_err() {
        refuse("select", "the result has no column place_id".into());
    }
    match schema.field_with_unqualified_name("severity") {
        Ok(field) if field.data_type().is_integer() => {}
        Ok(field) => refuse("severity", format!("severity is {}, not a whole number", field.data_type())),
        Err(_) => refuse("select", "the result has no column severity".into()),
    }
}

/// Where the word stands in the SQL; the first line of SQL where it does not.
pub(super) fn line_of(rule: &Rule, word: &str) -> usize {
    let sql = || rule.text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("--"));
    let found = sql().find(|(_, line)| line.to_lowercase().contains(&word.to_lowercase()));
    found.or_else(|| sql().find(|(_, line)| !line.trim().is_empty())).map_or(1, |(index, _)| index + 1)
}
