//! One connection to a PostgreSQL server, and what its errors mean.

use std::collections::BTreeMap;

use tokio::task::AbortHandle;
use tokio_postgres::{Client, Config, NoTls, RowStream, error::SqlState, types::ToSql};

use crate::{Error, PostgresSource, config::without_secrets};

/// Where a URL without a password gets it from, as with PostgreSQL's own tools.
const PASSWORD_VARIABLE: &str = "PGPASSWORD";

/// A connection that only reads. Ends when dropped.
pub struct Session {
    client: Client,
    connection: AbortHandle,
    table: String,
    name: String,
}

impl Session {
    pub async fn open(source: &PostgresSource, zone_minutes: i32) -> Result<Self, Error> {
        let shown = without_secrets(&source.url);
        let name = format!("{shown}/{}", source.table);
        let mut config: Config = source.url.parse().map_err(|_| Error::Refused {
            what: name.clone(),
            detail: "the url cannot be read".into(),
            mend: "write it as postgresql://user:password@host:port/database",
        })?;
        if config.get_password().is_none()
            && let Some(password) = std::env::var_os(PASSWORD_VARIABLE)
        {
            config.password(password.as_encoded_bytes());
        }
        config.application_name("yibiao").connect_timeout(source.timeout);
        let (client, connection) =
            config.connect(NoTls).await.map_err(|error| judge(&name, "connecting", error))?;
        let task = tokio::spawn(async move {
            // The error also reaches whoever waits for an answer.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to postgresql ended");
            }
        });
        let session = Self { client, connection: task.abort_handle(), table: source.table.clone(), name };
        let sign = if zone_minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (zone_minutes.abs() / 60, zone_minutes.abs() % 60);
        // Times without a zone are compared with the server's clock in the source's own zone.
        let settings = format!(
            "set default_transaction_read_only = on; set datestyle = 'ISO, YMD'; set statement_timeout = {}; \
             set time zone interval '{sign}{hours:02}:{minutes:02}' hour to minute",
            source.timeout.as_millis()
        );
        session.client.batch_execute(&settings).await.map_err(|error| session.failed("preparing", error))?;
        Ok(session)
    }

    /// The table, without secrets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The table's columns with their types as SQL writes them.
    pub async fn columns(&self) -> Result<BTreeMap<String, String>, Error> {
        const COLUMNS: &str = "select attname::text, format_type(atttypid, atttypmod) from pg_attribute \
             where attrelid = $1::text::regclass and attnum > 0 and not attisdropped";
        let rows = self.client.query(COLUMNS, &[&self.table]).await;
        let rows = rows.map_err(|error| self.failed("looking for the columns of", error))?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, _>>()
            .map_err(|error| self.failed("looking for the columns of", error))
    }

    pub async fn count(&self, statement: &str) -> Result<u64, Error> {
        let row = self.client.query_one(statement, &[]).await;
        let count: i64 =
            row.and_then(|row| row.try_get(0)).map_err(|error| self.failed("counting", error))?;
        Ok(count.unsigned_abs())
    }

    pub async fn text(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<String, Error> {
        let row = self.client.query_one(statement, parameters).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| self.failed("asking", error))
    }

    pub async fn rows(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<RowStream, Error> {
        let parameters = parameters.iter().copied();
        self.client.query_raw(statement, parameters).await.map_err(|error| self.failed("reading", error))
    }

    pub fn failed(&self, doing: &str, error: tokio_postgres::Error) -> Error {
        judge(&self.name, doing, error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Wrong passwords, names and permissions are an operator's business; all else may pass.
fn judge(name: &str, doing: &str, error: tokio_postgres::Error) -> Error {
    let Some(database) = error.as_db_error() else {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let detail = format!("{doing}: {error}{cause}");
        // What the driver finds wrong with the configuration itself; it has no other name for it.
        if cause.ends_with("password missing") {
            return Error::Refused { what: name.to_owned(), detail, mend: "set PGPASSWORD" };
        }
        return Error::away(name, detail);
    };
    let mend = match database.code() {
        &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "correct user and password in the url, or PGPASSWORD where the url has no password"
        }
        &SqlState::INVALID_CATALOG_NAME => "correct the database in the url",
        &SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME => {
            "correct the table in the configuration"
        }
        &SqlState::UNDEFINED_COLUMN => "compare the contract with the table",
        &SqlState::INSUFFICIENT_PRIVILEGE => "ask the department to grant select on the table",
        code if matches!(&code.code()[..2], "22" | "28" | "42") => "compare the contract with the table",
        _ => return Error::away(name, format!("{doing}: {}", database.message())),
    };
    Error::Refused { what: name.to_owned(), detail: format!("{doing}: {}", database.message()), mend }
}
