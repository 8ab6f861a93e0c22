//! What a PostgreSQL client may say here: it may read, and it may talk about its own session.

use async_trait::async_trait;
use datafusion::{
    common::ParamValues,
    logical_expr::LogicalPlan,
    prelude::SessionContext,
    sql::sqlparser::ast::{Query, SetExpr, Statement},
};
use datafusion_postgres::{
    QueryHook,
    hooks::HookClient,
    pgwire::{
        api::{ClientInfo, results::Response},
        error::{ErrorInfo, PgWireError, PgWireResult},
    },
};

/// Refuses everything that is not known to read.
#[derive(Debug)]
pub struct ReadOnly;

/// SQLSTATE read_only_sql_transaction
const READ_ONLY: &str = "25006";

impl ReadOnly {
    pub fn check(statement: &Statement) -> PgWireResult<()> {
        if reads(statement) {
            return Ok(());
        }
        let text = statement.to_string();
        let verb: Vec<_> = text.split_whitespace().take(2).collect();
        let message = format!(
            "cannot run {}: these tables are read only; they are made from the departments' records",
            verb.join(" ").to_uppercase()
        );
        Err(PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".into(), READ_ONLY.into(), message))))
    }
}

fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Query(query) => query_reads(query),
        Statement::Explain { statement, .. } => reads(statement),
        Statement::ExplainTable { .. }
        | Statement::Set(_)
        | Statement::ShowVariable { .. }
        | Statement::ShowVariables { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowDatabases { .. }
        | Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint { .. }
        | Statement::ReleaseSavepoint { .. }
        | Statement::Declare { .. }
        | Statement::Fetch { .. }
        | Statement::Close { .. }
        | Statement::Discard { .. }
        | Statement::Deallocate { .. } => true,
        _ => false,
    }
}

fn query_reads(query: &Query) -> bool {
    let with = query.with.iter().flat_map(|with| &with.cte_tables);
    set_reads(&query.body) && with.into_iter().all(|cte| query_reads(&cte.query))
}

fn set_reads(set: &SetExpr) -> bool {
    match set {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => query_reads(query),
        SetExpr::SetOperation { left, right, .. } => set_reads(left) && set_reads(right),
        SetExpr::Values(_) | SetExpr::Table(_) => true,
        _ => false,
    }
}

#[async_trait]
impl QueryHook for ReadOnly {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        _session: &SessionContext,
        _client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        Self::check(statement).err().map(Err)
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        _session: &SessionContext,
        _client: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        Self::check(statement).err().map(Err)
    }

    async fn handle_extended_query(
        &self,
        statement: &Statement,
        _plan: &LogicalPlan,
        _params: &ParamValues,
        _session: &SessionContext,
        _client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        Self::check(statement).err().map(Err)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    use super::*;

    #[test]
    fn statements_that_read_pass_and_all_others_are_refused() {
        for (sql, passes) in [
            ("select 1", true),
            ("with a as (select 1) select * from a union all select 2", true),
            ("explain select 1", true),
            ("set client_encoding to 'UTF8'", true),
            ("begin", true),
            ("insert into places values (1)", false),
            ("explain analyze delete from places", false),
            ("with a as (insert into places values (1) returning *) select * from a", false),
            ("select * into copy_of_places from places", false),
            ("copy places to '/tmp/out.csv'", false),
            ("create table a (b int)", false),
            ("drop table places", false),
            ("update places set rooms = 1", false),
            ("truncate places", false),
        ] {
            let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
            assert_eq!(ReadOnly::check(&statement).is_ok(), passes, "{sql}");
        }
    }
}
