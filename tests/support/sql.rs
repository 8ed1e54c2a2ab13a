//! SQL databases for tests of the sink: a SQLite file, or a PostgreSQL server of the test's own.

use super::support;
use donet_perf::wait;
use postgres::{Client, NoTls};
use rusqlite::types::Value as SqliteValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Reached only by a failure, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// A PostgreSQL server in a folder of its own, on a socket in it. Killed when dropped.
pub struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
    child: Option<Child>,
}

/// Where Debian puts what is not on the path.
fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.extend(on_path.unwrap_or_default());
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

impl Server {
    /// `None` where PostgreSQL is not installed.
    pub fn start(test: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            support::skip(test, "PostgreSQL (initdb, postgres)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("donet-pg-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        let mut server = Self { folder, programs, child: None };
        let mut initdb = server.command("initdb");
        initdb.args(["--auth=trust", "--username=donet", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        initdb.arg(server.data()).stdout(Stdio::null());
        let output = initdb.output().expect("initdb starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        server.restart();
        Some(server)
    }

    /// PostgreSQL does not run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if rustix::process::getuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the configuration names.
    pub fn url(&self) -> String {
        let socket = self.folder.path().to_str().expect("a temporary folder is UTF-8").replace('/', "%2F");
        format!("postgres://donet@{socket}/postgres")
    }

    /// Starts the server again, if it does not run, and waits until it takes connections.
    pub fn restart(&mut self) {
        let taken = wait::until("PostgreSQL to take connections", || {
            if self.child.as_mut().is_none_or(|child| child.try_wait().expect("it is a child").is_some()) {
                let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
                let mut command = self.command("postgres");
                command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
                command.args(["-c", "listen_addresses=", "-c", "max_connections=20", "-c", "shared_buffers=16MB"]);
                self.child = Some(command.stderr(log.expect("a log")).spawn().expect("postgres starts"));
            }
            Ok(Client::connect(&self.url(), NoTls).is_ok())
        });
        taken.unwrap_or_else(|failure| panic!("{failure}: {}", self.log()));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// SIGKILL for the postmaster.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("it ran");
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.url(), NoTls).unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a sink writes.
pub enum Target {
    Sqlite(PathBuf),
    Postgres(Server),
}

/// A column, as noted beside the tables.
struct Column {
    field: String,
    name: String,
    kind: String,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Target {
    pub fn url(&self) -> String {
        match self {
            Target::Sqlite(path) => format!("sqlite:{}", path.display()),
            Target::Postgres(server) => server.url(),
        }
    }

    /// Every row of every table, by doid, as `donetd db export` would write the object.
    pub fn objects(&self) -> BTreeMap<u64, Value> {
        let mut objects = BTreeMap::new();
        for row in self.query("SELECT CAST(class AS text), dclass, table_name FROM donet_tables") {
            let [class, dclass, table] = [0, 1, 2].map(|place| row[place].as_str().expect("not null"));
            let columns = format!("SELECT field_name, column_name, kind FROM donet_columns WHERE class = {class}");
            let text = |row: &[Value], place: usize| row[place].as_str().expect("not null").to_owned();
            let columns: Vec<Column> = self
                .query(&columns)
                .iter()
                .map(|row| Column { field: text(row, 0), name: text(row, 1), kind: text(row, 2) })
                .collect();
            let mut select = "SELECT CAST(doid AS text)".to_owned();
            for column in &columns {
                select += &match column.kind.as_str() {
                    "bytes" => format!(", {}", self.hexadecimal(&quoted(&column.name))),
                    "real" => format!(", {}", self.digits(&quoted(&column.name))),
                    _ => format!(", CAST({} AS text)", quoted(&column.name)),
                };
            }
            for row in self.query(&format!("{select} FROM {}", quoted(table))) {
                let doid: u64 = row[0].as_str().expect("a key").parse().expect("a number");
                let shown = columns.iter().zip(&row[1..]).filter(|(_, value)| !value.is_null());
                let fields: Map<String, Value> = shown
                    .map(|(column, value)| {
                        (column.field.clone(), exported(&column.kind, value.as_str().expect("text")))
                    })
                    .collect();
                let object = json!({ "doid": doid, "class": dclass, "fields": fields });
                assert!(objects.insert(doid, object).is_none(), "{doid} has two rows");
            }
        }
        objects
    }

    fn hexadecimal(&self, name: &str) -> String {
        match self {
            Target::Sqlite(_) => format!("CASE WHEN {name} IS NULL THEN NULL ELSE lower(hex({name})) END"),
            Target::Postgres(_) => format!("encode({name}, 'hex')"),
        }
    }

    /// A float with all its digits.
    fn digits(&self, name: &str) -> String {
        match self {
            Target::Sqlite(_) => format!("CASE WHEN {name} IS NULL THEN NULL ELSE printf('%!.17g', {name}) END"),
            Target::Postgres(_) => format!("CAST({name} AS text)"),
        }
    }

    /// The rows of a query whose columns are texts.
    pub fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        match self {
            Target::Sqlite(path) => sqlite_query(path, sql),
            Target::Postgres(server) => {
                let rows = server.client().query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                rows.iter()
                    .map(|row| (0..row.len()).map(|place| json!(row.get::<_, Option<String>>(place))).collect())
                    .collect()
            }
        }
    }

    pub fn kill(&mut self) {
        if let Target::Postgres(server) = self {
            server.kill();
        }
    }

    /// Until what is returned is dropped, and [`Target::restart`] called, nothing can be written.
    pub fn put_out_of_order(&mut self) -> Option<rusqlite::Connection> {
        self.kill();
        let Target::Sqlite(path) = self else { return None };
        let connection = rusqlite::Connection::open(path).expect("the file is there");
        connection.busy_timeout(PATIENCE).expect("it is open");
        connection.execute_batch("BEGIN IMMEDIATE").expect("the sink's transactions end");
        Some(connection)
    }

    pub fn restart(&mut self) {
        if let Target::Postgres(server) = self {
            server.restart();
        }
    }
}

fn sqlite_query(path: &Path, sql: &str) -> Vec<Vec<Value>> {
    let connection = rusqlite::Connection::open(path).expect("the file is there");
    connection.busy_timeout(PATIENCE).expect("it is open");
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let columns = statement.column_count();
    let mut rows = statement.query([]).expect("no parameters");
    let mut found = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let value = |place| match row.get::<_, SqliteValue>(place).expect("a value") {
            SqliteValue::Text(text) => json!(text),
            SqliteValue::Null => Value::Null,
            other => panic!("{sql}: {other:?} is no text"),
        };
        found.push((0..columns).map(value).collect());
    }
    found
}

/// A column's value as text, as an export writes the field.
fn exported(kind: &str, text: &str) -> Value {
    let bytes = |digits: &str| -> Value {
        let bytes: Vec<u8> =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex")).collect();
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => json!(text),
            _ => json!({ "hex": digits }),
        }
    };
    match kind {
        "int16" | "int32" | "int64" => json!([text.parse::<i64>().expect("a number")]),
        "uint64" => json!([text.parse::<u64>().expect("a number")]),
        "real" => json!([text.parse::<f64>().expect("a number")]),
        "text" => match text.strip_prefix("\\x") {
            Some(digits) => json!([bytes(digits)]),
            None => json!([text]),
        },
        "bytes" => json!([bytes(text)]),
        "json" => serde_json::from_str(text).expect("JSON"),
        other => panic!("unknown kind {other}"),
    }
}
