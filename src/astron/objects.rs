//! Astron's YAML database: a folder with a file `DOID.yaml` for each object, and `info.yaml` with its counter.
//!
//! An object is a map of `id`, `class` and `fields`; a field's value is a text in DC syntax, as Astron's own formatter
//! writes it, such as `("Flippy")` or `([{1, 2}])`. There `<00ff>` is the bytes of a blob, without their length.

use super::yaml::{Fault, Node};
use super::{AstronError, read};
use crate::database_server::{FieldValues, StoredObject};
use crate::db_tool::is_stored;
use crate::wire::Doid;
use clap::ValueEnum;
use donet_dc::{Contract, Field, FieldType, TextPolicy, Value};
use std::path::{Path, PathBuf};

/// What the file of the counter is called.
const INFO: &str = "info.yaml";

/// What numbers of fields with a divisor (`int16/10`) are in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Divisors {
    /// As stored: 12.3 stands there as 123.
    Stored,
    /// As the contract means them: 12.3 stands there as 12.3.
    Applied,
}

/// How values are read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    pub contract: &'a Contract,
    pub text: TextPolicy,
    /// `None`: a field with a divisor is refused.
    pub divisors: Option<Divisors>,
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The files of objects, ascending by doid.
    pub objects: Vec<(Doid, PathBuf)>,
    /// The doid that Astron would have given next, where it says so.
    pub next: Option<Doid>,
}

/// Lists a folder, and reads its counter.
///
/// # Errors
/// When it cannot be read, has a YAML file that is neither, or no object.
pub fn list(folder: &Path) -> Result<Folder, AstronError> {
    let unreadable = |error| AstronError::new(folder, error);
    let mut objects = Vec::new();
    let mut next = None;
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        if path.file_name().is_some_and(|name| name == INFO) {
            next = counter(&path)?;
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        match stem.parse::<Doid>() {
            Ok(doid) if stem == doid.to_string() => objects.push((doid, path)),
            _ => {
                return Err(AstronError::new(
                    &path,
                    "Astron calls its files by doids, as 100000000.yaml, and info.yaml",
                ));
            }
        }
    }
    if objects.is_empty() {
        return Err(AstronError::new(folder, "there is no object: no file such as 100000000.yaml"));
    }
    objects.sort_unstable();
    Ok(Folder { objects, next })
}

fn counter(file: &Path) -> Result<Option<Doid>, AstronError> {
    let root = read(file)?;
    let next = || {
        let entry = root.map("info.yaml")?.iter().find(|(name, _)| name == "next");
        entry.map(|(_, node)| Ok((node.number("next")?, node))).transpose()
    };
    match next().map_err(|fault: Fault| fault.of(file))? {
        None => Ok(None),
        Some((next, node)) => match Doid::try_from(next) {
            Ok(next) => Ok(Some(next)),
            // Beyond the last doid there is: the counter was spent.
            Err(_) if next == 1 << 32 => Ok(None),
            Err(_) => Err(node.fault("next must be a number of 32 bits").of(file)),
        },
    }
}

/// Reads the file of an object, and checks it under the contract.
///
/// # Errors
/// [`AstronError`] with the place of what is wrong.
pub fn object(doid: Doid, file: &Path, reading: &Reading) -> Result<StoredObject, AstronError> {
    let root = read(file)?;
    read_object(doid, &root, reading).map_err(|fault| fault.of(file))
}

fn read_object(doid: Doid, root: &Node, reading: &Reading) -> Result<StoredObject, Fault> {
    let entries = root.map("an object")?;
    if let Some((name, node)) = entries.iter().find(|(name, _)| !["id", "class", "fields"].contains(&name.as_str())) {
        return Err(node.fault(format_args!("unknown key {name:?}; an object has id, class and fields")));
    }
    let entry = |name: &str| {
        let found = entries.iter().find(|(key, _)| key == name);
        found.map(|(_, node)| node).ok_or_else(|| root.fault(format_args!("an object has {name:?}, and this has none")))
    };
    let id = entry("id")?;
    if id.number("id")? != u64::from(doid) {
        return Err(id.fault(format_args!("the id is not that of the file's name, {doid}")));
    }
    if doid <= 999 {
        return Err(id.fault("doids up to 999 are reserved"));
    }
    let class = entry("class")?;
    let name = class.text("class")?;
    let class = reading.contract.class_by_name(name);
    let class =
        class.ok_or_else(|| entries_fault(entries, "class", format!("the DC files have no dclass {name:?}")))?;
    let mut values = FieldValues::default();
    // Astron leaves the key out where there is no field.
    for (name, node) in entry("fields").map_or(Ok(&[][..]), |fields| fields.map("fields"))? {
        let field = class.field_by_name(name);
        let field = field.ok_or_else(|| node.fault(format_args!("{} has no field {name:?}", class.name())))?;
        is_stored(field).map_err(|what| node.fault(what))?;
        values.insert(field.id(), value(field, node, reading)?.into());
    }
    Ok(StoredObject { doid, class: class.id(), values })
}

