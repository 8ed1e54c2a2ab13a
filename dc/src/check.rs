//! The quick answer: are these bytes a value of that type, and how long is it. One pass, no allocation.
//!
//! Decides: yes or no. Why not is for `crate::walk` to say, which runs only then. A type is compiled into steps once;
//! parts that any bytes satisfy melt into one step, numbers of one size side by side into another, and parts of no bytes
//! vanish, so every step but [`Step::Never`] takes at least one byte: work is bounded by bytes times nesting, whatever
//! the type.

mod compile;

pub(crate) use compile::Compiler;

use crate::stretch::Stretch;
use crate::value_error::TextPolicy;
use hashbrown::HashMap;

/// What is allowed lies in lists of [`Checks`].
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many bytes, any.
    Skip(u32),
    /// Numbers of so many bytes side by side, each within the bounds at its place of the list.
    Numbers {
        size: u8,
        bounds: Stretch,
    },
    /// A number of so many bytes within any of the bounds.
    WithinAny {
        size: u8,
        bounds: Stretch,
    },
    Real {
        ranges: Stretch,
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

/// What a number may be. It is compared by what it exceeds the least one by, in its own width, where everything below
/// wraps to the far end: one comparison for both bounds, signed or not.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: u64,
    span: u64,
}

#[derive(Clone, Copy, Debug)]
enum Lengths {
    Any,
    Within(u32, u32),
    WithinAny(Stretch),
}

/// The steps of a type, in [`Checks`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps(Stretch);

/// How a whole value is checked. Most updates are a run of numbers or a few bytes of any kind: those take no loop over
/// steps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    Bytes(u32),
    Numbers(u8, Stretch),
    Steps(Steps),
}

/// The steps of all types of a contract.
#[derive(Default)]
pub(crate) struct Checks {
    steps: Vec<Step>,
    bounds: Vec<Bounds>,
    ranges: Vec<(f64, f64)>,
    lengths: Vec<(u32, u32)>,
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
    /// The quickest way to check values of these steps.
    pub fn check(&self, steps: Steps) -> Check {
        match *steps.0.of(&self.steps) {
            [Step::Skip(length)] => Check::Bytes(length),
            [Step::Numbers { size, bounds }] => Check::Numbers(size, bounds),
            _ => Check::Steps(steps),
        }
    }

    /// Whether the bytes are exactly one value.
    #[inline]
    pub fn allows(&self, check: Check, bytes: &[u8], policy: TextPolicy) -> bool {
        match check {
            Check::Bytes(length) => bytes.len() == length as usize,
            Check::Numbers(size, bounds) => all_within(size, bytes, bounds.of(&self.bounds)),
            Check::Steps(steps) => matches!(self.run(steps, bytes, Everything(policy)), Some([])),
        }
    }

    fn allow(&self, lengths: Lengths, length: usize) -> bool {
        let inside = |low: u32, high: u32| low as usize <= length && length <= high as usize;
        match lengths {
            Lengths::Any => true,
            Lengths::Within(low, high) => inside(low, high),
            Lengths::WithinAny(ranges) => ranges.of(&self.lengths).iter().any(|(low, high)| inside(*low, *high)),
        }
    }

