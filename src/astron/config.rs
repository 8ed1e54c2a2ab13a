//! Astron's `astrond.yml` as a configuration of this daemon.
//!
//! Writes a TOML file in which each value of the old one has its place, and a comment for whatever has none. What cannot
//! be understood is refused with its place; what is merely unknown becomes a comment.

use super::yaml::{Fault, Node};
use super::{AstronError, read};
use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::path::Path;

/// A configuration, and what did not come over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The TOML file.
    pub text: String,
    /// One line for each thing that did not come over; they stand in the file, too.
    pub notes: Vec<String>,
}

/// Converts a file.
///
/// # Errors
/// [`AstronError`] with the place of what is not understood.
pub fn convert(file: &Path) -> Result<Converted, AstronError> {
    let root = read(file)?;
    let mut out = Output::default();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    out.line(format_args!(
        "# donetd: made from Astron's {name} by `donetd import astron-config`. config/dev.toml explains every key."
    ));
    out.line("# Lines that begin with \"# Astron:\" name what did not come over.");
    all(&root, &mut out).map_err(|fault| fault.of(file))?;
    Ok(Converted { text: out.text, notes: out.notes })
}

#[derive(Default)]
struct Output {
    text: String,
    notes: Vec<String>,
}

impl Output {
    fn line(&mut self, line: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn table(&mut self, header: &str) {
        self.line(format_args!("\n{header}"));
    }

    fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.line(format_args!("{key} = {}", value.into()));
    }

    /// A channel or a number: those beyond TOML's are written as texts.
    fn set_number(&mut self, key: &str, number: u64) {
        match i64::try_from(number) {
            Ok(number) => self.set(key, number),
            Err(_) => self.set(key, number.to_string()),
        }
    }

    fn note(&mut self, line: usize, what: impl Display) {
        let what = format!("line {line}: {what}");
        // A comment ends where its line does.
        self.line(format_args!("# Astron: {}", what.replace(['\n', '\r'], " ")));
        self.notes.push(what);
    }
}

/// A map of the old file, whose keys are ticked off.
struct Section<'a> {
    name: String,
    node: Option<&'a Node>,
    entries: &'a [(String, Node)],
    taken: RefCell<Vec<&'a str>>,
}

impl<'a> Section<'a> {
    fn of(name: impl Into<String>, node: Option<&'a Node>) -> Result<Self, Fault> {
        let name = name.into();
        let entries = node.map_or(Ok(&[][..]), |node| node.map(&name))?;
        Ok(Self { name, node, entries, taken: RefCell::default() })
    }