fn entries_fault(entries: &[(String, Node)], key: &str, what: String) -> Fault {
    let node = entries.iter().find(|(name, _)| name == key).map(|(_, node)| node);
    node.map_or(Fault { line: 1, column: 1, what: what.clone() }, |node| node.fault(&what))
}

fn value(field: &Field, node: &Node, reading: &Reading) -> Result<Vec<u8>, Fault> {
    let wrong = |what: &dyn std::fmt::Display| node.fault(format_args!("field {}: {what}", field.name()));
    let text = node.text("a field's value")?;
    if has_repetition(text) {
        return Err(wrong(&"`*` repeats a value in DC files; Astron writes all of them out"));
    }
    let parsed = Value::parse(text).map_err(|faults| wrong(&faults.first().message()))?;
    let parsed = as_one_parameter(field, bytes_of_blobs(parsed));
    let ty = field.type_text();
    let bytes = match reading.divisors {
        _ if !ty.contains('/') => field.pack(&parsed).map_err(|error| wrong(&error))?,
        None => {
            return Err(wrong(
                &"its type has a divisor. Say what its numbers are in these files: --divisors stored, if 12.3 of an \
                  int16/10 stands there as 123, or --divisors applied, if as 12.3",
            ));
        }
        Some(Divisors::Applied) => field.pack(&parsed).map_err(|error| wrong(&error))?,
        Some(Divisors::Stored) => {
            let stored: FieldType = without_divisors(&ty).parse().map_err(|error| wrong(&error))?;
            let bytes = stored.pack(&parsed).map_err(|error| wrong(&error))?;
            let again = stored.unpack(&bytes, TextPolicy::Bytes).map_err(|error| wrong(&error))?;
            if !same_numbers(&parsed, &again) {
                return Err(wrong(&format_args!("{text} is not what is stored, which is whole: --divisors applied?")));
            }
            bytes
        }
    };
    field.validate(&bytes, reading.text).map_err(|error| wrong(&error))?;
    Ok(bytes)
}

/// Whether there is a `*` outside of quotes: a few letters could stand for gigabytes.
fn has_repetition(text: &str) -> bool {
    let mut quote = None;
    let mut letters = text.bytes();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(_), b'\\') => {
                letters.next();
            }
            (Some(begun), letter) if letter == begun => quote = None,
            (None, b'"' | b'\'') => quote = Some(letter),
            (None, b'*') => return true,
            _ => {}
        }
    }
    false
}

/// Astron's `<…>` are the bytes of a blob; in DC files they are those and their length.
fn bytes_of_blobs(value: Value) -> Value {
    match value {
        Value::Packed(bytes) => Value::Text(bytes),
        Value::List(items) => Value::List(items.into_iter().map(bytes_of_blobs).collect()),
        other => other,
    }
}

/// A method's only parameter may stand there without parentheses.
fn as_one_parameter(field: &Field, value: Value) -> Value {
    let is_method = field.type_text().starts_with('(');
    match value {
        Value::List(_) => value,
        one if is_method => Value::List(vec![one]),
        one => one,
    }
}

/// The same bytes, and other numbers: those that are stored. In the text of a type, ranges are in stored units already.
fn without_divisors(ty: &str) -> String {
    let mut out = String::with_capacity(ty.len());
    let mut letters = ty.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '/' && letter != '%' {
            out.push(letter);
            continue;
        }
        while letters.next_if(|next| next.is_ascii_alphanumeric() || ".+-".contains(*next)).is_some() {}
    }
    out
}

