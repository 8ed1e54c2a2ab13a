//! Reads a configuration file and refuses what cannot work, with the place and the remedy.
//!
//! The file is walked as TOML's own tree with places ([`toml::de::DeTable`]) rather than derived, so that every
//! refusal, of a type, a range or a reference, looks the same and one run reports them all. Opens no socket and
//! creates nothing.

use super::diagnostic::Faults;
use super::references::{Claims, Purpose};
use super::services::{self, Context, EVENT_LOGGER_PORT};
use super::table::{Table, Use};
use super::values::parse_cpus;
use super::*;
use crate::wire::{Doid, is_reserved_doid};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use tracing_subscriber::EnvFilter;

/// Why a configuration was refused: one paragraph for every fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Reads and checks a file.
///
/// # Errors
/// [`ConfigError`], which names file, line, column, the offending text and what is expected.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |error: std::io::Error| {
        ConfigError(format!(
            "{}: the configuration file cannot be read: {error}\n  name one that exists: donetd FILE (config/dev.toml is an example)",
            path.display()
        ))
    };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(path, text),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let (line, column) = super::diagnostic::position(&valid, valid.len());
            Err(ConfigError(format!("{}:{line}:{column}: this is not UTF-8; TOML files are", path.display())))
        }
    }
}

/// Checks the text of a file; relative paths start at the folder of `path`.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let faults = Faults::default();
    let (root, errors) = DeTable::parse_recoverable(text);
    let config = if errors.is_empty() {
        read(root.get_ref(), &folder_of(path), text, &faults)
    } else {
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let (message, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
            let expected = if expected.is_empty() { String::new() } else { format!("expected {expected}") };
            faults.push(span, message, expected);
        }
        None
    };
    match (faults.render(path, text), config) {
        (None, Some(config)) => Ok(config),
        (Some(faults), _) => Err(ConfigError(faults)),
        (None, None) => {
            Err(ConfigError(format!("{}: refused, and no reason was noted: please report this", path.display())))
        }
    }
}

/// Absolute and, where it exists, free of symbolic links.
fn folder_of(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    folder.canonicalize().or_else(|_| std::path::absolute(folder)).unwrap_or_else(|_| folder.to_owned())
}

fn read<'t>(entries: &'t DeTable<'t>, folder: &'t Path, text: &str, faults: &'t Faults) -> Option<Config> {
    let mut root = Table::new(String::new(), 0..0, entries, faults);
    let mut context = Context {
        folder,
        claims: Claims::default(),
        directories: Vec::new(),
        sql_targets: Vec::new(),
        warnings: Vec::new(),
    };
    let daemon = daemon(root.table("daemon"));
    let (global, inheritance) = global(root.table("global"), folder);
    let shards = shards(root.table("shards"));
    let admin = admin(root.table("admin"));
    let uberdogs = uberdogs(root.tables("uberdogs"), &mut context.claims);
    let services = root.table("services");
    if services.is_none() {
        faults.push(
            0..0,
            "this daemon would do nothing",
            "expected at least one table such as [services.message_director]",
        );
    }
    root.finish();
    let mut services = services?;
    let mut directors = services.tables("message_director");
    for second in directors.iter().skip(1) {
        faults.push(
            second.span.clone(),
            "a second message director",
            "expected one; its `bind` may be a list of addresses",
        );
    }
    directors.truncate(1);
    let message_director = read_all(directors, services::message_director, &mut context);
    let client_agents = read_all(services.tables("client_agent"), super::client_agent::client_agent, &mut context);
    let state_servers = read_all(services.tables("state_server"), services::state_server, &mut context);
    let databases = services.tables("database_server");
    let dbss = services.tables("dbss");
    let stores = databases.iter().chain(&dbss).map(|table| table.name.clone()).next();
    if let (Some(span), Some(role)) = (inheritance, stores) {
        faults.push(
            span,
            format!("`dc_multiple_inheritance = false` together with {role}"),
            "expected true: otherwise field ids are per class, and stored fields cannot be told apart",
        );
    }
    let database_servers = read_all(databases, services::database_server, &mut context);
    let database_state_servers = read_all(dbss, services::database_state_server, &mut context);
    let event_loggers = read_all(services.tables("event_logger"), services::event_logger, &mut context);
    services.finish();
    context.claims.check(text, faults);
    let config = Config {
        daemon: daemon?,
        global: global?,
        shards: shards?,
        admin: admin?,
        uberdogs: uberdogs?,
        message_director: message_director?.pop(),
        client_agents: client_agents?,
        state_servers: state_servers?,
        database_servers: database_servers?,
        database_state_servers: database_state_servers?,
        event_loggers: event_loggers?,
        warnings: context.warnings,
    };
    Some(warned(config, &context.claims))
}

