//! A SQLite file.

use super::connection::{Connection, Dialect, SqlError, SqlValue};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{ToSql, params_from_iter};
use std::path::Path;
use std::time::Duration;

/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements that are kept prepared.
const STATEMENTS_MAX: usize = 256;

pub(super) struct SqliteConnection(rusqlite::Connection);

impl SqliteConnection {
    pub fn open(path: &Path) -> Result<Self, SqlError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| SqlError(format!("{}: {error}", folder.display())))?;
        }
        let connection =
            rusqlite::Connection::open(path).map_err(|error| SqlError(format!("{}: {error}", path.display())))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // Readers do not wait for the sink, nor it for them; and what is committed is on disk, because the outbox lets
        // go of it then.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").map_err(failed)?;
        Ok(Self(connection))
    }
}

impl Connection for SqliteConnection {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn begin(&mut self) -> Result<(), SqlError> {
        self.0.execute_batch("BEGIN IMMEDIATE").map_err(failed)
    }

    fn execute(&mut self, sql: &str, parameters: &[SqlValue]) -> Result<u64, SqlError> {
        if parameters.is_empty() {
            return self.0.execute_batch(sql).map(|()| 0).map_err(failed);
        }
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        statement.execute(params_from_iter(parameters)).map(|rows| rows as u64).map_err(failed)
    }

    fn query(&mut self, sql: &str, parameters: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>, SqlError> {
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let columns = statement.column_count();
        let rows = statement.query_map(params_from_iter(parameters), |row| {
            (0..columns).map(|column| row.get(column).map(value)).collect()
        });
        rows.map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
    }
}

fn value(value: Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Integer(number) => SqlValue::Integer(number),
        Value::Real(number) => SqlValue::Real(number),
        Value::Text(text) => SqlValue::Text(text),
        Value::Blob(bytes) => SqlValue::Bytes(bytes),
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Integer(number) => ValueRef::Integer(*number),
            SqlValue::Real(number) => ValueRef::Real(*number),
            SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
            SqlValue::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn failed(error: rusqlite::Error) -> SqlError {
    SqlError(error.to_string())
}
