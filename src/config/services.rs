//! Reads the tables below `[services]`, one function for each role.
//!
//! Decides on the values of single keys; what they mean together is noted in [`Claims`] for [`super::references`].

use super::references::{CHANNEL_EXPECTED, Claims, Purpose, reserved_channel, reserved_doids};
use super::table::{Table, Use};
use super::values::{parse_cidr, parse_period};
use super::*;
use crate::database_server::Renames;
use crate::wire::{Channel, Doid};
use rustls::pki_types::ServerName;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::DeValue;

/// The standard ports.
const MESSAGE_DIRECTOR_PORT: u16 = 7199;
pub(super) const EVENT_LOGGER_PORT: u16 = 7197;

/// The largest frame of a link: a budget below it would never let one pass.
const LINK_FRAME_BYTES_MAX: u64 = 2 + u16::MAX as u64;
pub(super) const BUDGET_BYTES_MAX: u64 = 1 << 40;

/// What every role's reader needs.
pub(super) struct Context<'t> {
    pub folder: &'t Path,
    pub claims: Claims,
    /// Of databases, with the table that named each.
    pub directories: Vec<(PathBuf, String)>,
    /// Of SQL sinks, likewise.
    pub sql_targets: Vec<(SqlTarget, String)>,
    pub warnings: Vec<String>,
}

pub(super) fn message_director(mut table: Table<'_>, context: &mut Context<'_>) -> Option<MessageDirector> {
    let mut bind = Vec::new();
    if let Some(value) = table.value("bind") {
        let values = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            if let Some(address) = table.address_in("bind", value, MESSAGE_DIRECTOR_PORT, Use::Listen) {
                context.claims.listen(*address.get_ref(), address.span(), &table.name);
                bind.push(address.into_inner());
            }
        }
    }
    let upstream = table.address("upstream", MESSAGE_DIRECTOR_PORT, Use::Send);
    if let Some(upstream) = &upstream {
        context.claims.dial(*upstream.get_ref(), upstream.span(), &table.name);
    }
    let upstream_reconnect = table.boolean("upstream_reconnect", false);
    let link_budget_bytes = table.integer_or("link_budget_bytes", LINK_FRAME_BYTES_MAX..=BUDGET_BYTES_MAX, 64 << 20);
    let link_stall_timeout = table.milliseconds("link_stall_timeout_ms", 1, 90_000);
    let allow = table.parsed_list("allow", "\"address\" or \"address/prefix bits\"", parse_cidr);
    let host = table.host_of("upstream", MESSAGE_DIRECTOR_PORT);
    let tls = table.table("tls").map(|table| link_tls(table, host, context));
    table.finish();
    Some(MessageDirector {
        bind,
        upstream: upstream.map(Spanned::into_inner),
        upstream_reconnect,
        link_budget_bytes: link_budget_bytes as usize,
        link_stall_timeout,
        allow,
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
    })
}

/// `upstream` is the host that names the upstream Message Director, if there is one.
fn link_tls(mut table: Table<'_>, upstream: Option<String>, context: &mut Context<'_>) -> Option<LinkTls> {
    const NAME_EXPECTED: &str = "a DNS name or an address, without a port";
    let is_name = |name: &str| match ServerName::try_from(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err(format!("`{name}` is neither a DNS name nor an address")),
    };
    let files = super::client_agent::tls(&mut table, context.folder);
    let named = table.text("upstream_name").map(|name| name.span());
    let name = table.parsed("upstream_name", NAME_EXPECTED, is_name);
    let plain_from = table.parsed_list("plain_from", "\"address\" or \"address/prefix bits\"", parse_cidr);
    let handshake_timeout = table.milliseconds("handshake_timeout_ms", 1, 10_000);
    table.finish();
    let refuse = |wrong: String, expected: &str| table.faults.push(table.span.clone(), wrong, expected);
    let files = files?;
    let authority = files.cert_authority.as_ref();
    let upstream_name = match upstream {
        Some(_) if authority.is_none() => {
            let wrong = format!("`cert_authority` is missing in {}, where there is an `upstream`", table.name);
            refuse(wrong, "expected `cert_authority = \"ca.pem\"`: who must have signed the upstream's certificate");
            return None;
        }
        Some(host) => match name.map_or_else(|| is_name(&host), Ok) {
            Ok(name) => Some(name),
            Err(wrong) => {
                refuse(format!("`upstream`: {wrong}"), "expected `upstream_name`: what its certificate is for");
                return None;
            }
        },
        None if let Some(span) = named => {
            let wrong = format!("`upstream_name` in {}: there is no `upstream`", table.name);
            table.faults.push(span, wrong, "leave it out");
            return None;
        }
        None => None,
    };
    if authority.is_none() {
        let what = "links are encrypted, but whoever connects is let in: there is no `cert_authority`";
        context.warnings.push(format!("{}: {what}", table.name));
    }
    Some(LinkTls { files, upstream_name, plain_from, handshake_timeout })
}

