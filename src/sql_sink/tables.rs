//! The tables of a mirror: one for each dclass that stores anything, made and extended from the contract.
//!
//! Decides what tables and columns are called and when they change. Which table and column stand for which class and
//! field is noted in tables of our own (`donet_tables`, `donet_columns`), by the numbers that the database stores them
//! under, so that a name that changes by hint is changed here too:
//!
//! * a new class gets a table, a new field a column;
//! * a whole number that has got more bytes gets a wider column;
//! * a field of another kind loses its column and gets a new one: the database has converted its values, and the mirror
//!   copies them anew;
//! * the table of a class, or the column of a field, that is gone stays as it is.

use super::connection::{Connection, Dialect, SqlError, SqlValue, placeholder, quoted};
use super::values::Kind;
use crate::database_server::OutboxReader;
use donet_dc::Field;
use hashbrown::{HashMap, HashSet};

/// Longer names are cut by PostgreSQL.
const NAME_BYTES_MAX: usize = 63;
/// The key of every table.
pub(super) const DOID: &str = "doid";
/// Names that are taken: ours, and in any table those of PostgreSQL's own columns.
const OWN_TABLES: [&str; 3] = ["donet_sink", "donet_tables", "donet_columns"];
const OWN_COLUMNS: [&str; 7] = [DOID, "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// A column, and the field whose values it holds.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Stored number of the field.
    pub field: u32,
    pub name: String,
    pub kind: Kind,
}

/// A table, and the class whose objects it holds.
#[derive(Clone, Debug)]
pub(super) struct ClassTable {
    pub name: String,
    /// Of the contract; `None` for a class that is gone.
    pub class: Option<u16>,
    /// Those of fields that the contract still has.
    pub columns: Vec<Column>,
}

impl ClassTable {
    pub fn column(&self, field: u32) -> Option<&Column> {
        self.columns.iter().find(|column| column.field == field)
    }
}

/// All tables, by the stored number of their class.
#[derive(Debug, Default)]
pub(super) struct Tables(pub HashMap<u32, ClassTable>);

/// As noted beside the tables.
struct Noted {
    tables: HashMap<u32, (String, String)>,
    columns: HashMap<(u32, u32), NotedColumn>,
}

#[derive(Clone)]
struct NotedColumn {
    field_name: String,
    name: String,
    kind: Kind,
}

/// Makes our own tables.
pub(super) fn ensure_own(connection: &mut dyn Connection) -> Result<(), SqlError> {
    connection.execute(
        "CREATE TABLE IF NOT EXISTS donet_sink (one bigint PRIMARY KEY, layout bigint NOT NULL, position bigint NOT NULL, \
         run bigint NOT NULL, copy_next bigint, copied bigint NOT NULL); \
         CREATE TABLE IF NOT EXISTS donet_tables (class bigint PRIMARY KEY, dclass text NOT NULL, \
         table_name text NOT NULL); \
         CREATE TABLE IF NOT EXISTS donet_columns (class bigint NOT NULL, field bigint NOT NULL, \
         field_name text NOT NULL, column_name text NOT NULL, kind text NOT NULL, PRIMARY KEY (class, field))",
        &[],
    )?;
    Ok(())
}

impl Tables {
    /// Brings the tables to what the contract says. To be called within a transaction.
    pub fn ensure(connection: &mut dyn Connection, reader: &OutboxReader) -> Result<Self, SqlError> {
        let mut noted = Noted::load(connection)?;
        let mut tables = Tables::default();
        for class in reader.contract.classes() {
            let Some(number) = reader.class_number(class.id()) else { continue };
            let fields = reader.stored_fields(class.id());
            // A class without stored fields has objects all the same.
            let name = noted.ensure_table(connection, number, class.name())?;
            let mut table = ClassTable { name, class: Some(class.id()), columns: Vec::new() };
            for (field_number, id) in fields {
                let Some(field) = reader.contract.field(id) else { continue };
                table.columns.push(noted.ensure_column(connection, number, &table.name, field_number, field)?);
            }
            tables.0.insert(number, table);
        }
        // Objects of classes that are gone may still have to be removed.
        for (number, (_, name)) in noted.tables {
            let gone = || ClassTable { name, class: None, columns: Vec::new() };
            tables.0.entry(number).or_insert_with(gone);
        }
        Ok(tables)
    }
}