/// All of them, or nothing if one was refused.
fn read_all<'t, T>(
    tables: Vec<Table<'t>>,
    read: impl Fn(Table<'t>, &mut Context<'t>) -> Option<T>,
    context: &mut Context<'t>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = tables.into_iter().map(|table| read(table, context)).collect();
    read.into_iter().collect()
}

/// Adds what is allowed and still likely to be a mistake.
fn warned(mut config: Config, claims: &Claims) -> Config {
    for role in &config.database_state_servers {
        if !config.database_servers.iter().any(|database| database.control_channel == role.db_channel) {
            let channel = role.db_channel;
            let who = if claims.is_claimed(Purpose::Control, channel) { "another role" } else { "nobody" };
            config.warnings.push(format!(
                "[services.dbss]: db_channel {channel} is the control channel of {who} in this daemon; \
                 a database server has to be linked to it"
            ));
        }
    }
    if !config.client_agents.is_empty() && config.global.dc_files.is_empty() {
        config.warnings.push("[global]: dc_files is empty, so clients can do nothing with any object".into());
    }
    config
}

fn daemon(table: Option<Table<'_>>) -> Option<Daemon> {
    let mut daemon = Daemon { name: "Donet Cluster".into(), id: None, log_level: "info".into() };
    let Some(mut table) = table else { return Some(daemon) };
    if let Some(name) = table.text("name") {
        daemon.name = name.into_inner().to_owned();
    }
    daemon.id = table.integer("id", 0..=u32::MAX.into()).map(|id| id.into_inner() as u32);
    let expected = "error, warn, info, debug, trace, or a tracing filter such as \"info,donet::client_agent=debug\"";
    if let Some(level) = table.parsed("log_level", expected, check_log_level) {
        daemon.log_level = level;
    }
    table.finish();
    Some(daemon)
}

fn check_log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    // A filter takes any single word as the name of a module; here it can only be a misspelt level.
    if !text.contains(['=', ',']) && !LEVELS.contains(&text) {
        let near = super::diagnostic::did_you_mean(text, LEVELS)
            .map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        return Err(format!("\"{text}\" is no level{near}"));
    }
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// The second value is the place of `dc_multiple_inheritance = false`.
fn global(table: Option<Table<'_>>, folder: &Path) -> (Option<Global>, Option<std::ops::Range<usize>>) {
    let mut global = Global {
        eventlogger: None,
        dc_files: Vec::new(),
        dc_multiple_inheritance: true,
        dc_sort_inheritance_by_file: true,
        dc_virtual_inheritance: true,
        text: Text::Utf8,
    };
    let Some(mut table) = table else { return (Some(global), None) };
    global.eventlogger = table.address("eventlogger", EVENT_LOGGER_PORT, Use::Send).map(Spanned::into_inner);
    global.dc_files = table.parsed_list(
        "dc_files",
        "the path of a DC file; relative ones start at the folder of this file",
        |text| {
            let path = super::table::absolute(folder, text);
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => Err(format!("{} is a folder", path.display())),
                Ok(_) => Ok(path),
                Err(error) => Err(format!("{}: {error}", path.display())),
            }
        },
    );
    let multiple = table.value("dc_multiple_inheritance").map(Spanned::span);
    global.dc_multiple_inheritance = table.boolean("dc_multiple_inheritance", true);
    global.dc_sort_inheritance_by_file = table.boolean("dc_sort_inheritance_by_file", true);
    global.dc_virtual_inheritance = table.boolean("dc_virtual_inheritance", true);
    global.text =
        table.choice("text", &[("utf8", Text::Utf8), ("ascii", Text::Ascii), ("bytes", Text::Bytes)], Text::Utf8);
    table.finish();
    let off = multiple.filter(|_| !global.dc_multiple_inheritance);
    (Some(global), off)
}

