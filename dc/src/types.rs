//! The types of a contract in one table: shapes, sizes, whether lists carry a byte count, defaults (spec 4 and 5).
//!
//! Decides: everything that follows from a type alone. Never knows classes by name, nor fields.

use crate::simple::{Simple, SimpleType};
use hashbrown::HashMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TypeId(pub u32);

impl TypeId {
    /// What an unknown type becomes, so that one mistake gives one message.
    pub const INVALID: TypeId = TypeId(0);
}

/// Something packed in its place: a parameter, a member, an element's name is empty.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub name: Arc<str>,
    pub ty: TypeId,
    /// Packed, if this very parameter was given one.
    pub default: Option<Arc<[u8]>>,
}

#[derive(Clone, Debug)]
pub(crate) struct ArrayType {
    pub element: TypeId,
    /// Allowed element counts, as written; none means any.
    pub counts: Vec<(u32, u32)>,
    /// Whether the packed form starts with a count of bytes.
    pub counted: bool,
}

impl ArrayType {
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

#[derive(Clone, Debug)]
pub(crate) struct RecordType {
    /// Which class or struct; none for the parameters of a method or molecule.
    pub class: Option<u32>,
    /// Of the class or struct.
    pub name: Option<Arc<str>>,
    pub members: Box<[Parameter]>,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub value: Box<[u8]>,
    pub members: Box<[Parameter]>,
}

#[derive(Clone, Debug)]
pub(crate) struct SwitchType {
    pub name: Arc<str>,
    /// A record without a class if the key is a method.
    pub key: Parameter,
    pub cases: Vec<Case>,
    pub by_value: HashMap<Box<[u8]>, u32>,
    pub default: Option<Box<[Parameter]>>,
}

impl SwitchType {
    /// The members that follow this key; none if the key has no case and there is no default.
    pub fn members(&self, key: &[u8]) -> Option<&[Parameter]> {
        match self.by_value.get(key) {
            Some(index) => Some(&self.cases[*index as usize].members),
            None => self.default.as_deref(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Invalid,
    Simple(SimpleType),
    Array(ArrayType),
    Record(RecordType),
    Switch(Box<SwitchType>),
}

#[derive(Clone, Debug)]
pub(crate) struct TypeNode {
    pub shape: Shape,
    /// Packed default that came with a typedef.
    pub default: Option<Arc<[u8]>>,
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
    nodes: Vec<TypeNode>,
    /// Of each type word, with its decorations, the type that was added last.
    latest: [TypeId; Simple::ALL.len()],
}

impl Types {
    /// With room for so many beside the bare type words.
    pub fn new(capacity: usize) -> Self {
        let mut types = Types {
            nodes: Vec::with_capacity(1 + Simple::ALL.len() + capacity),
            latest: [TypeId::INVALID; Simple::ALL.len()],
        };
        types.add(Shape::Invalid);
        for simple in Simple::ALL {
            types.add(Shape::Simple(SimpleType::new(simple)));
        }
        types
    }

    /// The bare type word.
    pub fn plain(simple: Simple) -> TypeId {
        let index = Simple::ALL.iter().position(|other| *other == simple).unwrap_or(0);
        TypeId(1 + index as u32)
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

    /// A decorated type word. Parameters side by side are often alike and share one type.
    pub fn add_simple(&mut self, simple: SimpleType) -> TypeId {
        let latest = self.latest[simple.simple as usize];
        if let Shape::Simple(other) = self.shape(latest)
            && *other == simple
        {
            return latest;
        }
        let word = simple.simple as usize;
        self.latest[word] = self.add(Shape::Simple(simple));
        self.latest[word]
    }

    pub fn add(&mut self, shape: Shape) -> TypeId {
        let node = self.measure(shape);
        self.nodes.push(node);
        TypeId(self.nodes.len() as u32 - 1)
    }

    /// The same type with a default of its own, as a typedef makes it.
    pub fn with_default(&mut self, id: TypeId, default: Arc<[u8]>) -> TypeId {
        let mut node = self.node(id).clone();
        node.weight = 1 + default.len() as u64;
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
            Shape::Record(record) => measures = self.total(&record.members),
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
            let weight = member.default.as_ref().map_or(node.weight, |bytes| 1 + bytes.len() as u64);
            total.weight = total.weight.saturating_add(weight);
            total.depth = total.depth.max(node.depth);
        }
        total
    }

    fn measure_switch(&self, switch: &SwitchType) -> Measures {
        let mut whole = self.total(std::slice::from_ref(&switch.key));
        let lists = switch.cases.iter().map(|case| &case.members).chain(switch.default.as_ref());
        let totals: Vec<Measures> = lists.map(|members| self.total(members)).collect();
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
    pub fn add_arrays(&mut self, innermost: TypeId, brackets: &[Vec<(u32, u32)>]) -> TypeId {
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
            element = self.add(Shape::Array(array));
            self.nodes[element.0 as usize].believed_size = believed;
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
