//! The types of a contract in one table: shapes, sizes, whether lists carry a byte count, defaults (spec 4 and 5).
//!
//! Decides: everything that follows from a type alone. Never knows classes by name, nor fields.
//!
//! Names, parameters and defaults lie in one vector each, and a type points at its own: a contract of thousands of types
//! is made, kept and dropped in few allocations.

use crate::names::{Names, Symbol};
use crate::number_hasher::mixed;
use crate::simple::{Simple, SimpleType};
use crate::stretch::Stretch;
use hashbrown::{HashMap, HashTable};
use smallvec::SmallVec;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TypeId(pub u32);

impl TypeId {
    /// What an unknown type becomes, so that one mistake gives one message.
    pub const INVALID: TypeId = TypeId(0);
}

/// Packed bytes, in [`Types::packed`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed(Stretch);

/// Parameters in a row, in [`Types::members`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Members(Stretch);

impl Members {
    pub fn len(self) -> usize {
        self.0.len()
    }
}

/// Something packed in its place: a parameter, a member, an element's name is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub name: Symbol,
    pub ty: TypeId,
    /// If this very parameter was given one.
    pub default: Option<Packed>,
}

/// Allowed element counts; most arrays have one range of them, or none.
pub(crate) type Counts = SmallVec<[(u32, u32); 1]>;

/// What stands in each of the brackets of a type.
pub(crate) type Brackets = SmallVec<[Counts; 1]>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ArrayType {
    pub element: TypeId,
    /// Allowed element counts, as written; none means any.
    pub counts: Counts,
    /// Whether the packed form starts with a count of bytes.
    pub counted: bool,
}

impl Shape {
    /// The hash of what is shared.
    fn spread(&self) -> u64 {
        match self {
            Shape::Simple(simple) => simple.spread(),
            Shape::Array(array) => array.spread(),
            _ => 0,
        }
    }
}

impl ArrayType {
    fn spread(&self) -> u64 {
        let counts = self.counts.iter().map(|(low, high)| u64::from(*low) << 32 | u64::from(*high));
        counts.fold(mixed(self.element.0.into()), |spread, range| mixed(spread ^ range))
    }

    pub fn allows(&self, count: usize) -> bool {
        let inside = |(low, high): &(u32, u32)| *low as usize <= count && count <= *high as usize;
        self.counts.is_empty() || self.counts.iter().any(inside)
    }

    pub fn least_count(&self) -> u32 {
        self.counts.first().map_or(0, |range| range.0)
    }

