//! Rules do not read what is personal: their warnings leave, and so would whatever was made of it.

use std::collections::BTreeSet;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::DataFusionError,
    logical_expr::{Expr, LogicalPlan},
};
use yibiao_tables::{Problem, Tables};

use super::{check::line_of, front::Rule};

/// Personal columns that the rule reads, in whatever it makes of them: warnings leave, so nothing that is made of
/// these columns may be in one. `plan` is the optimised one, whose scans name the columns that are used.
pub(super) fn problems(rule: &Rule, plan: &LogicalPlan, tables: &Tables) -> Vec<Problem> {
    let mut found = Vec::new();
    let visited: Result<_, DataFusionError> = plan.apply(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
        let table = scan.table_name.table();
        let Ok(schema) = tables.schema(table) else { return Ok(TreeNodeRecursion::Continue) };
        let filters = scan.filters.iter().flat_map(Expr::column_refs);
        let read: BTreeSet<&str> = (scan.projected_schema.fields().iter().map(|field| field.name().as_str()))
            .chain(filters.map(|column| column.name.as_str()))
            .collect();
        for column in &schema.columns {
            if column.personal && read.contains(column.name.as_str()) {
                let name = &column.name;
                let what = format!(
                    "it reads {table}.{name}, which is personal, and warnings leave: leave the column out (and \
                     name columns instead of *)"
                );
                let problem = rule.problem(line_of(rule, name), what);
                if !found.contains(&problem) {
                    found.push(problem);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if let Err(error) = visited {
        found.push(rule.problem(1, error.to_string()));
    }
    found
}

/// The line of a word of the front matter, such as `message`.
pub(super) fn line_of_key(rule: &Rule, key: &str) -> usize {
    let found = rule.text.lines().position(|line| {
        let comment = line.trim().strip_prefix("--").map(str::trim_start);
        comment.is_some_and(|comment| {
            comment.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'))
        })
    });
    found.map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::{Path, PathBuf};

    use yibiao_records::{Column, ColumnType, FactKind, FactKinds};
    use yibiao_tables::Tables;

    use crate::Rules;

    /// The project's tables; a registration and its place also have the landlord's pseudonym.
    fn tables() -> Tables {
        let pipelines = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let files = std::fs::read_dir(pipelines.join("facts")).unwrap();
        let mut kinds: Vec<FactKind> =
            files.map(|entry| serde_saphyr::from_str(&read(entry.unwrap().path())).unwrap()).collect();
        let registration = kinds.iter_mut().find(|kind| kind.name == "registration").unwrap();
        let mut landlord = Column::new("landlord", ColumnType::Text, "房东");
        landlord.personal = true;
        registration.columns.push(landlord);
        let text = read(pipelines.join("tables/places.yaml"))
            + "  - {name: owner, type: text, personal: true, merge: latest, from: [{kind: registration, column: landlord}]}\n";
        Tables::parse(Path::new("places.yaml"), &text, &FactKinds::new(kinds), 4).unwrap()
    }

    async fn refusal(front: &str, shape: &str, sql: &str) -> Option<String> {
        let text = format!("-- rule: r\n-- title: t\n-- version: 1\n-- shape: {shape}\n{front}\n--\n{sql}");
        Rules::parse(vec![("r.sql", text)], &tables()).await.err().map(|error| error.to_string())
    }

    const MESSAGE: &str = "-- message: \"{address}\"";

    #[tokio::test]
    async fn a_rule_that_reads_a_personal_column_is_refused_with_the_line() {
        let places = "r.sql:8: it reads places.owner, which is personal";
        let facts = "r.sql:8: it reads fact_registration.landlord, which is personal";
        for (shape, sql, expected) in [
            ("row", "SELECT place_id, 1 AS severity,\nowner FROM places", places),
            ("row", "SELECT place_id, 1 AS severity,\nupper(owner) AS who FROM places", places),
            ("row", "SELECT place_id, 1 AS severity FROM places\nWHERE owner = 'a'", places),
            ("row", "SELECT place_id, 1 AS severity FROM places p\nWHERE p.owner IS NOT NULL", places),
            ("row", "SELECT *, 1 AS severity\nFROM places", "it reads places.owner"),
            (
                "facts",
                "SELECT place_id, count(DISTINCT\nlandlord) AS severity FROM fact_registration GROUP BY place_id",
                facts,
            ),
            (
                "facts",
                "WITH r AS (SELECT place_id,\nlandlord AS x FROM fact_registration)\nSELECT place_id, 1 AS severity FROM places JOIN r USING (place_id) WHERE x > 'a'",
                facts,
            ),
            (
                "facts",
                "SELECT place_id, row_number() OVER (PARTITION BY place_id\nORDER BY landlord) AS n, 1 AS severity FROM fact_registration",
                facts,
            ),
        ] {
            let told = refusal(MESSAGE, shape, sql).await.unwrap_or_else(|| panic!("accepted: {sql}"));
            assert!(told.contains(expected) && told.contains("leave the column out"), "{sql}: {told}");
        }
    }

    #[tokio::test]
    async fn message_update_when_and_evidence_do_not_name_personal_columns() {
        let sql = "SELECT place_id, 1 AS severity, rooms FROM places";
        for (front, expected) in [
            ("-- message: \"{owner}\"", "r.sql:5: message: {owner} is a personal column"),
            (
                "-- message: \"{address}\"\n-- update_when: rooms, owner",
                "r.sql:6: update_when: owner is a personal column",
            ),
            (
                "-- message: \"{address}\"\n-- evidence: registration heaviest landlord 3",
                "r.sql:6: evidence: facts of registration cannot be chosen by a personal column",
            ),
        ] {
            let told = refusal(front, "row", sql).await.unwrap_or_else(|| panic!("accepted: {front}"));
            assert!(told.contains(expected), "{told}");
        }
    }

    #[tokio::test]
    async fn tables_with_personal_columns_serve_rules_that_leave_them_alone() {
        let front =
            "-- message: \"{address}：{rooms}\"\n-- update_when: rooms\n-- evidence: registration newest 3";
        let sql = "SELECT place_id, 1 AS severity, rooms FROM places WHERE rooms > 3";
        assert_eq!(refusal(front, "row", sql).await, None);
        let sql = "WITH r AS (SELECT * FROM fact_registration)\nSELECT place_id, count(*) AS severity, max(rooms) AS rooms FROM r GROUP BY place_id";
        assert_eq!(refusal(front, "facts", sql).await, None);
    }
}