    fn get(&self, key: &'a str) -> Option<&'a Node> {
        self.taken.borrow_mut().push(key);
        self.entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    fn what(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn text(&self, key: &'a str) -> Result<Option<&'a str>, Fault> {
        self.get(key).map(|node| node.text(&self.what(key))).transpose()
    }

    fn number(&self, key: &'a str) -> Result<Option<u64>, Fault> {
        self.get(key).map(|node| node.number(&self.what(key))).transpose()
    }

    fn flag(&self, key: &'a str) -> Result<Option<bool>, Fault> {
        self.get(key).map(|node| node.flag(&self.what(key))).transpose()
    }

    fn section(&self, key: &'a str) -> Result<Section<'a>, Fault> {
        Section::of(self.what(key), self.get(key))
    }

    fn list(&self, key: &'a str) -> Result<&'a [Node], Fault> {
        self.get(key).map_or(Ok(&[]), |node| node.list(&self.what(key)))
    }

    /// What Astron, too, demands.
    fn required(&self, key: &'a str) -> Result<u64, Fault> {
        let missing = || {
            let what = format!("{} is missing", self.what(key));
            self.node.map_or(Fault { line: 1, column: 1, what: what.clone() }, |node| node.fault(&what))
        };
        self.number(key)?.ok_or_else(missing)
    }

    /// Keys that nobody has asked for.
    fn rest(&self, out: &mut Output) {
        let taken = self.taken.borrow();
        for (key, node) in self.entries.iter().filter(|(key, _)| !taken.contains(&key.as_str())) {
            out.note(node.line, format_args!("{} has no counterpart that is known here", self.what(key)));
        }
    }

    /// A key that is understood and means nothing here.
    fn drop(&self, key: &'a str, out: &mut Output, because: &str) {
        if let Some(node) = self.get(key) {
            out.note(node.line, format_args!("{}: {because}", self.what(key)));
        }
    }

    /// Takes over values under other names.
    fn flags(&self, out: &mut Output, names: &[(&'a str, &str)]) -> Result<(), Fault> {
        for (old, new) in names {
            if let Some(value) = self.flag(old)? {
                out.set(new, value);
            }
        }
        Ok(())
    }

    fn numbers(&self, out: &mut Output, names: &[(&'a str, &str)]) -> Result<(), Fault> {
        for (old, new) in names {
            if let Some(value) = self.number(old)? {
                out.set_number(new, value);
            }
        }
        Ok(())
    }

    fn texts(&self, out: &mut Output, names: &[(&'a str, &str)]) -> Result<(), Fault> {
        for (old, new) in names {
            if let Some(value) = self.text(old)? {
                out.set(new, value);
            }
        }
        Ok(())
    }
}

fn all(root: &Node, out: &mut Output) -> Result<(), Fault> {
    let file = Section::of("the file", Some(root))?;
    let daemon = Section::of("daemon", file.get("daemon"))?;
    out.table("[daemon]");
    daemon.texts(out, &[("name", "name")])?;
    daemon.numbers(out, &[("id", "id")])?;
    daemon.drop("url", out, "it had no use");
    daemon.rest(out);

    let general = Section::of("general", file.get("general"))?;
    out.table("[global]");
    if let Some(address) = general.text("eventlogger")?.filter(|address| !address.is_empty()) {
        out.set("eventlogger", address);
    }
    out.line("# They started at the folder that Astron was run in; here they start at the folder of this file.");
    let files = general.list("dc_files")?.iter().map(|node| node.text("general.dc_files"));
    out.set("dc_files", files.map(|file| Ok(toml::Value::from(file?))).collect::<Result<Vec<_>, Fault>>()?);
    out.line("# Astron took 7 bits only; here text is UTF-8 unless:");
    out.line("#text = \"ascii\"");
    general.rest(out);

    out.line("\n# The status page and metrics; Astron had none.\n#[admin]\n#bind = \"127.0.0.1:7190\"");
    for node in file.list("uberdogs")? {
        uberdog(&Section::of("uberdogs", Some(node))?, out)?;
    }
    message_director(&Section::of("messagedirector", file.get("messagedirector"))?, out)?;
    let mut databases = 0;
    for node in file.list("roles")? {
        let role = Section::of("roles", Some(node))?;
        let kind = role.text("type")?.ok_or_else(|| node.fault("a role without a type"))?;
        match kind {
            "clientagent" => client_agent(&role, out)?,
            "stateserver" => state_server(&role, out)?,
            "database" => {
                databases += 1;
                database(&role, databases, out)?;
            }
            "dbss" => dbss(&role, out)?,
            "eventlogger" => event_logger(&role, out)?,
            other => {
                let known = "clientagent, stateserver, database, dbss, eventlogger";
                return Err(node.fault(format_args!("a role of the type {other:?}, which is none of {known}")));
            }
        }
        role.rest(out);
    }
    file.rest(out);
    Ok(())
}

fn uberdog<'a>(uberdog: &Section<'a>, out: &mut Output) -> Result<(), Fault> {
    out.table("[[uberdogs]]");
    out.set_number("id", uberdog.required("id")?);
    uberdog.texts(out, &[("class", "class")])?;
    uberdog.flags(out, &[("anonymous", "anonymous")])?;
    uberdog.rest(out);
    Ok(())
}

fn message_director<'a>(director: &Section<'a>, out: &mut Output) -> Result<(), Fault> {
    out.table("[services.message_director]");
    director.texts(out, &[("bind", "bind"), ("connect", "upstream")])?;
    director.drop("threaded", out, "every executor routes");
    director.rest(out);
    Ok(())
}

fn client_agent<'a>(role: &Section<'a>, out: &mut Output) -> Result<(), Fault> {
    out.table("[[services.client_agent]]");
    out.set("bind", role.text("bind")?.unwrap_or("0.0.0.0:7198"));
    out.set("version_string", role.text("version")?.unwrap_or("dev"));
    if let Some(hash) = role.number("manual_dc_hash")?.filter(|&hash| hash != 0) {
        out.set_number("dc_file_hash", hash);
    }
    role.flags(out, &[("haproxy", "haproxy")])?;
    let channels = role.section("channels")?;
    out.set_number("channel_min", channels.required("min")?);
    out.set_number("channel_max", channels.required("max")?);
    channels.rest(out);
    let client = role.section("client")?;
    if let Some(node) = client.get("type")
        && node.text("client.type")? != "libastron"
    {
        return Err(node.fault("there is one type of client here, libastron"));
    }
    client.flags(out, &[("relocate", "relocate"), ("send_hash", "send_hash"), ("send_version", "send_version")])?;
    client.texts(out, &[("add_interest", "interest_permission")])?;
    client.numbers(
        out,
        &[
            ("heartbeat_timeout", "heartbeat_timeout_ms"),
            ("write_buffer_size", "write_buffer_size"),
            ("write_timeout_ms", "write_timeout_ms"),
        ],
    )?;
    client.rest(out);
    let tuning = role.section("tuning")?;
    tuning.numbers(out, &[("interest_timeout", "interest_timeout_ms")])?;
    tuning.rest(out);
    // A table of its own: behind everything else of the role.
    let tls = role.section("tls")?;
    role.rest(out);
    role.taken.borrow_mut().extend(role.entries.iter().map(|(key, _)| key.as_str()));
    if tls.node.is_some() {
        out.table("[services.client_agent.tls]");
        tls.texts(
            out,
            &[
                ("certificate", "certificate"),
                ("key_file", "key_file"),
                ("chain_file", "chain_file"),
                ("cert_authority", "cert_authority"),
            ],
        )?;
        for key in ["tlsv1", "sslv2", "sslv3"] {
            tls.drop(key, out, "TLS 1.2 and 1.3 are spoken here");
        }
        tls.drop("max_verify_depth", out, "certificates are verified to their authority");
        tls.rest(out);
    }
    Ok(())
}

fn state_server<'a>(role: &Section<'a>, out: &mut Output) -> Result<(), Fault> {
    out.table("[[services.state_server]]");
    out.set_number("control_channel", role.required("control")?);
    Ok(())
}

fn database<'a>(role: &Section<'a>, number: usize, out: &mut Output) -> Result<(), Fault> {
    out.table("[[services.database_server]]");
    out.set_number("control_channel", role.required("control")?);
    let generate = role.section("generate")?;
    out.set_number("generate_min", generate.required("min")?);
    generate.numbers(out, &[("max", "generate_max")])?;
    generate.rest(out);
    role.flags(out, &[("broadcast", "broadcast")])?;
    if let Some(backend) = role.get("backend") {
        let kind = Section::of("backend", Some(backend))?;
        let kind = kind.text("type")?.unwrap_or("unnamed").to_owned();
        let how = match kind.as_str() {
            "yaml" => "`donetd db import-astron FOLDER` takes its objects over",
            _ => "convert it to Astron's yaml backend first, then `donetd db import-astron FOLDER`",
        };
        out.note(backend.line, format_args!("the backend {kind}: objects are stored in RocksDB here; {how}"));
    }
    role.rest(out);
    role.taken.borrow_mut().extend(role.entries.iter().map(|(key, _)| key.as_str()));
    out.table("[services.database_server.rocksdb]");
    out.set("directory", if number == 1 { "data/db".to_owned() } else { format!("data/db{number}") });
    Ok(())
}

fn dbss<'a>(role: &Section<'a>, out: &mut Output) -> Result<(), Fault> {
    out.table("[[services.dbss]]");
    out.set_number("db_channel", role.required("database")?);
    let ranges = role.list("ranges")?;
    role.rest(out);
    role.taken.borrow_mut().extend(role.entries.iter().map(|(key, _)| key.as_str()));
    for node in ranges {
        let range = Section::of("ranges", Some(node))?;
        out.table("[[services.dbss.ranges]]");
        out.set_number("min", range.required("min")?);
        out.set_number("max", range.required("max")?);
        range.rest(out);
    }
    Ok(())
}

fn event_logger<'a>(role: &Section<'a>, out: &mut Output) -> Result<(), Fault> {
    out.table("[[services.event_logger]]");
    out.set("bind", role.text("bind")?.unwrap_or("0.0.0.0:7197"));
    // There one pattern of strftime, folder and name together.
    let pattern = role.text("output")?.unwrap_or("events-%y%m%d_%H%M%S.log");
    let (folder, name) = pattern.rsplit_once('/').map_or((".", pattern), |(folder, name)| (folder, name));
    out.set("output", format!("{folder}/"));
    out.set("log_format", name);
    role.texts(out, &[("rotate_interval", "rotate_interval")])
}
