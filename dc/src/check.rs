//! The quick answer: are these bytes a value of that type, and how long is it. One pass, no allocation.
//!
//! Decides: yes or no. Why not is for `crate::walk` to say, which runs only then. A type is compiled into steps once;
//! parts that any bytes satisfy melt into one step, and parts of no bytes vanish, so every step but [`Step::Never`]
//! takes at least one byte: work is bounded by bytes times nesting, whatever the type.

use crate::simple::{Simple, SimpleType};
use crate::stretch::Stretch;
use crate::types::{ArrayType, Members, Shape, SwitchType, TypeId, Types};
use crate::value_error::TextPolicy;
use crate::walk::little_endian;
use hashbrown::HashMap;
use std::sync::Arc;

/// Steps up to this many are copied into the steps around them; longer ones are shared.
const INLINE_STEPS_MAX: usize = 8;

/// Numbers are compared by what they exceed the least allowed one by, in their own width, where everything below it wraps
/// to the far end: one comparison for both bounds, signed or not.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// So many bytes, any.
    Skip(u32),
    Byte {
        low: u8,
        span: u8,
    },
    Short {
        low: u16,
        span: u16,
    },
    Word {
        low: u32,
        span: u32,
    },
    Long {
        low: u64,
        span: u64,
    },
    /// A number of so many bytes in one of several ranges, each a least value and a span.
    WithinAny {
        size: u8,
        ranges: Arc<[(u64, u64)]>,
    },
    Real {
        ranges: Arc<[(f64, f64)]>,
    },
    FixedString {
        length: u32,
    },
    Text {
        wide: bool,
        is_string: bool,
        lengths: Lengths,
    },
    /// The array step of that place.
    Array(u32),
    Record(Steps),
    /// The switch step of that place.
    Switch(u32),
    /// Nothing satisfies it.
    Never,
}

#[derive(Clone, Debug)]
pub(crate) enum Lengths {
    Any,
    Within(u32, u32),
    WithinAny(Arc<[(u32, u32)]>),
}

impl Lengths {
    fn new(ranges: &[(u32, u32)]) -> Self {
        match ranges {
            [] => Lengths::Any,
            [(low, high)] => Lengths::Within(*low, *high),
            several => Lengths::WithinAny(several.into()),
        }
    }

    fn allow(&self, length: usize) -> bool {
        let inside = |low: u32, high: u32| low as usize <= length && length <= high as usize;
        match self {
            Lengths::Any => true,
            Lengths::Within(low, high) => inside(*low, *high),
            Lengths::WithinAny(ranges) => ranges.iter().any(|(low, high)| inside(*low, *high)),
        }
    }
}

/// The steps of a type, in [`Checks`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps(Stretch);

/// The steps of all types of a contract.
#[derive(Default)]
pub(crate) struct Checks {
    steps: Vec<Step>,
    arrays: Vec<ArrayStep>,
    switches: Vec<SwitchStep>,
}

#[derive(Debug)]
struct ArrayStep {
    counted: bool,
    counts: Lengths,
    /// Elements of an array that carries no count.
    fixed_count: u32,
    element: Steps,
    /// Bytes of an element that any bytes satisfy.
    plain_size: Option<u32>,
}

#[derive(Debug)]
struct SwitchStep {
    key: Steps,
    cases: HashMap<Box<[u8]>, Steps>,
    default: Option<Steps>,
}

/// Compiles types, each once.
pub(crate) struct Compiler<'a> {
    types: &'a Types,
    checks: Checks,
    done: Vec<Option<Steps>>,
    /// Steps of the types around the one that is being compiled, the innermost last.
    steps: Vec<Step>,
    /// Where the steps of the innermost type begin: it melts into nothing before.
    first: usize,
}

impl<'a> Compiler<'a> {
    pub fn new(types: &'a Types) -> Self {
        let checks = Checks { steps: Vec::with_capacity(types.len()), ..Checks::default() };
        Compiler { types, checks, done: vec![None; types.len()], steps: Vec::new(), first: 0 }
    }

