//! Reads one table of the file, key by key, and notes every key that nobody asked for.
//!
//! A getter that finds a fault reports it and answers as if the key were absent, so that one run finds all faults of
//! a file. It decides on types, ranges and syntax; never on what two keys mean together ([`super::references`]).

use super::diagnostic::{Faults, did_you_mean};
use super::values::{parse_address, parse_wide};
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::{Range, RangeInclusive};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest time that a key in milliseconds or seconds may name: a week. Longer ones are a wrong unit.
pub(super) const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;

/// A value of the file with its place.
pub(super) type Placed<'t> = &'t Spanned<DeValue<'t>>;

/// What an address is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Port 0 lets the operating system choose one.
    Listen,
    Send,
}

/// A table that is being read.
pub(super) struct Table<'t> {
    /// As messages name it: `[services.client_agent]`.
    pub name: String,
    /// The header.
    pub span: Range<usize>,
    entries: &'t DeTable<'t>,
    known: Vec<&'static str>,
    pub faults: &'t Faults,
}

impl<'t> Table<'t> {
    pub fn new(name: String, span: Range<usize>, entries: &'t DeTable<'t>, faults: &'t Faults) -> Self {
        Self { name, span, entries, known: Vec::new(), faults }
    }

    /// A value of any type.
    pub fn value(&mut self, key: &'static str) -> Option<Placed<'t>> {
        self.known.push(key);
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Reports a value that is not what it should be.
    pub fn refuse(&self, key: &str, at: Placed<'_>, wrong: impl Into<String>, expected: impl Into<String>) {
        self.faults.push(at.span(), format!("`{key}` in {}: {}", self.name, wrong.into()), expected);
    }

    fn refuse_type(&self, key: &str, at: Placed<'_>, expected: &str) {
        self.refuse(key, at, format!("this is {}", described(at.get_ref())), format!("expected {expected}"));
    }

    /// Reports the absence of a key that has no default. `wanted` may be absent because it was refused.
    pub fn required<T>(&self, key: &str, wanted: Option<T>, example: &str) -> Option<T> {
        if wanted.is_none() && !self.entries.iter().any(|(name, _)| name.get_ref() == key) {
            self.faults.push(
                self.span.clone(),
                format!("`{key}` is missing in {}", self.name),
                format!("expected a line such as `{key} = {example}`"),
            );
        }
        wanted
    }

    pub fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.refuse_type(key, value, "true or false");
            default
        })
    }

    pub fn text(&mut self, key: &'static str) -> Option<Spanned<&'t str>> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.refuse_type(key, value, "a string");
        }
        text.map(|text| Spanned::new(value.span(), text))
    }

    /// A string that `parse` understands.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match parse(text.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(wrong) => {
                let message = format!("`{key}` in {}: {wrong}", self.name);
                self.faults.push(text.span(), message, format!("expected {expected}"));
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)], default: T) -> T {
        let Some(text) = self.text(key) else { return default };
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| word == text.get_ref()) {
            return *chosen;
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let mut expected = format!("expected {}", words.join(" or "));
        if let Some(near) = did_you_mean(text.get_ref(), choices.iter().map(|(word, _)| *word)) {
            expected = format!("did you mean \"{near}\"? {expected}");
        }
        let message = format!("`{key}` in {}: \"{}\" is unknown", self.name, text.get_ref());
        self.faults.push(text.span(), message, expected);
        default
    }

    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Spanned<u64>> {
        let value = self.value(key)?;
        self.integer_in(key, value, range)
    }

    /// An integer that was already found.
    pub fn integer_in(&self, key: &str, value: Placed<'_>, range: RangeInclusive<u64>) -> Option<Spanned<u64>> {
        let DeValue::Integer(integer) = value.get_ref() else {
            self.refuse_type(key, value, &format!("a whole number {}", in_words(&range)));
            return None;
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|number| u64::try_from(number).ok())
        {
            Some(number) if range.contains(&number) => Some(Spanned::new(value.span(), number)),
            _ => {
                self.refuse(key, value, format!("{integer} is out of range"), format!("expected {}", in_words(&range)));
                None
            }
        }
    }

    pub fn integer_or(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.integer(key, range).map_or(default, Spanned::into_inner)
    }

    /// A number of 64 bits: TOML integers end at 2^63 - 1, so it may be a string.
    pub fn wide(&mut self, key: &'static str) -> Option<Spanned<u64>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => {
                let number = parse_wide(text);
                if number.is_none() {
                    self.refuse(
                        key,
                        value,
                        format!("\"{text}\" is not a number"),
                        "expected a number from 0 to 18446744073709551615",
                    );
                }
                number.map(|number| Spanned::new(value.span(), number))
            }
            DeValue::Integer(integer)
                if u64::from_str_radix(integer.as_str(), integer.radix())
                    .is_ok_and(|number| number > i64::MAX as u64) =>
            {
                self.refuse(
                    key,
                    value,
                    format!("{integer} does not fit a TOML integer"),
                    format!("expected a string: \"{integer}\""),
                );
                None
            }
            _ => self.integer_in(key, value, 0..=i64::MAX as u64),
        }
    }

    /// Milliseconds, from `min` to a week.
    pub fn milliseconds(&mut self, key: &'static str, min_ms: u64, default_ms: u64) -> Duration {
        Duration::from_millis(self.integer_or(key, min_ms..=WEEK_MS, default_ms))
    }

    /// Milliseconds where 0 switches something off.
    pub fn milliseconds_or_off(&mut self, key: &'static str, default_ms: u64) -> Option<Duration> {
        Some(self.milliseconds(key, 0, default_ms)).filter(|duration| !duration.is_zero())
    }

    /// The values of a list; a missing one is empty.
    pub fn list(&mut self, key: &'static str, expected: &str) -> Vec<Placed<'t>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => {
                self.refuse_type(key, value, expected);
                Vec::new()
            }
        }
    }

    /// A list of strings that `parse` understands.
    pub fn parsed_list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for value in self.list(key, &format!("a list of strings, each {expected}")) {
            match value.get_ref().as_str().map(&parse) {
                Some(Ok(one)) => parsed.push(one),
                Some(Err(wrong)) => self.refuse(key, value, wrong, format!("expected {expected}")),
                None => self.refuse_type(key, value, &format!("a string: {expected}")),
            }
        }
        parsed
    }

    /// `host[:port]`, resolved.
    pub fn address(&mut self, key: &'static str, default_port: u16, purpose: Use) -> Option<Spanned<SocketAddr>> {
        let value = self.value(key)?;
        self.address_in(key, value, default_port, purpose)
    }

    /// An address that was already found.
    pub fn address_in(
        &self,
        key: &str,
        value: Placed<'_>,
        default_port: u16,
        purpose: Use,
    ) -> Option<Spanned<SocketAddr>> {
        let expected =
            format!("an address: \"host[:port]\", \"IPv6\" or \"[IPv6]:port\"; the port defaults to {default_port}");
        let Some(text) = value.get_ref().as_str() else {
            self.refuse_type(key, value, &expected);
            return None;
        };
        let resolved = parse_address(text, default_port).and_then(|(host, port)| {
            if port == 0 && purpose == Use::Send {
                return Err("nobody can be reached at port 0".into());
            }
            let mut addresses = (host.as_str(), port)
                .to_socket_addrs()
                .map_err(|error| format!("the name `{host}` cannot be resolved ({error})"))?;
            addresses.next().ok_or_else(|| format!("the name `{host}` has no address"))
        });
        match resolved {
            Ok(address) => Some(Spanned::new(value.span(), address)),
            Err(wrong) => {
                self.refuse(key, value, wrong, format!("expected {expected}"));
                None
            }
        }
    }

    /// The host that an address names, as it is written; what is wrong with it is reported by [`Table::address`].
    pub fn host_of(&self, key: &str, default_port: u16) -> Option<String> {
        let (_, value) = self.entries.iter().find(|(name, _)| name.get_ref() == key)?;
        parse_address(value.get_ref().as_str()?, default_port).ok().map(|(host, _)| host)
    }

    /// A path; relative ones start at `folder`.
    pub fn path(&mut self, key: &'static str, folder: &Path) -> Option<Spanned<PathBuf>> {
        let text = self.text(key)?;
        if text.get_ref().is_empty() {
            let message = format!("`{key}` in {}: the path is empty", self.name);
            self.faults.push(text.span(), message, "expected a path; relative ones start at the folder of this file");
            return None;
        }
        Some(Spanned::new(text.span(), absolute(folder, text.get_ref())))
    }

    /// A table below this one.
    pub fn table(&mut self, key: &'static str) -> Option<Table<'t>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(entries) => Some(Table::new(self.name_of(key), value.span(), entries, self.faults)),
            _ => {
                self.refuse_type(key, value, &format!("a table: {}", self.name_of(key)));
                None
            }
        }
    }

    /// One table `[x]` or several `[[x]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table<'t>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let name = self.name_of(key);
        let DeValue::Array(array) = value.get_ref() else {
            self.known.pop();
            return self.table(key).into_iter().collect();
        };
        let mut tables = Vec::new();
        for (index, element) in array.iter().enumerate() {
            match element.get_ref() {
                DeValue::Table(entries) => {
                    let name =
                        if array.len() == 1 { format!("[{name}]") } else { format!("[{name}] no. {}", index + 1) };
                    tables.push(Table::new(name, element.span(), entries, self.faults));
                }
                _ => self.refuse_type(key, element, &format!("a table: {name} or [{name}]")),
            }
        }
        tables
    }

    fn name_of(&self, key: &str) -> String {
        let above = self.name.trim_matches(['[', ']']);
        if above.is_empty() { format!("[{key}]") } else { format!("[{above}.{key}]") }
    }

    /// A table of a later version: refused unless it is empty.
    pub fn unavailable_table(&mut self, key: &'static str, what: &str) {
        let Some(value) = self.value(key) else { return };
        if !value.get_ref().as_table().is_some_and(|table| table.is_empty()) {
            self.faults.push(
                value.span(),
                format!("not available in this version: {} ({what})", self.name_of(key)),
                "leave this table out",
            );
        }
    }

    /// Reports every key that no getter asked for. To be called after the last getter.
    pub fn finish(&self) {
        for (key, value) in self.entries.iter() {
            let word = key.get_ref().as_ref();
            if self.known.contains(&word) {
                continue;
            }
            let kind = if value.get_ref().is_table() { "table" } else { "key" };
            let place = if self.name.is_empty() { "at the top level".to_owned() } else { format!("in {}", self.name) };
            let expected = match alias(word).filter(|meant| self.known.contains(meant)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => match did_you_mean(word, self.known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("expected one of: {}", self.known.join(", ")),
                },
            };
            self.faults.push(key.span(), format!("unknown {kind} `{word}` {place}"), expected);
        }
    }
}

