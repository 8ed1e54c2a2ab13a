//! The 32-bit hash that clients and servers compare (spec 6).
//!
//! Decides: nothing of its own; every step is Panda3D's. Classes and switches are memoised by the place in the list of
//! primes at which they start, since what they add depends on nothing else (spec 6.5).

use crate::builder::{Builder, FieldKind, HashedKeywords};
use crate::contract::Options;
use crate::names::Symbol;
use crate::simple::{Simple, SimpleType};
use crate::types::{ArrayType, Members, Parameter, Shape, SwitchType, TypeId};
use hashbrown::HashMap;
use std::sync::LazyLock;

const PRIMES: usize = 10_000;

/// 2, 3, 5, … 104729.
static PRIME: LazyLock<Box<[u32; PRIMES]>> = LazyLock::new(|| {
    const LAST: usize = 104_729;
    let mut composite = vec![false; LAST + 1];
    let mut primes = Box::new([0; PRIMES]);
    let mut found = 0;
    for number in 2..=LAST {
        if composite[number] {
            continue;
        }
        primes[found] = number as u32;
        found += 1;
        let mut multiple = number * number;
        while multiple <= LAST {
            composite[multiple] = true;
            multiple += number;
        }
    }
    assert_eq!(found, PRIMES);
    primes
});

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Memo {
    Class(u32),
    Switch(TypeId),
}

pub(crate) struct Hasher<'a> {
    builder: &'a Builder,
    options: &'a Options,
    primes: &'static [u32; PRIMES],
    sum: u32,
    position: usize,
    /// What a class or switch adds, and by how much it moves on, when it starts at a position.
    memo: HashMap<(Memo, u32), (u32, u32)>,
}

pub(crate) fn hash(builder: &Builder, options: &Options) -> u32 {
    let mut hasher = Hasher { builder, options, primes: &PRIME, sum: 0, position: 0, memo: HashMap::new() };
    if options.virtual_inheritance {
        hasher.int(if options.sort_inheritance_by_file { 1 } else { 2 });
    }
    hasher.int(builder.class_list.len() as u32);
    for class in &builder.class_list {
        hasher.class(*class);
    }
    hasher.sum
}

