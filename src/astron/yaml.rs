//! YAML as Astron reads and writes it: one document of maps, lists and texts.
//!
//! A tree with places, read without recursion and within limits. Every scalar is a text, as Astron asks for it; what it
//! means is the reader's affair. Aliases are refused: Astron writes none, and a few lines of them stand for gigabytes.

use hashbrown::HashSet;
use std::fmt::Display;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

const DEPTH_MAX: usize = 32;
const NODES_MAX: usize = 1_000_000;

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Scalar(String),
    /// Nothing, `~` or `null` without quotes.
    Null,
    List(Vec<Node>),
    /// In the order of the file; no key twice.
    Map(Vec<(String, Node)>),
}

/// Why a text is not what it should be, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub column: usize,
    pub what: String,
}

impl Node {
    /// A fault at this place.
    pub fn fault(&self, what: impl Display) -> Fault {
        Fault { line: self.line, column: self.column, what: what.to_string() }
    }

    /// # Errors
    /// When it is something else than a text.
    pub fn text(&self, what: &str) -> Result<&str, Fault> {
        match &self.kind {
            Kind::Scalar(text) => Ok(text),
            _ => Err(self.fault(format_args!("{what} must be a text or a number"))),
        }
    }

    /// The entries of a map; nothing counts as an empty one.
    ///
    /// # Errors
    /// When it is something else.
    pub fn map(&self, what: &str) -> Result<&[(String, Node)], Fault> {
        match &self.kind {
            Kind::Map(entries) => Ok(entries),
            Kind::Null => Ok(&[]),
            _ => Err(self.fault(format_args!("{what} must be a map: `key: value`"))),
        }
    }

    /// The items of a list; nothing counts as an empty one.
    ///
    /// # Errors
    /// When it is something else.
    pub fn list(&self, what: &str) -> Result<&[Node], Fault> {
        match &self.kind {
            Kind::List(items) => Ok(items),
            Kind::Null => Ok(&[]),
            _ => Err(self.fault(format_args!("{what} must be a list: `- item`"))),
        }
    }

    /// Decimal, or hexadecimal with `0x`.
    ///
    /// # Errors
    /// When it is no whole number of 64 bits.
    pub fn number(&self, what: &str) -> Result<u64, Fault> {
        let text = self.text(what)?;
        let read = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        read.map_err(|_| self.fault(format_args!("{what} must be a whole number, not {text:?}")))
    }

    /// In YAML's many words.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn flag(&self, what: &str) -> Result<bool, Fault> {
        let text = self.text(what)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(true),
            "false" | "no" | "off" | "n" => Ok(false),
            _ => Err(self.fault(format_args!("{what} must be true or false, not {text:?}"))),
        }
    }
}

/// A list or a map that is not at its end.
enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<(String, Node)>,
        /// The keys of all of them.
        known: HashSet<String>,
        /// The key whose value comes next.
        key: Option<String>,
    },
}

fn fault(at: Marker, what: impl Display) -> Fault {
    Fault { line: at.line(), column: at.col() + 1, what: what.to_string() }
}

fn unreadable(error: &ScanError) -> Fault {
    fault(*error.marker(), format_args!("this is no YAML: {}", error.info()))
}