pub(super) fn state_server(mut table: Table<'_>, context: &mut Context<'_>) -> Option<StateServer> {
    let control_channel = control_channel(&mut table, &mut context.claims, "102000");
    table.finish();
    Some(StateServer { control_channel: control_channel? })
}

fn control_channel(table: &mut Table<'_>, claims: &mut Claims, example: &str) -> Option<Channel> {
    let channel = channel(table, "control_channel", example)?;
    claims.add(Purpose::Control, *channel.get_ref()..=*channel.get_ref(), channel.span(), &table.name);
    Some(channel.into_inner())
}

fn channel(table: &mut Table<'_>, key: &'static str, example: &str) -> Option<Spanned<Channel>> {
    let channel = table.wide(key);
    let channel = table.required(key, channel, example)?;
    if let Some(wrong) = reserved_channel(*channel.get_ref()) {
        table.faults.push(channel.span(), format!("`{key}` in {}: {wrong}", table.name), CHANNEL_EXPECTED);
        return None;
    }
    Some(channel)
}

pub(super) fn database_server(mut table: Table<'_>, context: &mut Context<'_>) -> Option<DatabaseServer> {
    let control_channel = control_channel(&mut table, &mut context.claims, "103000");
    let min = doid(&mut table, "generate_min");
    let min = table.required("generate_min", min, "100000000");
    let max = doid(&mut table, "generate_max");
    let generate = min.and_then(|min| {
        let max = max.map_or(Doid::MAX, Spanned::into_inner);
        doids(&table, &mut context.claims, Purpose::Generate, "`generate_min`, `generate_max`", min, max)
    });
    let broadcast = table.boolean("broadcast", true);
    let cache_bytes = table.integer_or("cache_bytes", 0..=BUDGET_BYTES_MAX, 64 << 20);
    table.choice("db_backend", &[("rocksdb", ())], ());
    let renames = renames(&mut table);
    let (directory, durability) = rocksdb(&mut table, context);
    if let Some(directory) = &directory {
        if let Some((_, other)) = context.directories.iter().find(|(taken, _)| taken == directory) {
            let message = format!("{} keeps its data in {}, as {other} does", table.name, directory.display());
            table.faults.push(table.span.clone(), message, "expected a `directory` of its own in its rocksdb table");
        }
        context.directories.push((directory.clone(), table.name.clone()));
    }
    let sql_sink = sql_sink(&mut table, context);
    table.finish();
    Some(DatabaseServer {
        control_channel: control_channel?,
        generate: generate?,
        broadcast,
        directory: directory?,
        durability: durability?,
        cache_bytes: cache_bytes as usize,
        renames,
        sql_sink: sql_sink?,
    })
}