impl Hasher<'_> {
    fn int(&mut self, value: u32) {
        self.sum = self.sum.wrapping_add(self.primes[self.position].wrapping_mul(value));
        self.position += 1;
        if self.position == PRIMES {
            self.position = 0;
        }
    }

    fn name(&mut self, name: Symbol) {
        let builder = self.builder;
        self.bytes(builder.types.names.bytes(name));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.int(bytes.len() as u32);
        let mut rest = bytes;
        while !rest.is_empty() {
            let primes = &self.primes[self.position..];
            let (now, later) = rest.split_at(rest.len().min(primes.len()));
            let products = now.iter().zip(primes).map(|(byte, prime)| prime.wrapping_mul((*byte).into()));
            self.sum = products.fold(self.sum, u32::wrapping_add);
            self.position = (self.position + now.len()) % PRIMES;
            rest = later;
        }
    }

    fn memoised(&mut self, key: Memo, compute: impl FnOnce(&mut Self)) {
        let start = self.position;
        let outer = self.sum;
        if let Some((added, moved)) = self.memo.get(&(key, start as u32)) {
            self.sum = outer.wrapping_add(*added);
            self.position = (start + *moved as usize) % PRIMES;
            return;
        }
        self.sum = 0;
        compute(self);
        let moved = (self.position + PRIMES - start) % PRIMES;
        self.memo.insert((key, start as u32), (self.sum, moved as u32));
        self.sum = outer.wrapping_add(self.sum);
    }

    fn class(&mut self, index: u32) {
        let builder = self.builder;
        let class = &builder.classes[index as usize];
        self.name(class.name);
        if class.is_struct {
            self.int(1);
        }
        self.int(class.bases.len() as u32);
        for base in &class.bases {
            let number = builder.classes[*base as usize].number;
            self.int(number.map_or(u32::MAX, u32::from));
        }
        if let Some(constructor) = class.constructor {
            self.field(constructor);
        }
        self.int(class.own.len() as u32);
        for field in class.own.of(&builder.lists) {
            self.field(*field);
        }
    }

    fn field(&mut self, index: u32) {
        let builder = self.builder;
        let field = &builder.fields[index as usize];
        match field.kind {
            FieldKind::Data => {
                let keywords = builder.keywords(field.keywords);
                if !keywords.names.is_empty() {
                    self.keywords(&keywords.hashed);
                }
                self.data(field.ty);
            }
            FieldKind::Atomic => {
                self.method(field.name, field.number, field.ty, &builder.keywords(field.keywords).hashed);
            }
            FieldKind::Molecular => {
                self.name(field.name);
                self.number(field.number);
                self.int(field.parts.len() as u32);
                for part in field.parts.of(&builder.parts) {
                    self.field(*part);
                }
            }
        }
    }

    fn number(&mut self, number: Option<u16>) {
        if self.options.multiple_inheritance {
            self.int(number.map_or(u32::MAX, u32::from));
        }
    }

    fn method(&mut self, name: Symbol, number: Option<u16>, ty: TypeId, keywords: &HashedKeywords) {
        self.name(name);
        self.number(number);
        let types = &self.builder.types;
        if let Shape::Record(record) = types.shape(ty) {
            self.int(record.members.len() as u32);
            for member in types.members(record.members) {
                self.data(member.ty);
            }
        }
        self.keywords(keywords);
    }

    fn keywords(&mut self, keywords: &HashedKeywords) {
        match keywords {
            HashedKeywords::Bits(bits) => self.int((*bits).into()),
            HashedKeywords::Names(names) => {
                self.int(names.len() as u32);
                for name in names {
                    self.name(*name);
                }
            }
        }
    }

    fn data(&mut self, id: TypeId) {
        let builder = self.builder;
        match builder.types.shape(id) {
            Shape::Invalid => self.int(20),
            Shape::Simple(simple) => self.simple(simple),
            Shape::Array(array) => self.array(array),
            Shape::Record(record) => {
                if let Some(class) = record.class {
                    self.memoised(Memo::Class(class), |hasher| hasher.class(class));
                }
            }
            Shape::Switch(switch) => self.memoised(Memo::Switch(id), |hasher| hasher.switch(switch)),
        }
    }

    fn simple(&mut self, simple: &SimpleType) {
        self.int(simple.simple as u32);
        self.int(simple.divisor);
        if let Some(modulus) = simple.modulus {
            self.int(truncated(modulus * f64::from(simple.divisor)));
        }
        if simple.simple == Simple::Float64 {
            let bounds = simple.real_ranges.iter().map(|(low, high)| (truncated(*low), truncated(*high)));
            self.ranges(simple.real_ranges.len(), bounds);
        } else {
            let bounds = simple.ranges.iter().map(|(low, high)| (*low as u32, *high as u32));
            self.ranges(simple.ranges.len(), bounds);
        }
    }

    fn array(&mut self, array: &ArrayType) {
        self.data(array.element);
        self.ranges(array.counts.len(), array.counts.iter().copied());
    }

    fn ranges(&mut self, count: usize, bounds: impl Iterator<Item = (u32, u32)>) {
        if count == 0 {
            return;
        }
        self.int(count as u32);
        for (low, high) in bounds {
            self.int(low);
            self.int(high);
        }
    }

    fn switch(&mut self, switch: &SwitchType) {
        self.name(switch.name);
        self.key(&switch.key);
        self.int(switch.cases.len() as u32);
        for case in &switch.cases {
            self.bytes(&case.value);
            self.members(&switch.key, case.members);
        }
        if let Some(members) = switch.default {
            self.members(&switch.key, members);
        }
    }

    fn members(&mut self, key: &Parameter, members: Members) {
        self.int(1 + members.len() as u32);
        self.key(key);
        let types = &self.builder.types;
        for member in types.members(members) {
            self.data(member.ty);
        }
    }

    fn key(&mut self, key: &Parameter) {
        match self.builder.types.shape(key.ty) {
            Shape::Record(record) if record.class.is_none() => {
                self.method(key.name, None, key.ty, &HashedKeywords::Bits(0));
            }
            _ => self.data(key.ty),
        }
    }
}

/// A real as Panda3D's build for x86-64 turns it into an int32.
fn truncated(value: f64) -> u32 {
    let whole = value.trunc();
    if whole >= f64::from(i32::MIN) && whole <= f64::from(i32::MAX) { whole as i32 as u32 } else { i32::MIN as u32 }
}
