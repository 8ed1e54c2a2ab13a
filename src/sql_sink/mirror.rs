//! Carrying changes over: entries of the outbox in their order, or a copy of everything.
//!
//! Every transaction stores how far it comes beside the rows that it changes, so that a crash of either side leaves
//! nothing missing and nothing applied twice. A copy goes through the objects in ascending order, a part to a
//! transaction. Meanwhile changes go on: those of objects behind its front are applied like any others, those of objects
//! before it are left out, because the copy comes to them. So it needs no snapshot, and goes on where it was after a
//! crash. What the tables hold from earlier is replaced part by part.

use super::connection::{Connection, Dialect, SqlError, SqlValue, placeholder, quoted};
use super::tables::{ClassTable, DOID, Tables, ensure_own, run};
use crate::database_server::{ObjectChange, OutboxEntry, OutboxPage, OutboxPosition, OutboxReader, ReaderError};
use crate::progress_lines::ProgressLines;
use bytes::Bytes;
use hashbrown::HashMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The layout of our own tables.
const LAYOUT: i64 = 1;
/// Rows of one statement, and parameters that neither database minds.
const ROWS_MAX: usize = 50;
const PARAMETERS_MAX: usize = 30_000;
/// How long the outbox is listened to before the connection is tried again.
const LISTEN: Duration = Duration::from_millis(500);

/// Why a mirror does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum MirrorError {
    #[error("{0}")]
    Sql(#[from] SqlError),
    #[error("{0}")]
    Reader(#[from] ReaderError),
    #[error("the tables were written by a newer donetd (layout {0})")]
    Layout(i64),
    #[error("another process writes into the same SQL database")]
    Shared,
}

/// A connected mirror.
pub(super) struct Mirror<'a> {
    connection: &'a mut dyn Connection,
    reader: &'a OutboxReader,
    tables: Tables,
    position: OutboxPosition,
    copy: Option<Copying>,
    /// Whether a row was missed, which only somebody else can have removed.
    has_missed: bool,
}

/// A copy that is not complete.
struct Copying {
    /// The first doid that was not copied.
    next: u32,
    copied: u64,
    /// Tables, by stored class number, that may have rows from `next` on.
    stale: Vec<u32>,
    lines: ProgressLines,
}

/// What one transaction brings beside entries.
struct Part<'a> {
    page: &'a OutboxPage,
    from: u32,
    stale: &'a [u32],
}

impl<'a> Mirror<'a> {
    /// Brings the tables to the contract, and finds out from where to go on.
    pub fn resume(connection: &'a mut dyn Connection, reader: &'a OutboxReader) -> Result<Self, MirrorError> {
        ensure_own(connection)?;
        connection.begin()?;
        let query = "SELECT layout, position, run, copy_next, copied FROM donet_sink";
        let state = connection.query(query, &[])?.into_iter().next();
        if let Some(layout) = state.as_ref().and_then(|row| row[0].integer()).filter(|&layout| layout > LAYOUT) {
            return Err(MirrorError::Layout(layout));
        }
        let tables = Tables::ensure(connection, reader)?;
        connection.execute("COMMIT", &[])?;
        let mut mirror =
            Self { connection, reader, tables, position: OutboxPosition::default(), copy: None, has_missed: false };
        let number = |value: &SqlValue| value.integer().unwrap_or_default() as u64;
        let known = state.map(|row| {
            let position = OutboxPosition { number: number(&row[1]), run: number(&row[2]) };
            (position, row[3].integer(), number(&row[4]))
        });
        match known {
            Some((position, next, copied)) if reader.goes_on(position)? => {
                mirror.position = position;
                if let Some(next) = next {
                    tracing::info!(copied, next, "the copy into the SQL database goes on");
                    mirror.begin_part(next as u32, copied)?;
                } else {
                    tracing::info!(position = position.number, "the SQL database goes on");
                }
                // A crash may have come between its commit and this.
                reader.acknowledge(position)?;
            }
            known => mirror.begin_anew(known.is_some())?,
        }
        Ok(mirror)
    }

    fn begin_anew(&mut self, had_state: bool) -> Result<(), MirrorError> {
        let position = self.reader.begin()?;
        let why = if had_state { "the changes since it was last up to date are not all kept" } else { "it is new" };
        self.connection.begin()?;
        self.connection.execute("DELETE FROM donet_sink", &[])?;
        let row = [1, LAYOUT, position.number as i64, position.run as i64, 0, 0].map(SqlValue::Integer);
        let insert = "INSERT INTO donet_sink (one, layout, position, run, copy_next, copied) VALUES (?, ?, ?, ?, ?, ?)";
        run(self.connection, insert, &row)?;
        self.connection.execute("COMMIT", &[])?;
        // Only now: an end before it begins this anew, one after it goes on.
        tracing::info!(why, "everything is copied into the SQL database");
        self.reader.figures.copies.fetch_add(1, Ordering::Relaxed);
        self.position = position;
        self.begin_part(0, 0)
    }