/// The inner value is `None` where there is no such table.
fn sql_sink(table: &mut Table<'_>, context: &mut Context<'_>) -> Option<Option<SqlSink>> {
    const OUTBOX_BYTES: u64 = 10 << 30;
    const OUTBOX_BYTES_MIN: u64 = 1 << 20;
    if cfg!(not(feature = "sql")) {
        table.unavailable_table("sql_sink", "this donetd was built without the feature `sql`");
        return Some(None);
    }
    let Some(mut table) = table.table("sql_sink") else { return Some(None) };
    let url = table.text("url");
    let url = table.required("url", url, "\"postgres://user:password@host/database\"");
    let outbox_bytes_max = table.integer_or("outbox_max_bytes", OUTBOX_BYTES_MIN..=BUDGET_BYTES_MAX, OUTBOX_BYTES);
    table.finish();
    let url = url?;
    let target = match sql_target(url.get_ref(), context.folder) {
        Ok(target) => target,
        Err(wrong) => {
            let message = format!("`url` in {}: {wrong}", table.name);
            let expected = "expected \"postgres://user:password@host/database\" or \"sqlite:PATH\"";
            table.faults.push(url.span(), message, expected);
            return None;
        }
    };
    if let Some((_, other)) = context.sql_targets.iter().find(|(taken, _)| *taken == target) {
        let message = format!("`url` in {}: {other} has the same", table.name);
        table.faults.push(url.span(), message, "expected a SQL database of its own for every database server");
        return None;
    }
    context.sql_targets.push((target.clone(), table.name.clone()));
    Some(Some(SqlSink { target, outbox_bytes_max }))
}

/// The text is never repeated in messages: it may hold a password.
fn sql_target(url: &str, folder: &Path) -> Result<SqlTarget, String> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return match path.strip_prefix("//").unwrap_or(path) {
            "" | ":memory:" => Err("it names no file".to_owned()),
            path => Ok(SqlTarget::Sqlite(super::table::absolute(folder, path))),
        };
    }
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err("it begins with neither postgres:// nor sqlite:".to_owned());
    }
    #[cfg(feature = "sql")]
    crate::sql_sink::check_postgres_url(url)?;
    Ok(SqlTarget::Postgres(url.to_owned()))
}

/// Hints such as `"field setName -> setNick"` and `"dclass Toon -> Avatar"`.
fn renames(table: &mut Table<'_>) -> Renames {
    let expected = "\"field oldName -> newName\" or \"dclass OldName -> NewName\"";
    let mut renames = Renames::default();
    for (kind, from, to) in table.parsed_list("renames", expected, parse_rename) {
        if kind == Renamed::Class { &mut renames.classes } else { &mut renames.fields }.push((from, to));
    }
    renames
}

#[derive(PartialEq)]
enum Renamed {
    Class,
    Field,
}

fn parse_rename(text: &str) -> Result<(Renamed, String, String), String> {
    let (names, kind) = match (text.strip_prefix("field "), text.strip_prefix("dclass ")) {
        (Some(names), _) => (names, Renamed::Field),
        (None, Some(names)) => (names, Renamed::Class),
        (None, None) => return Err("it begins with neither `field` nor `dclass`".to_owned()),
    };
    let (from, to) = names.split_once("->").ok_or_else(|| "it has no `->`".to_owned())?;
    let (from, to) = (from.trim(), to.trim());
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    match (is_name(from), is_name(to)) {
        (true, true) if from != to => Ok((kind, from.to_owned(), to.to_owned())),
        (true, true) => Err("both names are the same".to_owned()),
        _ => Err("a name consists of letters, digits and underscores".to_owned()),
    }
}

fn rocksdb(table: &mut Table<'_>, context: &mut Context<'_>) -> (Option<PathBuf>, Option<Durability>) {
    let default_directory = context.folder.join("data/db");
    let Some(mut table) = table.table("rocksdb") else { return (Some(default_directory), Some(Durability::Sync)) };
    let directory = table.path("directory", context.folder).map_or(default_directory, Spanned::into_inner);
    let interval = table.milliseconds("durability_interval_ms", 1, 100);
    let durability = table.choice(
        "durability",
        &[("sync", Durability::Sync), ("interval", Durability::Interval(interval)), ("os", Durability::Os)],
        Durability::Sync,
    );
    table.finish();
    (Some(directory), Some(durability))
}

fn doid(table: &mut Table<'_>, key: &'static str) -> Option<Spanned<Doid>> {
    let doid = table.integer(key, 0..=Doid::MAX.into())?;
    Some(Spanned::new(doid.span(), *doid.get_ref() as Doid))
}