    pub fn finish(self) -> Checks {
        self.checks
    }

    pub fn compile(&mut self, id: TypeId) -> Steps {
        if let Some(done) = self.done[id.0 as usize] {
            return done;
        }
        let steps = self.list(|compiler| compiler.add(id));
        self.done[id.0 as usize] = Some(steps);
        steps
    }

    /// What `add` adds, as a list of its own.
    fn list(&mut self, add: impl FnOnce(&mut Self)) -> Steps {
        let outer = std::mem::replace(&mut self.first, self.steps.len());
        add(self);
        let steps = Steps(Stretch::append(&mut self.checks.steps, self.steps.drain(self.first..)));
        self.first = outer;
        steps
    }

    fn add(&mut self, id: TypeId) {
        let types = self.types;
        match types.shape(id) {
            Shape::Invalid => self.step(Step::Never),
            Shape::Simple(simple) if simple.simple.is_text() => {
                if let Some(step) = text_step(simple) {
                    self.step(step);
                }
            }
            Shape::Simple(simple) => match simple.simple.number_size() {
                Some(size) => self.step(number_step(simple, size)),
                None => self.add_legacy(simple.simple),
            },
            Shape::Array(array) => self.add_array(array),
            Shape::Record(record) => self.add_members(record.members),
            Shape::Switch(switch) => self.add_switch(switch),
        }
    }

    fn add_members(&mut self, members: Members) {
        let types = self.types;
        for member in types.members(members) {
            if let Shape::Simple(_) = types.shape(member.ty) {
                self.add(member.ty);
                continue;
            }
            let part = self.compile(member.ty);
            if part.0.len() > INLINE_STEPS_MAX {
                self.step(Step::Record(part));
                continue;
            }
            for index in 0..part.0.len() {
                self.step(part.0.of(&self.checks.steps)[index].clone());
            }
        }
    }

    fn step(&mut self, step: Step) {
        if let (Step::Skip(more), Some(Step::Skip(before))) = (&step, self.steps[self.first..].last_mut())
            && let Some(sum) = before.checked_add(*more)
        {
            *before = sum;
            return;
        }
        if !matches!(step, Step::Skip(0)) {
            self.steps.push(step);
        }
    }

    fn add_array(&mut self, array: &ArrayType) {
        let element = self.compile(array.element);
        let plain_size = match element.0.of(&self.checks.steps) {
            [] => Some(0),
            [Step::Skip(size)] => Some(*size),
            _ => None,
        };
        if !array.counted {
            let count = array.least_count();
            match plain_size {
                _ if count == 0 => return,
                Some(0) => return,
                // The weight of a type bounds this product.
                Some(size) => return self.step(Step::Skip(size.saturating_mul(count))),
                None => {}
            }
        }
        self.array_step(ArrayStep {
            counted: array.counted,
            counts: Lengths::new(&array.counts),
            fixed_count: array.least_count(),
            element,
            plain_size,
        });
    }

    fn array_step(&mut self, array: ArrayStep) {
        self.step(Step::Array(self.checks.arrays.len() as u32));
        self.checks.arrays.push(array);
    }

    /// The elements of a legacy array take any value.
    fn add_legacy(&mut self, word: Simple) {
        let element_size = word.legacy_element().and_then(Simple::number_size).unwrap_or(5) as u32;
        self.array_step(ArrayStep {
            counted: true,
            counts: Lengths::Any,
            fixed_count: 0,
            element: Steps(Stretch::default()),
            plain_size: Some(element_size),
        });
    }