    pub fn allowed(&self) -> String {
        let ranges: Vec<String> = self
            .counts
            .iter()
            .map(|(low, high)| if low == high { low.to_string() } else { format!("{low} to {high}") })
            .collect();
        if ranges.is_empty() { "any number".to_owned() } else { ranges.join(" or ") }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordType {
    /// Which class or struct; none for the parameters of a method or molecule.
    pub class: Option<u32>,
    /// Of the class or struct.
    pub name: Symbol,
    pub members: Members,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub value: Box<[u8]>,
    pub members: Members,
}

#[derive(Clone, Debug)]
pub(crate) struct SwitchType {
    pub name: Symbol,
    /// A record without a class if the key is a method.
    pub key: Parameter,
    pub cases: Vec<Case>,
    pub by_value: HashMap<Box<[u8]>, u32>,
    pub default: Option<Members>,
}

impl SwitchType {
    /// The members that follow this key; none if the key has no case and there is no default.
    pub fn members(&self, key: &[u8]) -> Option<Members> {
        match self.by_value.get(key) {
            Some(index) => Some(self.cases[*index as usize].members),
            None => self.default,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Invalid,
    Simple(Box<SimpleType>),
    Array(Box<ArrayType>),
    Record(RecordType),
    Switch(Box<SwitchType>),
}

#[derive(Clone, Debug)]
pub(crate) struct TypeNode {
    pub shape: Shape,
    /// Packed default that came with a typedef.
    pub default: Option<Packed>,
    /// Packed bytes, if every value has as many.
    pub size: Option<u64>,
    /// The size that Panda3D remembers, wrong for several brackets in a row (spec 4.4): it decides who carries a count.
    pub believed_size: Option<u64>,
    /// Whether this type or any part of it, however deep, has an explicit default.
    pub has_default: bool,
    /// Bytes and items of the default; see [`crate::limits::DEFAULT_WEIGHT_MAX`].
    pub weight: u64,
    pub depth: u16,
}

pub(crate) struct Types {
    pub names: Names,
    nodes: Vec<TypeNode>,
    parameters: Vec<Parameter>,
    defaults: Vec<u8>,
    /// Decorated type words and arrays, by what they are: parameters are often alike and share one type.
    shared: HashTable<TypeId>,
}

impl Types {
    /// With room for so many beside the bare type words.
    pub fn new(capacity: usize) -> Self {
        let mut types = Types {
            names: Names::new(capacity),
            nodes: Vec::with_capacity(1 + Simple::ALL.len() + capacity),
            parameters: Vec::with_capacity(2 * capacity),
            defaults: Vec::new(),
            shared: HashTable::new(),
        };
        types.add(Shape::Invalid);
        for simple in Simple::ALL {
            types.add(Shape::Simple(Box::new(SimpleType::new(simple))));
        }
        types
    }

    /// The bare type word.
    pub fn plain(simple: Simple) -> TypeId {
        TypeId(1 + simple as u32)
    }

    pub fn name(&self, symbol: Symbol) -> &str {
        self.names.text(symbol)
    }

    #[inline]
    pub fn members(&self, members: Members) -> &[Parameter] {
        members.0.of(&self.parameters)
    }

    pub fn add_members(&mut self, members: impl IntoIterator<Item = Parameter>) -> Members {
        Members(Stretch::append(&mut self.parameters, members))
    }

    #[inline]
    pub fn packed(&self, packed: Packed) -> &[u8] {
        packed.0.of(&self.defaults)
    }

    /// Bytes of all defaults that were given.
    pub fn packed_bytes(&self) -> usize {
        self.defaults.len()
    }

    pub fn add_packed(&mut self, bytes: &[u8]) -> Packed {
        let start = self.defaults.len();
        self.defaults.extend_from_slice(bytes);
        Packed(Stretch::since(start, &self.defaults))
    }

    pub fn node(&self, id: TypeId) -> &TypeNode {
        &self.nodes[id.0 as usize]
    }

    pub fn shape(&self, id: TypeId) -> &Shape {
        &self.nodes[id.0 as usize].shape
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A decorated type word.
    pub fn add_simple(&mut self, simple: &SimpleType) -> TypeId {
        let same = |shape: &Shape| matches!(shape, Shape::Simple(other) if **other == *simple);
        match self.shared.find(simple.spread(), |ty| same(&self.nodes[ty.0 as usize].shape)) {
            Some(ty) => *ty,
            None => {
                let ty = self.add(Shape::Simple(Box::new(simple.clone())));
                self.share(ty);
                ty
            }
        }
    }

    fn add_array(&mut self, array: ArrayType, believed_size: Option<u64>) -> TypeId {
        let same = |node: &TypeNode| {
            node.believed_size == believed_size && matches!(&node.shape, Shape::Array(other) if **other == array)
        };
        match self.shared.find(array.spread(), |ty| same(&self.nodes[ty.0 as usize])) {
            Some(ty) => *ty,
            None => {
                let ty = self.add(Shape::Array(Box::new(array)));
                self.nodes[ty.0 as usize].believed_size = believed_size;
                self.share(ty);
                ty
            }
        }
    }

    fn share(&mut self, ty: TypeId) {
        let nodes = &self.nodes;
        let hash = |ty: &TypeId| nodes[ty.0 as usize].shape.spread();
        self.shared.insert_unique(hash(&ty), ty, hash);
    }

    pub fn add(&mut self, shape: Shape) -> TypeId {
        let node = self.measure(shape);
        self.nodes.push(node);
        TypeId(self.nodes.len() as u32 - 1)
    }

    /// The same type with a default of its own, as a typedef makes it.
    pub fn with_default(&mut self, id: TypeId, default: Packed) -> TypeId {
        let mut node = self.node(id).clone();
        node.weight = 1 + default.0.len() as u64;
        node.default = Some(default);
        node.has_default = true;
        self.nodes.push(node);
        TypeId(self.nodes.len() as u32 - 1)
    }

    pub fn parameter_has_default(&self, parameter: &Parameter) -> bool {
        parameter.default.is_some() || self.node(parameter.ty).has_default
    }

    fn measure(&self, shape: Shape) -> TypeNode {
        let mut measures = Measures::default();
        match &shape {
            Shape::Invalid => {}
            Shape::Simple(simple) => {
                measures.size = match simple.fixed_length() {
                    Some(length) => Some(length.into()),
                    None => simple.simple.number_size().map(|size| size as u64),
                };
                measures.believed_size = measures.size;
                measures.weight = 9 + self.least_length(simple);
            }
            Shape::Array(array) => {
                let element = self.node(array.element);
                let count = u64::from(array.least_count());
                if !array.counted {
                    measures.size = element.size.and_then(|size| size.checked_mul(count));
                }
                measures.has_default = element.has_default;
                measures.weight = element.weight.saturating_mul(count).saturating_add(3);
                measures.depth = element.depth;
            }
            Shape::Record(record) => measures = self.total(self.members(record.members)),
            Shape::Switch(switch) => measures = self.measure_switch(switch),
        }
        TypeNode {
            shape,
            default: None,
            size: measures.size,
            believed_size: measures.believed_size,
            has_default: measures.has_default,
            weight: measures.weight.saturating_add(1),
            depth: measures.depth.saturating_add(1),
        }
    }

    /// Lengths and legacy counts: what the default starts with.
    fn least_length(&self, simple: &SimpleType) -> u64 {
        match simple.ranges.first() {
            Some((low, _)) if simple.simple.is_text() => (*low).clamp(0, u32::MAX.into()) as u64,
            Some((low, _)) if simple.simple.legacy_element().is_some() => (*low).clamp(0, u32::MAX.into()) as u64 * 4,
            _ => 0,
        }
    }

    fn total(&self, members: &[Parameter]) -> Measures {
        let mut total = Measures { size: Some(0), believed_size: Some(0), ..Measures::default() };
        for member in members {
            let node = self.node(member.ty);
            total.size = sum(total.size, node.size);
            total.believed_size = sum(total.believed_size, node.believed_size);
            total.has_default |= self.parameter_has_default(member);
            let weight = member.default.as_ref().map_or(node.weight, |bytes| 1 + bytes.0.len() as u64);
            total.weight = total.weight.saturating_add(weight);
            total.depth = total.depth.max(node.depth);
        }
        total
    }

    fn measure_switch(&self, switch: &SwitchType) -> Measures {
        let mut whole = self.total(std::slice::from_ref(&switch.key));
        let lists = switch.cases.iter().map(|case| case.members).chain(switch.default);
        let totals: Vec<Measures> = lists.map(|members| self.total(self.members(members))).collect();
        let mut heaviest = 0;
        for total in &totals {
            whole.has_default |= total.has_default;
            whole.depth = whole.depth.max(total.depth);
            heaviest = heaviest.max(total.weight);
        }
        whole.weight = whole.weight.saturating_add(heaviest);
        whole.size = sum(whole.size, common(totals.iter().map(|total| total.size)));
        whole.believed_size = sum(whole.believed_size, common(totals.iter().map(|total| total.believed_size)));
        // Only a default and no case label: Panda3D calls it fixed only if there is nothing in it at all.
        if switch.cases.is_empty() && switch.default.is_some() && whole.believed_size != Some(0) {
            whole.believed_size = None;
        }
        whole
    }

    /// An array whose brackets are written `[a][b]…` after one type: each level is counted as if its element were the
    /// innermost type (spec 4.4).
    pub fn add_arrays(&mut self, innermost: TypeId, brackets: &[Counts]) -> TypeId {
        let mut element = innermost;
        for counts in brackets.iter().rev() {
            let one = match counts[..] {
                [(low, high)] if low == high => Some(u64::from(low)),
                _ => None,
            };
            let believed = match (one, self.node(innermost).believed_size) {
                (Some(count), Some(size)) => Some(size.saturating_mul(count)),
                _ => None,
            };
            let array = ArrayType { element, counts: counts.clone(), counted: believed.is_none() };
            element = self.add_array(array, believed);
        }
        element
    }
}

/// What follows from the parts of a type.
#[derive(Default)]
struct Measures {
    size: Option<u64>,
    believed_size: Option<u64>,
    has_default: bool,
    weight: u64,
    depth: u16,
}

fn sum(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    left?.checked_add(right?)
}

/// The one size that all have; nothing has a size of nothing.
fn common(mut sizes: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let Some(first) = sizes.next() else { return Some(0) };
    first.filter(|_| sizes.all(|other| other == first))
}