/// A checked range of doids, noted as claimed; `keys` names it in messages.
fn doids(
    table: &Table<'_>,
    claims: &mut Claims,
    purpose: Purpose,
    keys: &str,
    min: Spanned<Doid>,
    max: Doid,
) -> Option<RangeInclusive<Doid>> {
    let range = *min.get_ref()..=max;
    if let Some(wrong) = reserved_doids(&range) {
        let message = format!("{keys} in {}: {wrong}", table.name);
        table.faults.push(min.span(), message, "expected doids above 999, the minimum first");
        return None;
    }
    claims.add(purpose, u64::from(*range.start())..=u64::from(*range.end()), min.span(), &table.name);
    Some(range)
}

pub(super) fn database_state_server(mut table: Table<'_>, context: &mut Context<'_>) -> Option<DatabaseStateServer> {
    let db_channel = channel(&mut table, "db_channel", "103000");
    let mut ranges = Vec::new();
    let mut complete = true;
    let (min, max) = (doid(&mut table, "range_min"), doid(&mut table, "range_max"));
    let several = table.tables("ranges");
    if several.is_empty() || min.is_some() || max.is_some() {
        let min = table.required("range_min", min, "100000000");
        let max = table.required("range_max", max, "199999999");
        let range = min.zip(max).and_then(|(min, max)| {
            doids(&table, &mut context.claims, Purpose::Dbss, "`range_min`, `range_max`", min, max.into_inner())
        });
        complete &= range.is_some();
        ranges.extend(range);
    }
    for mut range in several {
        let (min, max) = (doid(&mut range, "min"), doid(&mut range, "max"));
        let min = range.required("min", min, "100000000");
        let max = range.required("max", max, "199999999");
        range.finish();
        let range = min.zip(max).and_then(|(min, max)| {
            doids(&range, &mut context.claims, Purpose::Dbss, "`min`, `max`", min, max.into_inner())
        });
        complete &= range.is_some();
        ranges.extend(range);
    }
    let activate_on_location = table.boolean("activate_on_location", true);
    let follow_database = table.boolean("follow_database", false);
    let load_timeout = table.milliseconds("load_timeout_ms", 1, 10_000);
    let load_queue_max = table.integer_or("load_queue_max", 1..=u32::MAX.into(), 1000) as usize;
    table.finish();
    Some(DatabaseStateServer {
        db_channel: db_channel?.into_inner(),
        ranges: complete.then_some(ranges)?,
        activate_on_location,
        follow_database,
        load_timeout,
        load_queue_max,
    })
}

pub(super) fn event_logger(mut table: Table<'_>, context: &mut Context<'_>) -> Option<EventLogger> {
    let bind = table.address("bind", EVENT_LOGGER_PORT, Use::Listen);
    let bind = table.required("bind", bind, "\"127.0.0.1:7197\"");
    let output = table.path("output", context.folder);
    let output = table.required("output", output, "\"/var/log/donet/\"");
    let log_format = table.parsed(
        "log_format",
        "a strftime template such as \"el-%Y-%m-%d-%H-%M-%S.log\"",
        crate::event_logger::check_name_template,
    );
    let rotate_interval =
        table.parsed("rotate_interval", "a number and min, h, hr, d or mo, or \"0\" for never", parse_period);
    const FILE_BYTES_MIN: u64 = 4096;
    let file_bytes_max = table.value("file_max_bytes").filter(|value| !is_zero(value.get_ref()));
    let file_bytes_max =
        file_bytes_max.and_then(|value| table.integer_in("file_max_bytes", value, FILE_BYTES_MIN..=BUDGET_BYTES_MAX));
    table.finish();
    Some(EventLogger {
        bind: bind?.into_inner(),
        output: output?.into_inner(),
        log_format: log_format.unwrap_or_else(|| "el-%Y-%m-%d-%H-%M-%S.log".into()),
        rotate_interval: rotate_interval.flatten(),
        file_bytes_max: file_bytes_max.map(Spanned::into_inner),
    })
}

fn is_zero(value: &DeValue<'_>) -> bool {
    value.as_integer().is_some_and(|value| u64::from_str_radix(value.as_str(), value.radix()) == Ok(0))
}
