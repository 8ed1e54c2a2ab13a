//! Values in DC syntax, written.
//!
//! Decides: how a value looks. A field's bytes are written so that packing the text gives the same bytes again: where a
//! number cannot be written so (a NaN, a value that the modulus would wrap, a real that DC literals cannot say), its
//! packed bytes are written in hex.

use crate::contract::Field;
use crate::literal::{Literal, LiteralNode};
use crate::pack::pack_number;
use crate::simple::SimpleType;
use crate::source::Span;
use crate::value::Value;
use crate::value_error::{TextPolicy, ValueError};
use crate::walk::{List, Stored, Visitor, Walk};
use std::fmt::{self, Write};

impl Field {
    /// The bytes of one value in DC syntax; [`Field::pack_literal`] gives the same bytes again.
    pub fn format(&self, bytes: &[u8], policy: TextPolicy) -> Result<String, ValueError> {
        let printer = Printer { out: String::new(), first: true };
        let mut walk = Walk::new(self.types(), self.name(), policy, printer);
        walk.whole(self.ty, bytes)?;
        Ok(walk.visitor.out)
    }
}

struct Printer {
    out: String,
    /// Whether the next item is the first of its list.
    first: bool,
}

impl Printer {
    fn separate(&mut self) {
        if !self.first {
            self.out.push_str(", ");
        }
        self.first = false;
    }
}

impl Visitor for Printer {
    fn number(&mut self, simple: &SimpleType, stored: Stored, bytes: &[u8]) {
        self.separate();
        let divisor = f64::from(simple.divisor);
        let candidates = match stored {
            Stored::Signed(value) if simple.divisor == 1 => [Some(value.to_string()), None],
            Stored::Unsigned(value) if simple.divisor == 1 => [Some(value.to_string()), None],
            Stored::Signed(value) => real_texts(value as f64 / divisor),
            Stored::Unsigned(value) => real_texts(value as f64 / divisor),
            Stored::Real(value) => real_texts(value / divisor),
        };
        match candidates.into_iter().flatten().find(|text| packs_to(simple, text, bytes)) {
            Some(text) => self.out.push_str(&text),
            None => {
                let _ = write_hex(&mut self.out, bytes);
            }
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        self.separate();
        let _ = write_text(&mut self.out, bytes);
    }

    fn open(&mut self, list: List) {
        self.separate();
        self.out.push(match list {
            List::Array => '[',
            List::Struct => '{',
            List::Parameters => '(',
        });
        self.first = true;
    }

    fn close(&mut self, list: List) {
        self.out.push(match list {
            List::Array => ']',
            List::Struct => '}',
            List::Parameters => ')',
        });
        self.first = false;
    }
}

fn packs_to(simple: &SimpleType, text: &str, bytes: &[u8]) -> bool {
    let node = if text.contains('.') {
        LiteralNode::Real(crate::lexer::real_value(text.as_bytes()))
    } else {
        match text.parse() {
            Ok(value) => LiteralNode::Int(value),
            Err(_) => return false,
        }
    };
    let literal = Literal { span: Span::default(), label: None, node, repeat: 1 };
    let mut out = Vec::new();
    pack_number(simple, "", &literal, &mut out).is_ok() && out == bytes
}

/// Two spellings of a real: the plain one, and digits without a fraction, which DC literals convert more exactly.
fn real_texts(value: f64) -> [Option<String>; 2] {
    if !value.is_finite() {
        return [None, None];
    }
    let plain = real_text(value);
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let fraction = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i32);
    let exponent = exponent.parse::<i32>().unwrap_or(0) - fraction;
    let whole: String = digits.chars().filter(|digit| *digit != '.').collect();
    [Some(plain), Some(format!("{whole}.e{exponent}"))]
}

fn real_text(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-5..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        // A real literal has a dot.
        return match text.split_once('e') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
            _ => text,
        };
    }
    let text = value.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

fn write_hex(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_char('<')?;
    for byte in bytes {
        write!(out, "{byte:02x}")?;
    }
    out.write_char('>')
}

fn write_text(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    for byte in bytes {
        match *byte {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            b' '..=b'~' => out.write_char(*byte as char)?,
            // Always two digits, so that a digit after it stays outside.
            other => write!(out, "\\x{other:02x}")?,
        }
    }
    out.write_char('"')
}

pub(crate) fn write_value(value: &Value, out: &mut impl Write) -> fmt::Result {
    match value {
        Value::Int(value) => write!(out, "{value}"),
        Value::Uint(value) => write!(out, "{value}"),
        Value::Real(value) => out.write_str(&real_text(*value)),
        Value::Text(bytes) => write_text(out, bytes),
        Value::Packed(bytes) => write_hex(out, bytes),
        Value::List(items) => {
            out.write_char('[')?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.write_str(", ")?;
                }
                write_value(item, out)?;
            }
            out.write_char(']')
        }
    }
}