    fn add_switch(&mut self, switch: &SwitchType) {
        let key = self.compile(switch.key.ty);
        if key.0.len() == 0 {
            // A key of no bytes is always the same key.
            match switch.members(&[]) {
                Some(members) => self.add_members(members),
                None => self.step(Step::Never),
            }
            return;
        }
        let mut compile = |members: Members| self.list(|compiler| compiler.add_members(members));
        let cases = switch.cases.iter().map(|case| (case.value.clone(), compile(case.members))).collect();
        let default = switch.default.map(&mut compile);
        self.step(Step::Switch(self.checks.switches.len() as u32));
        self.checks.switches.push(SwitchStep { key, cases, default });
    }
}

fn number_step(simple: &SimpleType, size: usize) -> Step {
    if simple.simple == Simple::Float64 {
        return match &simple.real_ranges[..] {
            [] => Step::Skip(8),
            ranges => Step::Real { ranges: ranges.into() },
        };
    }
    let (least, greatest) = simple.simple.limits();
    // A bound beyond the type comes from a divisor after its range.
    let stored = |(low, high): &(i128, i128)| {
        let (low, high) = ((*low).max(least), (*high).min(greatest));
        (low <= high).then(|| (low as u64, (high - low) as u64))
    };
    match &simple.ranges[..] {
        [] => Step::Skip(size as u32),
        [range] => match (stored(range), size) {
            (None, _) => Step::Never,
            (Some((low, span)), 1) => Step::Byte { low: low as u8, span: span as u8 },
            (Some((low, span)), 2) => Step::Short { low: low as u16, span: span as u16 },
            (Some((low, span)), 4) => Step::Word { low: low as u32, span: span as u32 },
            (Some((low, span)), _) => Step::Long { low, span },
        },
        ranges => Step::WithinAny { size: size as u8, ranges: ranges.iter().filter_map(stored).collect() },
    }
}

/// None for what takes no bytes.
fn text_step(simple: &SimpleType) -> Option<Step> {
    let is_string = simple.simple == Simple::String;
    match simple.fixed_length() {
        Some(0) => None,
        Some(length) if is_string => Some(Step::FixedString { length }),
        Some(length) => Some(Step::Skip(length)),
        None => {
            let length = |(low, high): &(i128, i128)| (*low as u32, *high as u32);
            let lengths = match &simple.ranges[..] {
                [] => Lengths::Any,
                [range] => {
                    let (low, high) = length(range);
                    Lengths::Within(low, high)
                }
                ranges => Lengths::WithinAny(ranges.iter().map(length).collect()),
            };
            Some(Step::Text { wide: simple.simple == Simple::Blob32, is_string, lengths })
        }
    }
}

/// Whether constraints are checked, or only lengths followed.
pub(crate) trait Rules: Copy {
    const CHECK: bool;
    fn text(self, text: &[u8]) -> bool;
}

#[derive(Clone, Copy)]
pub(crate) struct Everything(pub TextPolicy);

impl Rules for Everything {
    const CHECK: bool = true;