/// Reads a text of one document.
///
/// # Errors
/// [`Fault`]; what is too deep, too much, an alias or a key twice is one, too.
pub fn parse(text: &str) -> Result<Node, Fault> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<(Open, Marker)> = Vec::new();
    let mut root: Option<Node> = None;
    let mut nodes = 0_usize;
    loop {
        let (event, at) = parser.next_token().map_err(|error| unreadable(&error))?;
        let (kind, at) = match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => continue,
            Event::StreamEnd => break,
            Event::DocumentStart if root.is_some() => return Err(fault(at, "a second document: one was expected")),
            Event::DocumentStart => continue,
            Event::Alias(_) => return Err(fault(at, "an alias (`*name`): Astron uses none, write the value out")),
            Event::Scalar(text, style, ..) => {
                let is_null =
                    style == TScalarStyle::Plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
                (if is_null { Kind::Null } else { Kind::Scalar(text) }, at)
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == DEPTH_MAX {
                    return Err(fault(at, format_args!("nested deeper than {DEPTH_MAX} times")));
                }
                let opened = match event {
                    Event::SequenceStart(..) => Open::List(Vec::new()),
                    _ => Open::Map { entries: Vec::new(), known: HashSet::new(), key: None },
                };
                open.push((opened, at));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((Open::List(items), begun)) => (Kind::List(items), begun),
                Some((Open::Map { entries, .. }, begun)) => (Kind::Map(entries), begun),
                None => return Err(fault(at, "an end without a beginning")),
            },
        };
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(fault(at, format_args!("more than {NODES_MAX} values")));
        }
        let node = Node { kind, line: at.line(), column: at.col() + 1 };
        match open.last_mut() {
            None => root = Some(node),
            Some((Open::List(items), _)) => items.push(node),
            Some((Open::Map { entries, known, key: key @ None }, begun)) => {
                let Kind::Scalar(name) = node.kind else { return Err(fault(at, "a key must be a text")) };
                if entries.is_empty() {
                    // The parser notices a map at its first colon.
                    *begun = at;
                }
                if !known.insert(name.clone()) {
                    return Err(fault(at, format_args!("{name:?} is there twice")));
                }
                *key = Some(name);
            }
            Some((Open::Map { entries, key, .. }, _)) => entries.extend(key.take().map(|key| (key, node))),
        }
    }
    root.ok_or(Fault { line: 1, column: 1, what: "the file is empty".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        let Fault { line, column, what } = parse(text).expect_err(text);
        format!("{line}:{column}: {what}")
    }

    #[test]
    fn a_tree_with_places() {
        let root = parse("a: 1\nb:\n  - x\n  - \"~\"\nc: ~\nd: [1, {e: '0x10'}]\n").expect("YAML");
        let entries = root.map("it").expect("a map");
        let names: Vec<_> = entries.iter().map(|(name, node)| (name.as_str(), node.line)).collect();
        assert_eq!(names, [("a", 1), ("b", 3), ("c", 5), ("d", 6)]);
        assert_eq!(entries[1].1.list("b").expect("a list")[1].kind, Kind::Scalar("~".to_owned()));
        assert_eq!(entries[2].1.kind, Kind::Null);
        let inner = &entries[3].1.list("d").expect("a list")[1].map("it").expect("a map")[0].1;
        assert_eq!((inner.number("e"), inner.line, inner.column), (Ok(16), 6, 12));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("", "1:1: the file is empty"),
            ("a: 1\na: 2\n", "2:1: \"a\" is there twice"),
            ("a: 1\n---\nb: 2\n", "2:1: a second document"),
            ("a: &x [1]\nb: *x\n", "2:4: an alias"),
            ("? [1]\n: 2\n", "a key must be a text"),
            ("a: \"b\n", "this is no YAML"),
            ("a: {b\n", "this is no YAML"),
        ] {
            assert!(refused(text).contains(expected), "{text:?}: {}", refused(text));
        }
    }

    #[test]
    fn a_bomb_of_aliases_costs_nothing() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 'b'..='z' {
            let below = char::from(level as u8 - 1);
            text += &format!("{level}: &{level} [*{below},*{below},*{below},*{below},*{below},*{below},*{below}]\n");
        }
        assert!(refused(&text).contains("an alias"));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        assert!(refused(&"[".repeat(100)).contains("nested deeper"));
        assert!(refused(&"- ".repeat(100_000)).contains("nested deeper"));
        assert!(refused(&format!("[{}]", "1,".repeat(NODES_MAX + 1))).contains("more than"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-a-b:{}\\[\\]&*!|>'\"%@`, \n\t#?~0x<>\\\\]{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn nor_do_bytes(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
