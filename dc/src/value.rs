//! Values of a program: what bytes hold once unpacked, and what can be packed.
//!
//! Decides: the value type, and how its parts travel to and from bytes. What is allowed is decided by `crate::pack` and
//! `crate::walk`.

use crate::code::Code;
use crate::contract::Field;
use crate::diagnostic::Diagnostics;
use crate::format::write_value;
use crate::literal::{Item, Literal, LiteralNode, Node};
use crate::parser;
use crate::simple::SimpleType;
use crate::source::Source;
use crate::types::{TypeId, Types};
use crate::value_error::{TextPolicy, ValueError};
use crate::walk::{List, Stored, Visitor, Walk};
use std::fmt;

/// A value of a field or of a part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i64),
    Uint(u64),
    Real(f64),
    /// Text and bytes alike; a single `char` too.
    Text(Vec<u8>),
    /// The parts of a method, molecule, struct or array; of a switch the key and the members of its case.
    List(Vec<Value>),
    /// Packed bytes that stand for the value, unchecked; only packed, never unpacked.
    Packed(Vec<u8>),
}

impl Item for Value {
    fn node(&self) -> Node<'_, Self> {
        match self {
            Value::Int(value) => Node::Int((*value).into()),
            Value::Uint(value) => Node::Int((*value).into()),
            Value::Real(value) => Node::Real(*value),
            Value::Text(bytes) => Node::Text(bytes),
            Value::List(items) => Node::List(items),
            Value::Packed(bytes) => Node::Packed(bytes),
        }
    }
}

/// In DC syntax. Reals may lose their last bits, as DC literals do; [`Field::format`] never loses any.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f)
    }
}

/// Why a value cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackError {
    code: Code,
    message: String,
}

impl PackError {
    /// Such as `DC090`: the codes of diagnostics.
    pub fn code(&self) -> &'static str {
        self.code.as_str()
    }
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PackError {}

impl Value {
    /// Reads a value in DC syntax. Labels are dropped and repeated items written out: only a field can check them.
    pub fn parse(text: &str) -> Result<Value, Diagnostics> {
        parser::parse_value(&Source::new("value", text)).map(Value::from)
    }
}

impl From<Literal> for Value {
    fn from(literal: Literal) -> Self {
        match literal.node {
            LiteralNode::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
                (Ok(value), _) => Value::Int(value),
                // The lexer gives nothing beyond 64 bits.
                (_, value) => Value::Uint(value.unwrap_or(u64::MAX)),
            },
            LiteralNode::Real(value) => Value::Real(value),
            LiteralNode::Text(bytes) => Value::Text(bytes),
            LiteralNode::Packed(bytes) => Value::Packed(bytes),
            LiteralNode::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    let repeat = item.repeat as usize;
                    let value = Value::from(item);
                    values.extend(std::iter::repeat_n(value, repeat));
                }
                Value::List(values)
            }
        }
    }
}

impl Field {
    /// Packs a value, appending to `out`; on failure `out` is as it was.
    pub fn pack_into(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), PackError> {
        pack(self.types(), self.ty, self.name(), value, out)
    }

    pub fn pack(&self, value: &Value) -> Result<Vec<u8>, PackError> {
        let mut out = Vec::new();
        self.pack_into(value, &mut out)?;
        Ok(out)
    }

    /// Packs a value in DC syntax, such as `(1.5, "text", [1, 2])`; labels are checked.
    pub fn pack_literal(&self, text: impl Into<Vec<u8>>) -> Result<Vec<u8>, Diagnostics> {
        let source = Source::new("value", text);
        let literal = parser::parse_value(&source)?;
        let mut out = Vec::new();
        match self.types().pack(self.ty, self.name(), &literal, &mut out) {
            Ok(()) => Ok(out),
            Err(fault) => {
                let diagnostic = crate::diagnostic::Diagnostic::new(fault.code, fault.item.span, fault.message);
                Err(Diagnostics::new(vec![diagnostic], std::slice::from_ref(&source)))
            }
        }
    }

    /// Unpacks bytes that are exactly one value.
    pub fn unpack(&self, bytes: &[u8], policy: TextPolicy) -> Result<Value, ValueError> {
        unpack(self.types(), self.ty, self.name(), bytes, policy)
    }
}

/// Appends one value of a type, called `name` in errors; on failure `out` is as it was.
pub(crate) fn pack(types: &Types, ty: TypeId, name: &str, value: &Value, out: &mut Vec<u8>) -> Result<(), PackError> {
    let start = out.len();
    types.pack(ty, name, value, out).map_err(|fault| {
        out.truncate(start);
        PackError { code: fault.code, message: fault.message }
    })
}

/// One value of a type, called `name` in errors.
pub(crate) fn unpack(
    types: &Types,
    ty: TypeId,
    name: &str,
    bytes: &[u8],
    policy: TextPolicy,
) -> Result<Value, ValueError> {
    let mut walk = Walk::new(types, name, policy, Collector { open: vec![Vec::new()] });
    walk.whole(ty, bytes)?;
    let value = walk.visitor.open.pop().and_then(|mut values| values.pop());
    Ok(value.expect("a whole value was told of"))
}

/// Makes values of what a walk tells.
struct Collector {
    /// The lists that are open; the first holds the value itself.
    open: Vec<Vec<Value>>,
}

impl Collector {
    fn add(&mut self, value: Value) {
        self.open.last_mut().expect("the first list stays open").push(value);
    }
}

impl Visitor for Collector {
    fn number(&mut self, simple: &SimpleType, stored: Stored, _: &[u8]) {
        let divisor = f64::from(simple.divisor);
        self.add(match stored {
            Stored::Signed(value) if simple.divisor == 1 => Value::Int(value),
            Stored::Unsigned(value) if simple.divisor == 1 => Value::Uint(value),
            Stored::Signed(value) => Value::Real(value as f64 / divisor),
            Stored::Unsigned(value) => Value::Real(value as f64 / divisor),
            Stored::Real(value) => Value::Real(value / divisor),
        });
    }

    fn text(&mut self, bytes: &[u8]) {
        self.add(Value::Text(bytes.to_vec()));
    }

    fn open(&mut self, _: List) {
        self.open.push(Vec::new());
    }

    fn close(&mut self, _: List) {
        let values = self.open.pop().expect("as many lists open as close");
        self.add(Value::List(values));
    }
}
