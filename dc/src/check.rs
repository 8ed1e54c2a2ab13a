//! The quick answer: are these bytes a value of that type, and how long is it. One pass, no allocation.
//!
//! Decides: yes or no. Why not is for `crate::walk` to say, which runs only then. A type is compiled into steps once;
//! parts that any bytes satisfy melt into one step, and parts of no bytes vanish, so every step but [`Step::Never`]
//! takes at least one byte: work is bounded by bytes times nesting, whatever the type.

use crate::simple::{Simple, SimpleType};
use crate::types::{ArrayType, Parameter, Shape, SwitchType, TypeId, Types};
use crate::value_error::TextPolicy;
use hashbrown::HashMap;
use std::sync::Arc;

/// Steps up to this many are copied into the steps around them; longer ones are shared.
const INLINE_STEPS_MAX: usize = 8;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// So many bytes, any.
    Skip(u32),
    /// A number of so many bytes; bounds as [`sortable`] makes them.
    Within {
        size: u8,
        signed: bool,
        low: u64,
        high: u64,
    },
    WithinAny {
        size: u8,
        signed: bool,
        ranges: Arc<[(u64, u64)]>,
    },
    Real {
        ranges: Arc<[(f64, f64)]>,
    },
    FixedString {
        length: u32,
    },
    Text {
        prefix: u8,
        is_string: bool,
        lengths: Lengths,
    },
    Array(Arc<ArrayStep>),
    Record(Arc<[Step]>),
    Switch(Arc<SwitchStep>),
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

#[derive(Debug)]
pub(crate) struct ArrayStep {
    counted: bool,
    counts: Lengths,
    /// Elements of an array that carries no count.
    fixed_count: u32,
    element: Arc<[Step]>,
    /// Bytes of an element that any bytes satisfy.
    plain_size: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct SwitchStep {
    key: Arc<[Step]>,
    cases: HashMap<Box<[u8]>, Arc<[Step]>>,
    default: Option<Arc<[Step]>>,
}

/// Compiles types, each once.
pub(crate) struct Compiler<'a> {
    types: &'a Types,
    done: Vec<Option<Arc<[Step]>>>,
}

impl<'a> Compiler<'a> {
    pub fn new(types: &'a Types) -> Self {
        Compiler { types, done: vec![None; types.len()] }
    }

    pub fn compile(&mut self, id: TypeId) -> Arc<[Step]> {
        if let Some(done) = &self.done[id.0 as usize] {
            return done.clone();
        }
        let mut steps = Vec::new();
        match self.types.shape(id) {
            Shape::Invalid => steps.push(Step::Never),
            Shape::Simple(simple) => add_simple(simple, &mut steps),
            Shape::Array(array) => self.add_array(array, &mut steps),
            Shape::Record(record) => self.add_members(&record.members, &mut steps),
            Shape::Switch(switch) => self.add_switch(switch, &mut steps),
        }
        let steps: Arc<[Step]> = steps.into();
        self.done[id.0 as usize] = Some(steps.clone());
        steps
    }

    fn add_members(&mut self, members: &[Parameter], steps: &mut Vec<Step>) {
        for member in members {
            let part = self.compile(member.ty);
            if part.len() > INLINE_STEPS_MAX {
                steps.push(Step::Record(part));
                continue;
            }
            for step in part.iter() {
                add_step(step.clone(), steps);
            }
        }
    }

    fn add_array(&mut self, array: &ArrayType, steps: &mut Vec<Step>) {
        let element = self.compile(array.element);
        let plain_size = match element[..] {
            [] => Some(0),
            [Step::Skip(size)] => Some(size),
            _ => None,
        };
        if !array.counted {
            let count = array.least_count();
            match plain_size {
                _ if count == 0 => return,
                Some(0) => return,
                // The weight of a type bounds this product.
                Some(size) => return add_step(Step::Skip(size.saturating_mul(count)), steps),
                None => {}
            }
        }
        steps.push(Step::Array(Arc::new(ArrayStep {
            counted: array.counted,
            counts: Lengths::new(&array.counts),
            fixed_count: array.least_count(),
            element,
            plain_size,
        })));
    }