    fn begin_part(&mut self, next: u32, copied: u64) -> Result<(), MirrorError> {
        let mut stale = Vec::new();
        for (number, table) in &self.tables.0 {
            let query = format!("SELECT {DOID} FROM {} WHERE {DOID} >= ? LIMIT 1", quoted(&table.name));
            let query = super::tables::numbered(self.connection.dialect(), &query);
            if !self.connection.query(&query, &[SqlValue::Integer(next.into())])?.is_empty() {
                stale.push(*number);
            }
        }
        self.copy = Some(Copying { next, copied, stale, lines: ProgressLines::new(Instant::now()) });
        self.tell(copied);
        Ok(())
    }

    fn tell(&self, copied: u64) {
        self.reader.figures.copied_objects.store(copied, Ordering::Relaxed);
        self.reader.figures.is_copying.store(self.copy.is_some(), Ordering::Relaxed);
    }

    /// Carries something over, if there is anything; waits a little if there is not. Returns whether there was.
    pub fn step(&mut self) -> Result<bool, MirrorError> {
        match self.copy.take() {
            Some(copy) => self.copy_part(copy).map(|()| true),
            None => match self.reader.after(self.position.number, LISTEN)? {
                Some(entries) if entries.is_empty() => Ok(false),
                Some(entries) => self.transact(&entries, None).map(|()| true),
                None => self.begin_anew(true).map(|()| true),
            },
        }
    }

    /// Tries the connection.
    pub fn check(&mut self) -> Result<(), MirrorError> {
        Ok(self.connection.query("SELECT position FROM donet_sink", &[]).map(drop)?)
    }

    /// Copies the next part. The page is what the entries up to its end have made of the objects, so these go first.
    fn copy_part(&mut self, copy: Copying) -> Result<(), MirrorError> {
        let Copying { next: from, copied, stale, lines } = copy;
        let page = self.reader.page(from)?;
        let mut entries = Vec::new();
        while self.position.number + (entries.len() as u64) < page.end {
            let after = self.position.number + entries.len() as u64;
            let Some(more) = self.reader.after(after, LISTEN)? else { return self.begin_anew(true) };
            entries.extend(more.into_iter().filter(|entry| entry.position.number <= page.end));
            if self.position.number + (entries.len() as u64) < page.end {
                // A long backlog takes transactions of its own.
                self.copy = Some(Copying { next: from, copied, stale: Vec::new(), lines });
                self.transact(&entries, None)?;
                entries.clear();
            }
        }
        self.copy = Some(Copying { next: from, copied, stale: Vec::new(), lines });
        self.transact(&entries, Some(Part { page: &page, from, stale: &stale }))?;
        let copied = copied + page.objects.len() as u64;
        self.copy = page.next.map(|next| Copying { next, copied, stale, lines });
        self.tell(copied);
        self.say_progress(copied, page.highest);
        Ok(())
    }

    fn say_progress(&mut self, copied: u64, highest: u32) {
        let Some(copy) = &mut self.copy else {
            tracing::info!(copied, "everything has been copied into the SQL database");
            return;
        };
        if let Some(seconds) = copy.lines.due(Instant::now()) {
            tracing::info!(copied, next = copy.next, highest, seconds, "copying into the SQL database");
        }
    }

    /// One transaction: entries, then perhaps a part of a copy; and how far that comes.
    fn transact(&mut self, entries: &[OutboxEntry], part: Option<Part<'_>>) -> Result<(), MirrorError> {
        self.connection.begin()?;
        self.claim()?;
        let mut rows = 0;
        let front = self.copy.as_ref().map(|copy| copy.next);
        for object in merged(entries) {
            if front.is_none_or(|front| object.doid < front) {
                rows += self.apply(&object)?;
            }
        }
        let position = entries.last().map_or(self.position, |entry| entry.position);
        let mut state = vec![SqlValue::Integer(position.number as i64), SqlValue::Integer(position.run as i64)];
        if let Some(part) = part {
            rows += self.replace(&part)?;
            state.push(part.page.next.map_or(SqlValue::Null, |next| SqlValue::Integer(next.into())));
            state.push(SqlValue::Integer(part.page.objects.len() as i64));
            let update = "UPDATE donet_sink SET position = ?, run = ?, copy_next = ?, copied = copied + ?";
            run(self.connection, update, &state)?;
        } else {
            run(self.connection, "UPDATE donet_sink SET position = ?, run = ?", &state)?;
        }
        self.connection.execute("COMMIT", &[])?;
        self.reader.figures.rows.fetch_add(rows, Ordering::Relaxed);
        if position != self.position {
            self.position = position;
            self.reader.acknowledge(position)?;
        }
        Ok(())
    }

