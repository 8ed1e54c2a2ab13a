//! A type on its own, without names, and the canonical text that stands for it wherever it must be kept.
//!
//! Decides: when two types are the same, and how a type is written so that it can be read back by a later build. Never
//! knows names: neither of fields, parameters, structs nor typedefs. What a change of type means is `crate::retype`'s.

use crate::contract::Field;
use crate::limits::{DEFAULT_WEIGHT_TOTAL_MAX, NESTING_MAX, SWITCH_MEMBERS_MAX};
use crate::names::Symbol;
use crate::simple::{Simple, SimpleType};
use crate::types::{ArrayType, Case, Members, Parameter, RecordType, Shape, SwitchType, TypeId, Types};
use crate::value::{PackError, Value, pack, unpack};
use crate::value_error::{TextPolicy, ValueError};
use hashbrown::HashMap;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

/// The type of a field: what its values are and which bytes they become.
///
/// Two types are equal if they pack the same values into the same bytes and allow the same of them; names play no part.
///
/// Its text ([`Display`](fmt::Display), read back by [`FromStr`]) is canonical: equal types have equal texts. It looks
/// like a DC type, with these differences, which make it independent of how the DC file was written:
/// * typedefs are replaced by what they stand for, structs by `{…}` with their members, methods by `(…)`;
/// * ranges come last and in stored units (after the divisor): `int16/10(-300 - 300)` allows -30.0 to 30.0. They are
///   sorted, and a range that excludes nothing is left out;
/// * brackets are written outermost first and always say which arrays carry a byte count: `[n]` has none, all others
///   have one, and a `!` behind the bracket reverses that (spec 4.4);
/// * `switch key {<hex>: members; …; default: members}`, cases sorted by their packed keys;
/// * a struct or switch that occurred before is `#n`: the n-th that was closed, from 0.
#[derive(Clone)]
pub struct FieldType {
    pub(crate) types: Arc<Types>,
    pub(crate) ty: TypeId,
}

/// Why a text is not the text of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeTextError {
    /// Where in the text, in bytes.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for TypeTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no type text: expected {} at byte {}", self.expected, self.offset)
    }
}

impl std::error::Error for TypeTextError {}

impl FieldType {
    /// Unpacks bytes that are exactly one value of this type.
    ///
    /// # Errors
    ///
    /// [`ValueError`] says where in the bytes they are no such value.
    pub fn unpack(&self, bytes: &[u8], policy: TextPolicy) -> Result<Value, ValueError> {
        unpack(&self.types, self.ty, "value", bytes, policy)
    }

    /// Packs a value of this type.
    ///
    /// # Errors
    ///
    /// [`PackError`] says why it is none.
    pub fn pack(&self, value: &Value) -> Result<Vec<u8>, PackError> {
        let mut out = Vec::new();
        pack(&self.types, self.ty, "value", value, &mut out)?;
        Ok(out)
    }
}

impl Field {
    /// Its type, to be compared or kept apart from the contract.
    pub fn field_type(&self) -> FieldType {
        FieldType { types: self.shared_types(), ty: self.ty }
    }

    /// The canonical text of its type, such as `(int16/10, int16/10)`; see [`FieldType`].
    pub fn type_text(&self) -> String {
        self.field_type().to_string()
    }

    /// Whether both are packed into the same bytes and checked alike.
    pub fn same_type(&self, other: &Field) -> bool {
        self.type_text() == other.type_text()
    }
}

impl PartialEq for FieldType {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for FieldType {}

impl fmt::Debug for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldType({self})")
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut identities = Identities { types: &self.types, known: HashMap::new(), of: HashMap::new() };
        identities.of(self.ty);
        let mut writer = Writer { types: &self.types, identities: identities.of, closed: HashMap::new() };
        writer.write(self.ty, f)
    }
}

/// Numbers types so that equal ones have equal numbers, however often and under whatever names they were declared.
struct Identities<'a> {
    types: &'a Types,
    known: HashMap<String, u32>,
    of: HashMap<TypeId, u32>,
}