/// Names that other servers and this project's documents use for the same thing.
fn alias(word: &str) -> Option<&'static str> {
    Some(match word {
        "database_state_server" | "db_state_server" | "dbstateserver" => "dbss",
        "database" => "database_server",
        "messagedirector" => "message_director",
        "clientagent" => "client_agent",
        "connect" => "upstream",
        "manual_dc_hash" => "dc_file_hash",
        "version" => "version_string",
        "general" => "global",
        "roles" => "services",
        _ => return None,
    })
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string \"{text}\""),
        DeValue::Integer(integer) => format!("the number {integer}"),
        DeValue::Float(float) => format!("the number {float}"),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn in_words(range: &RangeInclusive<u64>) -> String {
    match (*range.start(), *range.end()) {
        (start, end) if end >= i64::MAX as u64 => format!("of at least {start}"),
        (start, end) => format!("from {start} to {end}"),
    }
}

/// Leading `..` are resolved by their text, which is sound because `folder` has no symbolic links; the rest is left alone.
pub(super) fn absolute(folder: &Path, text: &str) -> PathBuf {
    let mut folder = folder.to_owned();
    let mut rest = Path::new(text).components().peekable();
    while rest.next_if(|component| matches!(component, Component::ParentDir | Component::CurDir)).is_some_and(
        |component| {
            if component == Component::ParentDir {
                folder.pop();
            }
            true
        },
    ) {}
    folder.join(rest.collect::<PathBuf>())
}