/// Whether nothing was rounded.
fn same_numbers(left: &Value, right: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Int(number) => Some(*number as f64),
        Value::Uint(number) => Some(*number as f64),
        Value::Real(number) => Some(*number),
        _ => None,
    };
    match (left, right) {
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same_numbers(left, right))
        }
        // Text in the place of a number, and the other way round, was checked when it was packed.
        _ => number(left).zip(number(right)).is_none_or(|(left, right)| left == right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::astron::yaml;
    use donet_dc::{Options, Source};

    const CONTRACT: &str = "
        struct Item { uint16 kind; string note; };
        dclass Avatar {
          setName(string) required db; setPos(int16/10 x, int16/10(-20 - 20) y) db; setItems(Item items[]) db;
          blob look db; setTags(uint8[]) db; char grade db; setX(float64) db; hear(string) broadcast; setBits(blob) db;
        };";

    fn contract() -> Contract {
        Contract::parse(&[Source::new("a.dc", CONTRACT)], &Options::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn read(text: &str, divisors: Option<Divisors>) -> Result<Vec<(String, Vec<u8>)>, String> {
        let contract = contract();
        let root = yaml::parse(text).map_err(|fault| fault.what)?;
        let reading = Reading { contract: &contract, text: TextPolicy::Utf8, divisors };
        let object = read_object(100_000_000, &root, &reading)
            .map_err(|Fault { line, column, what }| format!("{line}:{column}: {what}"))?;
        let named = object
            .values
            .iter()
            .map(|(id, value)| (contract.field(id).expect("a field").name().to_owned(), value.to_vec()));
        Ok(named.collect())
    }

    const HEAD: &str = "id: 100000000\nclass: Avatar\nfields:\n";

    #[test]
    fn values_are_read_as_astron_writes_them() {
        let text = format!(
            "{HEAD}  setName: (\"Fl\\\"ippy \\xc3\\xa9\")\n  setItems: ([{{1, \"a\"}}, {{2, \"\"}}])\n  look: <00ff>\n  \
             setTags: ([1, 2, 255])\n  grade: \"'A'\"\n  setX: (-1.5)\n  setBits: (<>)\n"
        );
        let values = read(&text, None).expect("an object");
        let of = |name: &str| values.iter().find(|(known, _)| known == name).expect(name).1.clone();
        assert_eq!(of("setName"), b"\x0a\0Fl\"ippy \xc3\xa9");
        assert_eq!(of("setItems"), b"\x09\0\x01\0\x01\0a\x02\0\0\0");
        assert_eq!(of("look"), b"\x02\0\x00\xff");
        assert_eq!(of("setTags"), b"\x03\0\x01\x02\xff");
        assert_eq!(of("grade"), b"A");
        assert_eq!(of("setX"), (-1.5_f64).to_le_bytes());
        assert_eq!(of("setBits"), b"\0\0");
    }

    #[test]
    fn a_divisor_asks_what_the_numbers_are() {
        let text = format!("{HEAD}  setPos: (123, -45)\n");
        let asked = read(&text, None).unwrap_err();
        assert!(
            asked.starts_with("4:11: field setPos: its type has a divisor") && asked.contains("--divisors"),
            "{asked}"
        );
        let bytes = |x: i16, y: i16| vec![("setPos".to_owned(), [x.to_le_bytes(), y.to_le_bytes()].concat())];
        assert_eq!(read(&text, Some(Divisors::Stored)), Ok(bytes(123, -45)));
        let scaled = format!("{HEAD}  setPos: (12.3, -4.5)\n");
        assert_eq!(read(&scaled, Some(Divisors::Applied)), Ok(bytes(123, -45)));
        let mistaken = read(&scaled, Some(Divisors::Stored)).unwrap_err();
        assert!(mistaken.contains("--divisors applied?"), "{mistaken}");
        let beyond = read(&format!("{HEAD}  setPos: (0, 201)\n"), Some(Divisors::Stored)).unwrap_err();
        assert!(beyond.contains("setPos"), "20.1 is out of its range: {beyond}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("id: 5\nclass: Avatar\nfields:\n".to_owned(), "1:5: the id is not that of the file's name"),
            ("class: Avatar\n".to_owned(), "1:1: an object has \"id\""),
            ("id: 100000000\nclass: Nobody\n".to_owned(), "2:8: the DC files have no dclass \"Nobody\""),
            ("id: 100000000\nclass: Item\n".to_owned(), "2:8: the DC files have no dclass \"Item\""),
            ("id: 100000000\nclass: Avatar\nmore: 1\n".to_owned(), "3:7: unknown key \"more\""),
            (format!("{HEAD}  setNaem: (\"x\")\n"), "4:12: Avatar has no field \"setNaem\""),
            (format!("{HEAD}  hear: (\"x\")\n"), "field hear is not stored: it has no `db`"),
            (format!("{HEAD}  setName: (5)\n"), "4:12: field setName"),
            (format!("{HEAD}  setName: (\"x\n"), "4:12: field setName"),
            (format!("{HEAD}  setName: [1]\n"), "must be a text"),
            (format!("{HEAD}  setTags: ([256])\n"), "field setTags"),
            (format!("{HEAD}  setTags: ([1*1048576, 1*1048576])\n"), "4:12: field setTags: `*` repeats"),
            (format!("{HEAD}  setName: (\"\\xff\")\n"), "field setName"),
        ] {
            let error = read(&text, None).expect_err(&text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