impl Identities<'_> {
    fn of(&mut self, id: TypeId) -> u32 {
        if let Some(identity) = self.of.get(&id) {
            return *identity;
        }
        let types = self.types;
        let mut key = String::new();
        let written = match types.shape(id) {
            Shape::Invalid => write!(key, "?"),
            Shape::Simple(simple) => write_simple(simple, &mut key),
            Shape::Array(array) => {
                let element = self.of(array.element);
                write!(key, "{element}").and_then(|()| write_bracket(types, array, &mut key))
            }
            Shape::Record(record) => {
                key.push(if record.class.is_some() { '{' } else { '(' });
                self.members(record.members, &mut key)
            }
            Shape::Switch(switch) => self.switch(switch, &mut key),
        };
        written.expect("a String takes any text");
        let next = self.known.len() as u32;
        let identity = *self.known.entry(key).or_insert(next);
        self.of.insert(id, identity);
        identity
    }

    fn members(&mut self, members: Members, key: &mut String) -> fmt::Result {
        let types = self.types;
        types.members(members).iter().try_for_each(|member| write!(key, "{},", self.of(member.ty)))
    }

    fn switch(&mut self, switch: &SwitchType, key: &mut String) -> fmt::Result {
        write!(key, "switch {}", self.of(switch.key.ty))?;
        for case in sorted_cases(switch) {
            write_hex(&case.value, key)?;
            self.members(case.members, key)?;
        }
        let Some(default) = switch.default else { return Ok(()) };
        key.push_str("default:");
        self.members(default, key)
    }
}

struct Writer<'a> {
    types: &'a Types,
    identities: HashMap<TypeId, u32>,
    /// Structs and switches written so far, by identity: their place in the order of closing.
    closed: HashMap<u32, usize>,
}

impl Writer<'_> {
    fn write(&mut self, id: TypeId, out: &mut impl Write) -> fmt::Result {
        match self.types.shape(id) {
            Shape::Invalid => out.write_char('?'),
            Shape::Simple(simple) => write_simple(simple, out),
            Shape::Array(_) => self.write_array(id, out),
            Shape::Record(record) if record.class.is_none() => {
                out.write_char('(')?;
                self.write_list(record.members, out)?;
                out.write_char(')')
            }
            Shape::Record(record) => {
                if self.write_again(id, out)? {
                    return Ok(());
                }
                out.write_char('{')?;
                self.write_list(record.members, out)?;
                out.write_char('}')?;
                self.close(id);
                Ok(())
            }
            Shape::Switch(switch) => {
                if self.write_again(id, out)? {
                    return Ok(());
                }
                self.write_switch(switch, out)?;
                self.close(id);
                Ok(())
            }
        }
    }

    fn close(&mut self, id: TypeId) {
        let place = self.closed.len();
        self.closed.insert(self.identities[&id], place);
    }

    fn write_again(&self, id: TypeId, out: &mut impl Write) -> Result<bool, fmt::Error> {
        match self.closed.get(&self.identities[&id]) {
            Some(place) => write!(out, "#{place}").map(|()| true),
            None => Ok(false),
        }
    }

    fn write_list(&mut self, members: Members, out: &mut impl Write) -> fmt::Result {
        let types = self.types;
        for (index, member) in types.members(members).iter().enumerate() {
            if index > 0 {
                out.write_str(", ")?;
            }
            self.write(member.ty, out)?;
        }
        Ok(())
    }

    fn write_array(&mut self, id: TypeId, out: &mut impl Write) -> fmt::Result {
        let mut element = id;
        while let Shape::Array(array) = self.types.shape(element) {
            element = array.element;
        }
        self.write(element, out)?;
        let mut level = id;
        while let Shape::Array(array) = self.types.shape(level) {
            write_bracket(self.types, array, out)?;
            level = array.element;
        }
        Ok(())
    }

    fn write_switch(&mut self, switch: &SwitchType, out: &mut impl Write) -> fmt::Result {
        out.write_str("switch ")?;
        self.write(switch.key.ty, out)?;
        out.write_str(" {")?;
        let mut first = true;
        for case in sorted_cases(switch) {
            if !std::mem::take(&mut first) {
                out.write_str("; ")?;
            }
            write_hex(&case.value, out)?;
            out.write_str(": ")?;
            self.write_list(case.members, out)?;
        }
        if let Some(members) = switch.default {
            if !first {
                out.write_str("; ")?;
            }
            out.write_str("default: ")?;
            self.write_list(members, out)?;
        }
        out.write_char('}')
    }
}