    fn add_switch(&mut self, switch: &SwitchType, steps: &mut Vec<Step>) {
        let key = self.compile(switch.key.ty);
        if key.is_empty() {
            // A key of no bytes is always the same key.
            match switch.members(&[]) {
                Some(members) => self.add_members(members, steps),
                None => steps.push(Step::Never),
            }
            return;
        }
        let mut compile = |members: &[Parameter]| -> Arc<[Step]> {
            let mut steps = Vec::new();
            self.add_members(members, &mut steps);
            steps.into()
        };
        let cases = switch.cases.iter().map(|case| (case.value.clone(), compile(&case.members))).collect();
        let default = switch.default.as_deref().map(&mut compile);
        steps.push(Step::Switch(Arc::new(SwitchStep { key, cases, default })));
    }
}

fn add_step(step: Step, steps: &mut Vec<Step>) {
    if let (Step::Skip(more), Some(Step::Skip(before))) = (&step, steps.last_mut())
        && let Some(sum) = before.checked_add(*more)
    {
        *before = sum;
        return;
    }
    if !matches!(step, Step::Skip(0)) {
        steps.push(step);
    }
}

fn add_simple(simple: &SimpleType, steps: &mut Vec<Step>) {
    if simple.simple.is_text() {
        return add_text(simple, steps);
    }
    let Some(size) = simple.simple.number_size() else {
        // The elements of a legacy array take any value.
        let element_size = simple.simple.legacy_element().and_then(Simple::number_size).unwrap_or(5) as u32;
        steps.push(Step::Array(Arc::new(ArrayStep {
            counted: true,
            counts: Lengths::Any,
            fixed_count: 0,
            element: Arc::new([Step::Skip(element_size)]),
            plain_size: Some(element_size),
        })));
        return;
    };
    if simple.simple == Simple::Float64 {
        steps.push(match &simple.real_ranges[..] {
            [] => Step::Skip(8),
            ranges => Step::Real { ranges: ranges.into() },
        });
        return;
    }
    let signed = simple.simple.is_signed();
    let (least, greatest) = simple.simple.limits();
    let reachable = simple.ranges.iter().filter(|(low, high)| *low <= greatest && least <= *high);
    let ranges: Vec<(u64, u64)> = reachable
        .map(|(low, high)| (sortable((*low).max(least), signed), sortable((*high).min(greatest), signed)))
        .collect();
    let size = size as u8;
    steps.push(match ranges[..] {
        [] if simple.ranges.is_empty() => Step::Skip(size.into()),
        [] => Step::Never,
        [(low, high)] => Step::Within { size, signed, low, high },
        _ => Step::WithinAny { size, signed, ranges: ranges.into() },
    });
}

fn add_text(simple: &SimpleType, steps: &mut Vec<Step>) {
    let is_string = simple.simple == Simple::String;
    steps.push(match simple.fixed_length() {
        Some(0) => return,
        Some(length) if is_string => Step::FixedString { length },
        Some(length) => Step::Skip(length),
        None => {
            let ranges: Vec<(u32, u32)> = simple.ranges.iter().map(|(low, high)| (*low as u32, *high as u32)).collect();
            Step::Text {
                prefix: if simple.simple == Simple::Blob32 { 4 } else { 2 },
                is_string,
                lengths: Lengths::new(&ranges),
            }
        }
    });
}

/// A number of a signed type moved so that unsigned comparison orders it.
fn sortable(value: i128, signed: bool) -> u64 {
    if signed { (value as i64 as u64) ^ SIGN } else { value as u64 }
}

const SIGN: u64 = 1 << 63;

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

