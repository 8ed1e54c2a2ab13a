//! What the sink asks of a SQL database, whichever it is.

use std::fmt::Write;

/// A parameter, or a value of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SqlValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl SqlValue {
    pub fn integer(&self) -> Option<i64> {
        if let SqlValue::Integer(number) = self { Some(*number) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        if let SqlValue::Text(text) = self { Some(text) } else { None }
    }
}

/// Whose SQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// What a SQL database says when it does not do something.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SqlError(pub String);

/// An open connection. Statements without parameters are not kept prepared; others are.
pub(super) trait Connection {
    fn dialect(&self) -> Dialect;

    /// Begins a transaction in which nobody else writes into our tables.
    ///
    /// # Errors
    /// As all of these: what the database says.
    fn begin(&mut self) -> Result<(), SqlError>;

    /// Does a statement; how many rows it concerned.
    fn execute(&mut self, sql: &str, parameters: &[SqlValue]) -> Result<u64, SqlError>;

    /// The rows of a query, whose columns are 64-bit integers and texts.
    fn query(&mut self, sql: &str, parameters: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>, SqlError>;
}

/// A name in a statement, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `$1, $2, …`, in the words of the dialect.
pub(super) fn placeholder(dialect: Dialect, number: usize, out: &mut String) {
    let sign = if dialect == Dialect::Postgres { '$' } else { '?' };
    let _ = write!(out, "{sign}{number}");
}