    /// What is left after the value that the bytes start with, or nothing if they start with none.
    #[inline]
    pub fn run<'a, R: Rules>(&self, steps: Steps, bytes: &'a [u8], rules: R) -> Option<&'a [u8]> {
        let mut rest = bytes;
        for step in steps.0.of(&self.steps) {
            rest = match step {
                Step::Skip(length) => rest.get(*length as usize..)?,
                Step::Numbers { size, bounds } => {
                    let bounds = bounds.of(&self.bounds);
                    match size {
                        1 => numbers::<1, R>(rest, bounds)?,
                        2 => numbers::<2, R>(rest, bounds)?,
                        4 => numbers::<4, R>(rest, bounds)?,
                        _ => numbers::<8, R>(rest, bounds)?,
                    }
                }
                Step::WithinAny { size, bounds } => {
                    let bounds = bounds.of(&self.bounds);
                    match size {
                        1 => within_any::<1, R>(rest, bounds)?,
                        2 => within_any::<2, R>(rest, bounds)?,
                        4 => within_any::<4, R>(rest, bounds)?,
                        _ => within_any::<8, R>(rest, bounds)?,
                    }
                }
                Step::Real { ranges } => {
                    let (value, after) = rest.split_first_chunk()?;
                    let value = f64::from_le_bytes(*value);
                    if R::CHECK && !ranges.of(&self.ranges).iter().any(|(low, high)| *low <= value && value <= *high) {
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
                    if R::CHECK && !(self.allow(*lengths, length) && (!*is_string || rules.text(text))) {
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
            if let Check::Numbers(size, bounds) = self.check(array.element) {
                let length = usize::from(size) * bounds.len() * array.fixed_count as usize;
                let (elements, rest) = bytes.split_at_checked(length)?;
                return (!R::CHECK || self.all_elements(size, bounds, elements)).then_some(rest);
            }
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
        self.allow(array.counts, count).then_some(rest)
    }

    /// Whether each element is numbers within these bounds.
    fn all_elements(&self, size: u8, bounds: Stretch, elements: &[u8]) -> bool {
        let bounds = bounds.of(&self.bounds);
        elements.chunks_exact(usize::from(size) * bounds.len()).all(|element| all_within(size, element, bounds))
    }

    fn count_elements<R: Rules>(&self, array: &ArrayStep, elements: &[u8], rules: R) -> Option<usize> {
        if let Check::Numbers(size, bounds) = self.check(array.element) {
            let element = usize::from(size) * bounds.len();
            let whole = elements.len().is_multiple_of(element) && self.all_elements(size, bounds, elements);
            return whole.then_some(elements.len() / element);
        }
        let mut rest = elements;
        let mut count = 0;
        while !rest.is_empty() {
            rest = self.run(array.element, rest, rules)?;
            count += 1;
        }
        Some(count)
    }
}

/// Whether the bytes are as many numbers as there are bounds, each within its own.
fn all_within(size: u8, bytes: &[u8], bounds: &[Bounds]) -> bool {
    fn of_size<const SIZE: usize>(bytes: &[u8], bounds: &[Bounds]) -> bool {
        let (numbers, rest) = bytes.as_chunks::<SIZE>();
        rest.is_empty()
            && numbers.len() == bounds.len()
            && numbers.iter().zip(bounds).all(|(number, bounds)| above(*number, bounds.low) <= bounds.span)
    }
    match size {
        1 => of_size::<1>(bytes, bounds),
        2 => of_size::<2>(bytes, bounds),
        4 => of_size::<4>(bytes, bounds),
        _ => of_size::<8>(bytes, bounds),
    }
}

/// The number that the bytes are, lifted by `-low` in its own width.
#[inline]
fn above<const SIZE: usize>(bytes: [u8; SIZE], low: u64) -> u64 {
    let mut wide = [0; 8];
    wide[..SIZE].copy_from_slice(&bytes);
    let unused = 64 - 8 * SIZE as u32;
    u64::from_le_bytes(wide).wrapping_sub(low) << unused >> unused
}

#[inline]
fn numbers<'a, const SIZE: usize, R: Rules>(bytes: &'a [u8], bounds: &[Bounds]) -> Option<&'a [u8]> {
    let (numbers, rest) = bytes.split_at_checked(SIZE * bounds.len())?;
    let (numbers, _) = numbers.as_chunks::<SIZE>();
    let mut pairs = numbers.iter().zip(bounds);
    (!R::CHECK || pairs.all(|(number, bounds)| above(*number, bounds.low) <= bounds.span)).then_some(rest)
}

#[inline]
fn within_any<'a, const SIZE: usize, R: Rules>(bytes: &'a [u8], bounds: &[Bounds]) -> Option<&'a [u8]> {
    let (number, rest) = bytes.split_first_chunk::<SIZE>()?;
    let mut bounds = bounds.iter();
    (!R::CHECK || bounds.any(|bounds| above(*number, bounds.low) <= bounds.span)).then_some(rest)
}