fn sorted_cases(switch: &SwitchType) -> Vec<&Case> {
    let mut cases: Vec<&Case> = switch.cases.iter().collect();
    cases.sort_unstable_by(|one, other| one.value.cmp(&other.value));
    cases
}

fn write_hex(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    out.write_char('<')?;
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    out.write_char('>')
}

fn write_simple(simple: &SimpleType, out: &mut impl Write) -> fmt::Result {
    out.write_str(simple.simple.name())?;
    if simple.simple.number_size().is_none() && !simple.simple.is_text() {
        // Decorations never reach the elements (spec 4.5).
        return Ok(());
    }
    if simple.divisor != 1 {
        write!(out, "/{}", simple.divisor)?;
    }
    if let Some(modulus) = simple.modulus {
        write!(out, "%{modulus:?}")?;
    }
    if simple.simple == Simple::Float64 {
        let mut ranges = simple.real_ranges.clone();
        ranges.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        return write_ranges(&ranges, |low, high| low == high, |value, out| write!(out, "{value:?}"), out);
    }
    let ranges = normal_ranges(simple);
    write_ranges(&ranges, |low, high| low == high, |value, out| write!(out, "{value}"), out)
}

/// The ranges in one order, neighbours as one, and none at all if they exclude nothing.
pub(crate) fn normal_ranges(simple: &SimpleType) -> Vec<(i128, i128)> {
    let (least, greatest) = simple.simple.limits();
    match merged(&simple.ranges)[..] {
        [(low, high)] if low <= least && greatest <= high => Vec::new(),
        _ => merged(&simple.ranges),
    }
}

fn write_ranges<T: Copy, W: Write>(
    ranges: &[(T, T)],
    same: impl Fn(T, T) -> bool,
    write: impl Fn(T, &mut W) -> fmt::Result,
    out: &mut W,
) -> fmt::Result {
    for (index, (low, high)) in ranges.iter().enumerate() {
        out.write_str(if index == 0 { "(" } else { ", " })?;
        write(*low, out)?;
        if !same(*low, *high) {
            out.write_str(" - ")?;
            write(*high, out)?;
        }
    }
    if ranges.is_empty() { Ok(()) } else { out.write_char(')') }
}

fn write_bracket(types: &Types, array: &ArrayType, out: &mut impl Write) -> fmt::Result {
    out.write_char('[')?;
    for (index, (low, high)) in merged(&array.counts).iter().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        if low == high { write!(out, "{low}")? } else { write!(out, "{low} - {high}")? }
    }
    out.write_str(if array.counted == usually_counted(types, array.element, &array.counts) { "]" } else { "]!" })
}

/// Whether an array of that kind carries a byte count, several brackets in a row apart (spec 4.4).
fn usually_counted(types: &Types, element: TypeId, counts: &[(u32, u32)]) -> bool {
    let one = matches!(counts, [(low, high)] if low == high);
    !one || types.node(element).size.is_none()
}