    #[inline]
    fn text(self, text: &[u8]) -> bool {
        self.0.allows(text)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct LengthOnly;

impl Rules for LengthOnly {
    const CHECK: bool = false;

    #[inline]
    fn text(self, _: &[u8]) -> bool {
        true
    }
}

impl Checks {
    /// What is left after the value that the bytes start with, or nothing if they start with none.
    #[inline]
    pub fn run<'a, R: Rules>(&self, steps: Steps, bytes: &'a [u8], rules: R) -> Option<&'a [u8]> {
        let mut rest = bytes;
        for step in steps.0.of(&self.steps) {
            rest = match step {
                Step::Skip(length) => rest.get(*length as usize..)?,
                Step::Byte { low, span } => {
                    let (value, after) = rest.split_first()?;
                    if R::CHECK && value.wrapping_sub(*low) > *span {
                        return None;
                    }
                    after
                }
                Step::Short { low, span } => {
                    let (value, after) = rest.split_first_chunk()?;
                    if R::CHECK && u16::from_le_bytes(*value).wrapping_sub(*low) > *span {
                        return None;
                    }
                    after
                }
                Step::Word { low, span } => {
                    let (value, after) = rest.split_first_chunk()?;
                    if R::CHECK && u32::from_le_bytes(*value).wrapping_sub(*low) > *span {
                        return None;
                    }
                    after
                }
                Step::Long { low, span } => {
                    let (value, after) = rest.split_first_chunk()?;
                    if R::CHECK && u64::from_le_bytes(*value).wrapping_sub(*low) > *span {
                        return None;
                    }
                    after
                }
                Step::WithinAny { size, ranges } => {
                    let (value, after) = rest.split_at_checked(usize::from(*size))?;
                    if R::CHECK && !within_any(value, ranges) {
                        return None;
                    }
                    after
                }
                Step::Real { ranges } => {
                    let (value, after) = rest.split_first_chunk()?;
                    let value = f64::from_le_bytes(*value);
                    if R::CHECK && !ranges.iter().any(|(low, high)| *low <= value && value <= *high) {
                        return None;
                    }
                    after
                }
                Step::FixedString { length } => {
                    let (text, after) = rest.split_at_checked(*length as usize)?;
                    if R::CHECK && !rules.text(text) {
                        return None;
                    }
                    after
                }
                Step::Text { wide, is_string, lengths } => {
                    let (length, after) = if *wide {
                        let (length, after) = rest.split_first_chunk()?;
                        (u32::from_le_bytes(*length) as usize, after)
                    } else {
                        let (length, after) = rest.split_first_chunk()?;
                        (usize::from(u16::from_le_bytes(*length)), after)
                    };
                    let (text, after) = after.split_at_checked(length)?;
                    if R::CHECK && !(lengths.allow(length) && (!*is_string || rules.text(text))) {
                        return None;
                    }
                    after
                }
                Step::Array(place) => self.run_array(&self.arrays[*place as usize], rest, rules)?,
                Step::Record(steps) => self.run(*steps, rest, rules)?,
                Step::Switch(place) => self.run_switch(&self.switches[*place as usize], rest, rules)?,
                Step::Never => return None,
            };
        }
        Some(rest)
    }

    #[inline(never)]
    fn run_switch<'a, R: Rules>(&self, switch: &SwitchStep, bytes: &'a [u8], rules: R) -> Option<&'a [u8]> {
        let rest = self.run(switch.key, bytes, rules)?;
        let key = &bytes[..bytes.len() - rest.len()];
        let members = switch.cases.get(key).or(switch.default.as_ref())?;
        self.run(*members, rest, rules)
    }

    #[inline(never)]
    fn run_array<'a, R: Rules>(&self, array: &ArrayStep, bytes: &'a [u8], rules: R) -> Option<&'a [u8]> {
        if !array.counted {
            let mut rest = bytes;
            for _ in 0..array.fixed_count {
                rest = self.run(array.element, rest, rules)?;
            }
            return Some(rest);
        }
        let (length, rest) = bytes.split_first_chunk()?;
        let (elements, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        if !R::CHECK {
            return Some(rest);
        }
        let count = match array.plain_size {
            Some(0) if !elements.is_empty() => return None,
            Some(0) => 0,
            Some(size) if !elements.len().is_multiple_of(size as usize) => return None,
            Some(size) => elements.len() / size as usize,
            None => self.count_elements(array, elements, rules)?,
        };
        array.counts.allow(count).then_some(rest)
    }

    fn count_elements<R: Rules>(&self, array: &ArrayStep, elements: &[u8], rules: R) -> Option<usize> {
        let mut rest = elements;
        let mut count = 0;
        while !rest.is_empty() {
            rest = self.run(array.element, rest, rules)?;
            count += 1;
        }
        Some(count)
    }
}

#[inline(never)]
fn within_any(value: &[u8], ranges: &[(u64, u64)]) -> bool {
    let unused = 64 - 8 * value.len() as u32;
    let value = little_endian(value);
    ranges.iter().any(|(low, span)| value.wrapping_sub(*low) << unused >> unused <= *span)
}