impl Noted {
    fn load(connection: &mut dyn Connection) -> Result<Self, SqlError> {
        let mut noted = Noted { tables: HashMap::new(), columns: HashMap::new() };
        let spoilt = || SqlError("donet_tables or donet_columns holds what was not written by donetd".to_owned());
        for row in connection.query("SELECT class, dclass, table_name FROM donet_tables", &[])? {
            let [class, dclass, name] = &row[..] else { return Err(spoilt()) };
            let class = number(class).ok_or_else(spoilt)?;
            let (dclass, name) = dclass.text().zip(name.text()).ok_or_else(spoilt)?;
            noted.tables.insert(class, (dclass.to_owned(), name.to_owned()));
        }
        let query = "SELECT class, field, field_name, column_name, kind FROM donet_columns";
        for row in connection.query(query, &[])? {
            let [class, field, field_name, name, kind] = &row[..] else { return Err(spoilt()) };
            let key = number(class).zip(number(field)).ok_or_else(spoilt)?;
            let (field_name, name) = field_name.text().zip(name.text()).ok_or_else(spoilt)?;
            let kind = kind.text().and_then(Kind::by_name).ok_or_else(spoilt)?;
            let column = NotedColumn { field_name: field_name.to_owned(), name: name.to_owned(), kind };
            noted.columns.insert(key, column);
        }
        Ok(noted)
    }

    fn ensure_table(&mut self, connection: &mut dyn Connection, class: u32, dclass: &str) -> Result<String, SqlError> {
        let before = self.tables.get(&class).cloned();
        if let Some((_, name)) = before.as_ref().filter(|(known, _)| known == dclass) {
            return Ok(name.clone());
        }
        let others = self.tables.iter().filter(|(number, _)| **number != class).map(|(_, (_, name))| &name[..]);
        let name = choose(dclass, class, others.chain(OWN_TABLES));
        match before {
            Some((_, old)) if old != name => {
                connection.execute(&format!("ALTER TABLE {} RENAME TO {}", quoted(&old), quoted(&name)), &[])?;
            }
            Some(_) => {}
            None => {
                connection.execute(&format!("CREATE TABLE {} ({DOID} bigint PRIMARY KEY)", quoted(&name)), &[])?;
            }
        }
        let row = [integer(class), text(dclass), text(&name)];
        run(connection, "DELETE FROM donet_tables WHERE class = ?", &row[..1])?;
        run(connection, "INSERT INTO donet_tables (class, dclass, table_name) VALUES (?, ?, ?)", &row)?;
        self.tables.insert(class, (dclass.to_owned(), name.clone()));
        Ok(name)
    }

    fn ensure_column(
        &mut self,
        connection: &mut dyn Connection,
        class: u32,
        table: &str,
        number: u32,
        field: &Field,
    ) -> Result<Column, SqlError> {
        let (wanted, key) = (Kind::of(field), (class, number));
        let before = self.columns.get(&key).cloned();
        // A column that is wider than it must be stays so.
        let kind = before.as_ref().map_or(wanted, |old| if is_wider(wanted, old.kind) { old.kind } else { wanted });
        if let Some(old) = before.as_ref().filter(|old| old.field_name == field.name() && old.kind == kind) {
            return Ok(Column { field: number, name: old.name.clone(), kind });
        }
        let same_table = self.columns.iter().filter(|((other, _), _)| *other == class);
        let others = same_table.filter(|((_, other), _)| *other != number).map(|(_, column)| &column.name[..]);
        let name = choose(field.name(), number, others.chain(OWN_COLUMNS));
        let table = quoted(table);
        match before {
            None => add_column(connection, &table, &name, kind)?,
            Some(old) => {
                if old.name != name {
                    let (from, to) = (quoted(&old.name), quoted(&name));
                    connection.execute(&format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}"), &[])?;
                }
                if is_wider(old.kind, kind) {
                    widen_column(connection, &table, &name, old.kind, kind)?;
                } else if old.kind != kind {
                    connection.execute(&format!("ALTER TABLE {table} DROP COLUMN {}", quoted(&name)), &[])?;
                    add_column(connection, &table, &name, kind)?;
                }
            }
        }
        let row = [integer(class), integer(number), text(field.name()), text(&name), text(kind.name())];
        run(connection, "DELETE FROM donet_columns WHERE class = ? AND field = ?", &row[..2])?;
        let insert = "INSERT INTO donet_columns (class, field, field_name, column_name, kind) VALUES (?, ?, ?, ?, ?)";
        run(connection, insert, &row)?;
        let column = NotedColumn { field_name: field.name().to_owned(), name: name.clone(), kind };
        self.columns.insert(key, column);
        Ok(Column { field: number, name, kind })
    }
}

/// Whether every value of the one kind is a value of the other, and they are not the same.
fn is_wider(from: Kind, to: Kind) -> bool {
    from < to && to <= Kind::Numeric
}