/// Where the value that starts at `at` ends, or nothing if there is none.
#[inline]
pub(crate) fn run<R: Rules>(steps: &[Step], bytes: &[u8], mut at: usize, rules: R) -> Option<usize> {
    for step in steps {
        at = match step {
            Step::Skip(length) => skip(bytes, at, *length as usize)?,
            Step::Within { size, signed, low, high } => {
                let value = number(bytes, at, *size, *signed)?;
                if R::CHECK && (value < *low || value > *high) {
                    return None;
                }
                at + *size as usize
            }
            Step::WithinAny { size, signed, ranges } => {
                let value = number(bytes, at, *size, *signed)?;
                if R::CHECK && !ranges.iter().any(|(low, high)| *low <= value && value <= *high) {
                    return None;
                }
                at + *size as usize
            }
            Step::Real { ranges } => {
                let value = f64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
                if R::CHECK && !ranges.iter().any(|(low, high)| *low <= value && value <= *high) {
                    return None;
                }
                at + 8
            }
            Step::FixedString { length } => {
                let end = skip(bytes, at, *length as usize)?;
                if R::CHECK && !rules.text(&bytes[at..end]) {
                    return None;
                }
                end
            }
            Step::Text { prefix, is_string, lengths } => {
                let start = at + *prefix as usize;
                let length = match *prefix {
                    2 => u16::from_le_bytes(bytes.get(at..start)?.try_into().ok()?).into(),
                    _ => u32::from_le_bytes(bytes.get(at..start)?.try_into().ok()?) as usize,
                };
                let end = skip(bytes, start, length)?;
                if R::CHECK && !(lengths.allow(length) && (!*is_string || rules.text(&bytes[start..end]))) {
                    return None;
                }
                end
            }
            Step::Array(array) => run_array(array, bytes, at, rules)?,
            Step::Record(steps) => run(steps, bytes, at, rules)?,
            Step::Switch(switch) => {
                let end = run(&switch.key, bytes, at, rules)?;
                let members = switch.cases.get(&bytes[at..end]).or(switch.default.as_ref())?;
                run(members, bytes, end, rules)?
            }
            Step::Never => return None,
        };
    }
    Some(at)
}

#[inline]
fn skip(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    // `at` never passes the end, so this cannot wrap.
    (length <= bytes.len() - at).then(|| at + length)
}

#[inline]
fn number(bytes: &[u8], at: usize, size: u8, signed: bool) -> Option<u64> {
    let rest = &bytes[at..];
    let value = match size {
        1 => u64::from(*rest.first()?),
        2 => u64::from(u16::from_le_bytes(*rest.first_chunk()?)),
        4 => u64::from(u32::from_le_bytes(*rest.first_chunk()?)),
        _ => u64::from_le_bytes(*rest.first_chunk()?),
    };
    if !signed {
        return Some(value);
    }
    let unused = 64 - 8 * u32::from(size);
    Some((((value << unused) as i64) >> unused) as u64 ^ SIGN)
}

fn run_array<R: Rules>(array: &ArrayStep, bytes: &[u8], at: usize, rules: R) -> Option<usize> {
    if !array.counted {
        let mut end = at;
        for _ in 0..array.fixed_count {
            end = run(&array.element, bytes, end, rules)?;
        }
        return Some(end);
    }
    let start = at + 2;
    let length = u16::from_le_bytes(bytes.get(at..start)?.try_into().ok()?).into();
    let end = skip(bytes, start, length)?;
    if !R::CHECK {
        return Some(end);
    }
    let count = match array.plain_size {
        Some(0) if length > 0 => return None,
        Some(0) => 0,
        Some(size) if !length.is_multiple_of(size as usize) => return None,
        Some(size) => length / size as usize,
        None => count_elements(array, &bytes[..end], start, rules)?,
    };
    array.counts.allow(count).then_some(end)
}

fn count_elements<R: Rules>(array: &ArrayStep, bytes: &[u8], start: usize, rules: R) -> Option<usize> {
    let mut at = start;
    let mut count = 0;
    while at < bytes.len() {
        at = run(&array.element, bytes, at, rules)?;
        count += 1;
    }
    Some(count)
}