    /// Makes sure that nobody else carries anything over, until the end of the transaction.
    fn claim(&mut self) -> Result<(), MirrorError> {
        let lock = if self.connection.dialect() == Dialect::Postgres { " FOR UPDATE" } else { "" };
        let state = self.connection.query(&format!("SELECT position, run FROM donet_sink{lock}"), &[])?;
        let expected = [self.position.number, self.position.run].map(|number| SqlValue::Integer(number as i64));
        if state.first().is_some_and(|row| row[..] == expected) { Ok(()) } else { Err(MirrorError::Shared) }
    }

    /// Returns how many rows it concerned.
    fn apply(&mut self, object: &ObjectChange) -> Result<u64, MirrorError> {
        let mut rows = 0;
        if let Some(before) = object.before.filter(|_| object.before != object.after)
            && let Some(table) = self.tables.0.get(&before)
        {
            let delete = format!("DELETE FROM {} WHERE {DOID} = ?", quoted(&table.name));
            rows += run(self.connection, &delete, &[SqlValue::Integer(object.doid.into())])?;
        }
        let Some(table) = object.after.and_then(|after| self.tables.0.get(&after)) else { return Ok(rows) };
        if object.before != object.after {
            let values = object.fields.iter().filter_map(|(number, value)| Some((*number, value.as_ref()?)));
            let row = self.row(table, object.doid, values);
            return Ok(rows + insert(self.connection, table, &[row])?);
        }
        let mut assignments = String::new();
        let mut parameters = Vec::new();
        let dialect = self.connection.dialect();
        for (number, value) in &object.fields {
            let Some(column) = table.column(*number) else { continue };
            parameters.push(value.as_ref().map_or(SqlValue::Null, |value| self.value(table, *number, value)));
            let mut name = String::new();
            placeholder(dialect, parameters.len(), &mut name);
            let separator = if assignments.is_empty() { "" } else { ", " };
            let value = column.kind.parameter_expression(dialect, &name);
            let _ = write!(assignments, "{separator}{} = {value}", quoted(&column.name));
        }
        if parameters.is_empty() {
            return Ok(rows);
        }
        parameters.push(SqlValue::Integer(object.doid.into()));
        let mut update = format!("UPDATE {} SET {assignments} WHERE {DOID} = ", quoted(&table.name));
        placeholder(dialect, parameters.len(), &mut update);
        let changed = self.connection.execute(&update, &parameters)?;
        if changed == 0 && !std::mem::replace(&mut self.has_missed, true) {
            tracing::warn!(
                table = self.tables.0.get(&object.after.unwrap_or_default()).map(|table| &table.name[..]),
                doid = object.doid,
                "this row is missing in the SQL database: somebody else has removed it; said once for a connection. \
                 Empty the table donet_sink to have everything copied anew"
            );
        }
        Ok(rows + changed)
    }

    /// Puts the objects of a part in the place of whatever the tables hold between its ends.
    fn replace(&mut self, part: &Part<'_>) -> Result<u64, MirrorError> {
        let mut rows = 0;
        let end = part.page.next.map_or(1 << 32, i64::from);
        for table in part.stale.iter().filter_map(|number| self.tables.0.get(number)) {
            let delete = format!("DELETE FROM {} WHERE {DOID} >= ? AND {DOID} < ?", quoted(&table.name));
            rows += run(self.connection, &delete, &[SqlValue::Integer(part.from.into()), SqlValue::Integer(end)])?;
        }
        let mut by_class: Vec<(u32, Vec<Vec<SqlValue>>)> = Vec::new();
        for &(doid, class, ref fields) in &part.page.objects {
            let Some(table) = self.tables.0.get(&class).filter(|table| table.class.is_some()) else { continue };
            let row = self.row(table, doid, fields.iter().map(|(number, value)| (*number, value)));
            match by_class.iter_mut().find(|(other, _)| *other == class) {
                Some((_, rows)) => rows.push(row),
                None => by_class.push((class, vec![row])),
            }
        }
        for (class, found) in by_class {
            let table = &self.tables.0[&class];
            let most = (PARAMETERS_MAX / (table.columns.len() + 1)).clamp(1, ROWS_MAX);
            let mut found = &found[..];
            while !found.is_empty() {
                // Two statements for each table: of many rows, and of one.
                let (now, later) = found.split_at(if found.len() >= most { most } else { 1 });
                rows += insert(self.connection, table, now)?;
                found = later;
            }
        }
        Ok(rows)
    }