/// The same ranges sorted, and neighbours as one.
pub(crate) fn merged<T: Copy + Ord + Into<i128>>(ranges: &[(T, T)]) -> Vec<(T, T)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(sorted.len());
    for (low, high) in sorted {
        match merged.last_mut() {
            Some(last) if low.into() <= last.1.into() + 1 => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}

impl FromStr for FieldType {
    type Err = TypeTextError;

    /// Reads a canonical text; anything else is refused, also what is nested or repeated beyond [`crate::limits`].
    fn from_str(text: &str) -> Result<Self, TypeTextError> {
        let mut reader = Reader { text, at: 0, types: Types::new(0), closed: Vec::new(), depth: 0 };
        let ty = reader.read()?;
        let read = FieldType { types: Arc::new(reader.types), ty };
        if reader.at < text.len() {
            return Err(TypeTextError { offset: reader.at, expected: "the end" });
        }
        let canonical = read.to_string();
        if canonical != text {
            let offset = canonical.bytes().zip(text.bytes()).take_while(|(one, other)| one == other).count();
            return Err(TypeTextError { offset, expected: "the canonical text of the type" });
        }
        Ok(read)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    types: Types,
    /// Structs and switches, in the order of closing.
    closed: Vec<TypeId>,
    depth: u16,
}

type Read<T> = Result<T, TypeTextError>;

impl<'a> Reader<'a> {
    fn expected<T>(&self, expected: &'static str) -> Read<T> {
        Err(TypeTextError { offset: self.at, expected })
    }

    fn accept(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &'static str) -> Read<()> {
        if self.accept(token) { Ok(()) } else { self.expected(token) }
    }

    /// The characters that satisfy, maybe none.
    fn take(&mut self, satisfies: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|character| !satisfies(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn number<T: FromStr>(&mut self) -> Read<T> {
        let start = self.at;
        let found = self.take(|character| character.is_ascii_alphanumeric() || matches!(character, '.' | '+' | '-'));
        found.parse().map_err(|_| TypeTextError { offset: start, expected: "a number" })
    }

    fn add(&mut self, shape: Shape) -> Read<TypeId> {
        let ty = self.types.add(shape);
        let node = self.types.node(ty);
        if node.depth > NESTING_MAX || node.weight > DEFAULT_WEIGHT_TOTAL_MAX {
            return self.expected("a smaller type");
        }
        Ok(ty)
    }

    fn read(&mut self) -> Read<TypeId> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return self.expected("less nesting");
        }
        let innermost = self.read_element()?;
        self.depth -= 1;
        let mut levels = Vec::new();
        while self.accept("[") {
            let counts = if self.accept("]") { Vec::new() } else { self.ranges("]")? };
            levels.push((counts, self.accept("!")));
            if levels.len() > usize::from(NESTING_MAX) {
                return self.expected("less nesting");
            }
        }
        let mut element = innermost;
        for (counts, reversed) in levels.into_iter().rev() {
            let counted = usually_counted(&self.types, element, &counts) != reversed;
            if !counted && !matches!(counts[..], [(low, high)] if low == high) {
                return self.expected("one count for an array that carries none");
            }
            element = self.add(Shape::Array(Box::new(ArrayType { element, counts: counts.into(), counted })))?;
        }
        Ok(element)
    }

    fn read_element(&mut self) -> Read<TypeId> {
        if self.accept("#") {
            let place: usize = self.number()?;
            return match self.closed.get(place) {
                Some(ty) => Ok(*ty),
                None => self.expected("a struct or switch that was closed before"),
            };
        }
        if self.accept("(") {
            let members = self.list(")")?;
            self.expect(")")?;
            return self.add(Shape::Record(RecordType { class: None, name: Symbol::EMPTY, members }));
        }
        let read = if self.accept("{") {
            let members = self.list("}")?;
            self.expect("}")?;
            // Which class it was is no part of a type; that it was one is.
            self.add(Shape::Record(RecordType { class: Some(0), name: Symbol::EMPTY, members }))?
        } else if self.accept("switch ") {
            self.switch()?
        } else {
            return self.simple();
        };
        self.closed.push(read);
        Ok(read)
    }

    fn list(&mut self, end: &str) -> Read<Members> {
        let mut members = Vec::new();
        if self.text[self.at..].starts_with(end) {
            return Ok(Members::default());
        }
        loop {
            let ty = self.read()?;
            members.push(Parameter { name: Symbol::EMPTY, ty, default: None });
            if !self.accept(", ") {
                return Ok(self.types.add_members(members));
            }
        }
    }

    fn switch(&mut self) -> Read<TypeId> {
        let key = Parameter { name: Symbol::EMPTY, ty: self.read()?, default: None };
        self.expect(" {")?;
        let mut switch =
            SwitchType { name: Symbol::EMPTY, key, cases: Vec::new(), by_value: HashMap::new(), default: None };
        let mut members = 0;
        while !self.accept("}") {
            if !switch.cases.is_empty() {
                self.expect("; ")?;
            }
            if self.accept("default: ") {
                switch.default = Some(self.case_members()?);
                self.expect("}")?;
                break;
            }
            let value: Box<[u8]> = self.hex()?.into();
            self.expect(": ")?;
            let list = self.case_members()?;
            members += list.len();
            if members > SWITCH_MEMBERS_MAX {
                return self.expected("fewer members");
            }
            switch.by_value.insert(value.clone(), switch.cases.len() as u32);
            switch.cases.push(Case { value, members: list });
        }
        self.add(Shape::Switch(Box::new(switch)))
    }

    fn case_members(&mut self) -> Read<Members> {
        // An empty case ends where the next one or the end of the switch begins.
        let end = if self.text[self.at..].starts_with(';') { ";" } else { "}" };
        self.list(end)
    }

    fn hex(&mut self) -> Read<Vec<u8>> {
        self.expect("<")?;
        let digits = self.take(|character| character.is_ascii_hexdigit());
        if !digits.len().is_multiple_of(2) {
            return self.expected("pairs of hex digits");
        }
        self.expect(">")?;
        let byte = |pair: &[u8]| {
            pair.iter().fold(0, |byte, digit| byte << 4 | (*digit as char).to_digit(16).unwrap_or(0) as u8)
        };
        Ok(digits.as_bytes().chunks(2).map(byte).collect())
    }

    fn simple(&mut self) -> Read<TypeId> {
        let start = self.at;
        let name = self.take(|character| character.is_ascii_alphanumeric());
        let Some(simple) = Simple::ALL.into_iter().find(|simple| simple.name() == name) else {
            return Err(TypeTextError { offset: start, expected: "a type" });
        };
        let divisor = if self.accept("/") { self.number()? } else { 1u32 };
        let modulus: Option<f64> = if self.accept("%") { Some(self.number()?) } else { None };
        if divisor == 0 || modulus.is_some_and(|modulus| modulus.is_nan() || modulus <= 0.0) {
            return Err(TypeTextError { offset: start, expected: "a divisor and a modulus above zero" });
        }
        let mut read = SimpleType::new(simple);
        let has_ranges = self.accept("(");
        if simple == Simple::Float64 {
            let ranges = if has_ranges { self.ranges(")")? } else { Vec::new() };
            read.set_stored(divisor, modulus, Vec::new(), ranges);
        } else {
            let ranges = if has_ranges { self.ranges(")")? } else { Vec::new() };
            let (least, greatest) = simple.limits();
            if simple.is_text() && ranges.iter().any(|(low, high): &(i128, i128)| *low < least || *high > greatest) {
                return Err(TypeTextError { offset: start, expected: "lengths that fit" });
            }
            read.set_stored(divisor, modulus, ranges, Vec::new());
        }
        if read.is_plain() { Ok(Types::plain(simple)) } else { self.add(Shape::Simple(Box::new(read))) }
    }

    fn ranges<T: FromStr + Copy>(&mut self, end: &'static str) -> Read<Vec<(T, T)>> {
        let mut ranges = Vec::new();
        loop {
            let low = self.number()?;
            let high = if self.accept(" - ") { self.number()? } else { low };
            ranges.push((low, high));
            if !self.accept(", ") {
                self.expect(end)?;
                return Ok(ranges);
            }
        }
    }
}
