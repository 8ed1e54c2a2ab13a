//! PostgreSQL, and what speaks its protocol.

use super::connection::{Connection, Dialect, SqlError, SqlValue};
use bytes::BytesMut;
use hashbrown::HashMap;
use postgres::config::SslMode;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};
use std::error::Error;
use std::time::Duration;

/// How long a server may take to accept a connection, if the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until a server that has gone silent is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Statements that are kept prepared; then all are forgotten.
const STATEMENTS_MAX: usize = 256;

pub(super) struct PostgresConnection {
    client: Client,
    statements: HashMap<String, Statement>,
}

/// Whether this can be the URL of a server. What is said of it never repeats it.
///
/// # Errors
/// What is wrong, in words.
pub fn check_postgres_url(url: &str) -> Result<(), String> {
    let config: Config = url.parse().map_err(|error: postgres::Error| in_words(&error))?;
    if config.get_hosts().is_empty() {
        return Err("it names no host".to_owned());
    }
    if config.get_ssl_mode() == SslMode::Require {
        return Err("TLS to the SQL server is not available (sslmode): use its socket, or a network of your own".into());
    }
    Ok(())
}

impl PostgresConnection {
    pub fn open(url: &str) -> Result<Self, SqlError> {
        let mut config: Config = url.parse().map_err(failed)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("donetd");
        }
        config.keepalives_idle(SILENCE_MAX).tcp_user_timeout(SILENCE_MAX);
        let client = config.connect(NoTls).map_err(failed)?;
        let mut connection = Self { client, statements: HashMap::new() };
        connection.lock()?;
        Ok(connection)
    }

    /// Keeps other sinks out of these tables until the connection ends. Two would take turns in copying everything.
    fn lock(&mut self) -> Result<(), SqlError> {
        let failed = || SqlError("another process mirrors a database into the same tables".to_owned());
        let schema = self.query("SELECT CAST(coalesce(current_schema(), '') AS text)", &[])?;
        let name = schema.first().and_then(|row| row[0].text()).unwrap_or_default();
        // FNV-1a: the same name is the same number everywhere.
        let key = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let locked = "SELECT CAST(CAST(pg_try_advisory_lock($1) AS int) AS bigint)";
        let locked = self.query(locked, &[SqlValue::Integer(key as i64)])?;
        if locked.first().is_some_and(|row| row[0].integer() == Some(1)) { Ok(()) } else { Err(failed()) }
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, SqlError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).map_err(failed)?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Connection for PostgresConnection {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn begin(&mut self) -> Result<(), SqlError> {
        self.client.batch_execute("BEGIN").map_err(failed)
    }

    fn execute(&mut self, sql: &str, parameters: &[SqlValue]) -> Result<u64, SqlError> {
        if parameters.is_empty() {
            return self.client.batch_execute(sql).map(|()| 0).map_err(failed);
        }
        let statement = self.prepare(sql)?;
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|value| value as _).collect();
        self.client.execute(&statement, &parameters).map_err(failed)
    }

    fn query(&mut self, sql: &str, parameters: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>, SqlError> {
        let statement = self.prepare(sql)?;
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|value| value as _).collect();
        let rows = self.client.query(&statement, &parameters).map_err(failed)?;
        rows.iter().map(|row| (0..row.len()).map(|column| value_at(row, column)).collect()).collect()
    }
}

fn value_at(row: &postgres::Row, column: usize) -> Result<SqlValue, SqlError> {
    Ok(match *row.columns()[column].type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(column).map_err(failed)?.map_or(SqlValue::Null, SqlValue::Integer),
        _ => row.try_get::<_, Option<String>>(column).map_err(failed)?.map_or(SqlValue::Null, SqlValue::Text),
    })
}

impl ToSql for SqlValue {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            SqlValue::Null => Ok(IsNull::Yes),
            SqlValue::Integer(number) => match *ty {
                Type::INT2 => i16::try_from(*number)?.to_sql(ty, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
                _ => number.to_sql(ty, out),
            },
            SqlValue::Real(number) => number.to_sql(ty, out),
            SqlValue::Text(text) => text.to_sql(ty, out),
            SqlValue::Bytes(bytes) => bytes.to_sql(ty, out),
        }
    }

    /// The tables are ours: what is sent is what their columns take.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn failed(error: postgres::Error) -> SqlError {
    SqlError(in_words(&error))
}

/// An error with its causes: the outermost alone says little.
fn in_words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