fn add_column(connection: &mut dyn Connection, table: &str, name: &str, kind: Kind) -> Result<(), SqlError> {
    let column_type = kind.column_type(connection.dialect());
    connection.execute(&format!("ALTER TABLE {table} ADD COLUMN {} {column_type}", quoted(name)), &[]).map(drop)
}

fn widen_column(
    connection: &mut dyn Connection,
    table: &str,
    name: &str,
    from: Kind,
    to: Kind,
) -> Result<(), SqlError> {
    let dialect = connection.dialect();
    let (name, column_type) = (quoted(name), to.column_type(dialect));
    let alter = match dialect {
        _ if from.column_type(dialect) == column_type => return Ok(()),
        Dialect::Postgres => format!("ALTER TABLE {table} ALTER COLUMN {name} TYPE {column_type}"),
        // It cannot change the type of a column.
        Dialect::Sqlite => format!(
            "ALTER TABLE {table} ADD COLUMN donet_wider {column_type}; \
             UPDATE {table} SET donet_wider = CAST({name} AS {column_type}); \
             ALTER TABLE {table} DROP COLUMN {name}; ALTER TABLE {table} RENAME COLUMN donet_wider TO {name}"
        ),
    };
    connection.execute(&alter, &[]).map(drop)
}

/// A name for a table or column that is called `wanted` in the DC files: that one, unless it is too long or differs from
/// another only in case. Then its stored number follows it, which no other has.
fn choose<'a>(wanted: &str, number: u32, others: impl Iterator<Item = &'a str>) -> String {
    let taken: HashSet<String> = others.map(str::to_lowercase).collect();
    // SQLite keeps these names for itself.
    let is_reserved = wanted.to_lowercase().starts_with("sqlite_");
    if wanted.len() <= NAME_BYTES_MAX && !is_reserved && !taken.contains(&wanted.to_lowercase()) {
        return wanted.to_owned();
    }
    let prefix = if is_reserved { "dc_" } else { "" };
    let mut suffix = format!("_{number}");
    loop {
        let room = NAME_BYTES_MAX - prefix.len() - suffix.len();
        let end = (0..=room.min(wanted.len())).rev().find(|end| wanted.is_char_boundary(*end)).unwrap_or(0);
        let name = format!("{prefix}{}{suffix}", &wanted[..end]);
        if !taken.contains(&name.to_lowercase()) {
            return name;
        }
        suffix.push('_');
    }
}

/// Does one of our own statements, with `?` for its parameters.
pub(super) fn run(connection: &mut dyn Connection, sql: &str, parameters: &[SqlValue]) -> Result<u64, SqlError> {
    connection.execute(&numbered(connection.dialect(), sql), parameters)
}

/// `?` as the dialect writes it; the statement has no other.
pub(super) fn numbered(dialect: Dialect, sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 8);
    for (index, part) in sql.split('?').enumerate() {
        if index > 0 {
            placeholder(dialect, index, &mut out);
        }
        out.push_str(part);
    }
    out
}

fn number(value: &SqlValue) -> Option<u32> {
    value.integer().and_then(|number| u32::try_from(number).ok())
}

fn integer(number: u32) -> SqlValue {
    SqlValue::Integer(number.into())
}

fn text(text: &str) -> SqlValue {
    SqlValue::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_where_they_can_be_and_unlike_all_others() {
        let choose = |wanted: &str, others: &[&str]| choose(wanted, 7, others.iter().copied());
        assert_eq!(choose("setX", &["setY"]), "setX");
        assert_eq!(choose("setX", &["setx"]), "setX_7", "SQLite does not tell them apart");
        assert_eq!(choose("setX", &["setx", "SETX_7"]), "setX_7_");
        assert_eq!(choose("doid", &OWN_COLUMNS), "doid_7");
        assert_eq!(choose("sqlite_x", &[]), "dc_sqlite_x_7");
        let long = "n".repeat(63);
        assert_eq!(choose(&long, &[]), long);
        assert_eq!(choose(&"n".repeat(64), &[]), format!("{}_7", "n".repeat(61)));
        assert_eq!(choose(&"é".repeat(40), &[]).len(), 62, "cut between characters");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn whole_numbers_widen_and_nothing_else() {
        assert!(is_wider(Kind::Small, Kind::Numeric) && is_wider(Kind::Integer, Kind::Big));
        assert!(!is_wider(Kind::Big, Kind::Integer) && !is_wider(Kind::Big, Kind::Real));
        assert!(!is_wider(Kind::Real, Kind::Text) && !is_wider(Kind::Small, Kind::Small));
    }
}