    /// The doid and a value for every column.
    fn row<'b>(&self, table: &ClassTable, doid: u32, values: impl Iterator<Item = (u32, &'b Bytes)>) -> Vec<SqlValue> {
        let mut row = vec![SqlValue::Null; table.columns.len() + 1];
        row[0] = SqlValue::Integer(doid.into());
        for (number, value) in values {
            if let Some(place) = table.columns.iter().position(|column| column.field == number) {
                row[place + 1] = self.value(table, number, value);
            }
        }
        row
    }

    /// NULL for what is no value of the field any more. It is followed by a change that removes or converts it: such a
    /// contract is refused while any value is stored.
    fn value(&self, table: &ClassTable, number: u32, value: &Bytes) -> SqlValue {
        let found = table.class.zip(table.column(number)).and_then(|(class, column)| {
            let (id, value) = self.reader.value(class, number, value)?;
            column.kind.value(self.reader.contract.field(id)?, &value)
        });
        found.unwrap_or_else(|| {
            tracing::debug!(table = table.name, field = number, "a change from before the field had its present type");
            SqlValue::Null
        })
    }
}

/// What entries make of each object. Of changes to the fields of one object that follow each other only the last of each
/// field is left: after a long absence of the SQL database most of what waits has been overtaken.
fn merged(entries: &[OutboxEntry]) -> Vec<ObjectChange> {
    let mut objects: Vec<ObjectChange> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    for change in entries.iter().flat_map(|entry| &entry.objects) {
        let only_sets = change.before == change.after;
        let before = places.get(&change.doid).map(|place| &mut objects[*place]);
        match before.filter(|before| only_sets && before.after == change.before) {
            Some(before) => {
                for (number, value) in &change.fields {
                    match before.fields.iter_mut().find(|(other, _)| other == number) {
                        Some((_, overtaken)) => *overtaken = value.clone(),
                        None => before.fields.push((*number, value.clone())),
                    }
                }
            }
            None => {
                places.insert(change.doid, objects.len());
                objects.push(change.clone());
            }
        }
    }
    objects
}

/// Inserts rows, or replaces those of the same doids. All have as many values as the table has columns.
fn insert(connection: &mut dyn Connection, table: &ClassTable, rows: &[Vec<SqlValue>]) -> Result<u64, SqlError> {
    let dialect = connection.dialect();
    let mut sql = format!("INSERT INTO {} ({DOID}", quoted(&table.name));
    for column in &table.columns {
        let _ = write!(sql, ", {}", quoted(&column.name));
    }
    sql.push_str(") VALUES ");
    let mut number = 0;
    for row in 0..rows.len() {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for place in 0..=table.columns.len() {
            number += 1;
            let mut name = String::new();
            placeholder(dialect, number, &mut name);
            match place {
                0 => sql.push_str(&name),
                _ => {
                    let value = table.columns[place - 1].kind.parameter_expression(dialect, &name);
                    let _ = write!(sql, ", {value}");
                }
            }
        }
        sql.push(')');
    }
    let _ = write!(sql, " ON CONFLICT ({DOID}) DO ");
    for (place, column) in table.columns.iter().enumerate() {
        let name = quoted(&column.name);
        let _ = write!(sql, "{}{name} = excluded.{name}", if place == 0 { "UPDATE SET " } else { ", " });
    }
    if table.columns.is_empty() {
        sql.push_str("NOTHING");
    }
    connection.execute(&sql, &rows.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_changes_that_follow_each_other_only_the_last_of_each_field_is_left() {
        let change = |doid, before, after, fields: &[(u32, Option<&'static [u8]>)]| ObjectChange {
            doid,
            before,
            after,
            fields: fields.iter().map(|(number, value)| (*number, value.map(Bytes::from_static))).collect(),
        };
        let set = |doid, fields| change(doid, Some(7), Some(7), fields);
        let batches = [
            vec![change(1, None, Some(7), &[(1, Some(b"a"))]), set(2, &[(1, Some(b"a")), (2, Some(b"b"))])],
            vec![set(1, &[(1, Some(b"c")), (2, Some(b"d"))]), set(2, &[(2, None)])],
            // Gone, there again as another class, and set: the last two are one.
            vec![change(2, Some(7), None, &[(1, None)])],
            vec![change(2, None, Some(8), &[(3, Some(b"e"))]), change(3, None, None, &[])],
            vec![change(2, Some(8), Some(8), &[(3, Some(b"f"))]), set(1, &[(1, None)])],
        ];
        let entries: Vec<OutboxEntry> = (1..)
            .zip(batches)
            .map(|(number, objects)| OutboxEntry {
                position: OutboxPosition { number, run: 1 },
                written_ms: 0,
                objects,
            })
            .collect();
        let expected = [
            change(1, None, Some(7), &[(1, None), (2, Some(b"d"))]),
            set(2, &[(1, Some(b"a")), (2, None)]),
            change(2, Some(7), None, &[(1, None)]),
            change(2, None, Some(8), &[(3, Some(b"f"))]),
            change(3, None, None, &[]),
        ];
        assert_eq!(merged(&entries), expected);
    }
}