fn shards(table: Option<Table<'_>>) -> Option<Shards> {
    let mut shards = Shards { count: ShardCount::Auto, pin: true, cpus: Vec::new() };
    let Some(mut table) = table else { return Some(shards) };
    if let Some(value) = table.value("count") {
        let max = SHARD_COUNT_MAX as u64;
        match value.get_ref() {
            DeValue::String(text) if text == "auto" => {}
            DeValue::String(text) => {
                table.refuse(
                    "count",
                    value,
                    format!("\"{text}\" is unknown"),
                    format!("expected \"auto\" or a number from 1 to {max}"),
                );
            }
            _ => {
                if let Some(count) = table.integer_in("count", value, 1..=max) {
                    shards.count = ShardCount::Count(count.into_inner() as usize);
                }
            }
        }
    }
    shards.pin = table.boolean("pin", true);
    shards.cpus = table.parsed("cpus", "CPU numbers such as \"2-15\" or \"0,2,4-6\"", parse_cpus).unwrap_or_default();
    table.finish();
    Some(shards)
}

fn admin(table: Option<Table<'_>>) -> Option<Admin> {
    const ADMIN_PORT: u16 = 7190;
    /// Guessing must take longer than anybody has.
    const TOKEN_BYTES_MIN: usize = 16;
    let (mut bind, mut token, mut drain_deadline) = (None, None, None);
    if let Some(mut table) = table {
        bind = table.address("bind", ADMIN_PORT, Use::Listen).map(Spanned::into_inner);
        // As dev.toml shows it: none.
        token = table.text("token").filter(|token| !token.get_ref().is_empty());
        if let Some(short) = token.as_ref().filter(|token| token.get_ref().len() < TOKEN_BYTES_MIN) {
            let wrong = format!("`token` in {} is too short to keep anybody out", table.name);
            table.faults.push(
                short.span(),
                wrong,
                format!("expected at least {TOKEN_BYTES_MIN} characters, drawn at random"),
            );
        }
        let seconds = table.integer("drain_deadline_s", 1..=super::table::WEEK_MS / 1000).map(Spanned::into_inner);
        drain_deadline = seconds.map(Duration::from_secs);
        table.finish();
    }
    let token = token.map(|token| token.into_inner().to_owned());
    Some(Admin { bind, token, drain_deadline })
}

fn uberdogs(tables: Vec<Table<'_>>, claims: &mut Claims) -> Option<Vec<Uberdog>> {
    let mut uberdogs: Vec<Uberdog> = Vec::new();
    let mut complete = true;
    for mut table in tables {
        let id = table.integer("id", 0..=Doid::MAX.into());
        let id = table.required("id", id, "1234").map(|id| Spanned::new(id.span(), *id.get_ref() as Doid));
        let id = id.filter(|id| {
            let wrong = if is_reserved_doid(*id.get_ref()) {
                format!("doid {} is reserved", id.get_ref())
            } else if uberdogs.iter().any(|other| other.id == *id.get_ref()) {
                format!("doid {} is the id of two uberdogs", id.get_ref())
            } else {
                return true;
            };
            let message = format!("`id` in {}: {wrong}", table.name);
            table.faults.push(id.span(), message, "expected a doid above 999 that no other uberdog has");
            false
        });
        let class = table.text("class");
        let class = table.required("class", class, "\"LoginManager\"").map(|class| class.into_inner().to_owned());
        let anonymous = table.boolean("anonymous", false);
        table.finish();
        if let Some(id) = &id {
            claims.add(Purpose::Uberdog, u64::from(*id.get_ref())..=u64::from(*id.get_ref()), id.span(), &table.name);
        }
        match (id, class) {
            (Some(id), Some(class)) => uberdogs.push(Uberdog { id: id.into_inner(), class, anonymous }),
            _ => complete = false,
        }
    }
    complete.then_some(uberdogs)
}
