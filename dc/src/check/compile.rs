//! Types into steps.

use super::{ArrayStep, Bounds, Checks, Lengths, Step, Steps, SwitchStep};
use crate::simple::{Simple, SimpleType};
use crate::stretch::Stretch;
use crate::types::{ArrayType, Members, Shape, SwitchType, TypeId, Types};

/// Steps up to this many are copied into the steps around them; longer ones are shared.
const INLINE_STEPS_MAX: usize = 8;

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
        let start = self.checks.steps.len();
        self.checks.steps.extend_from_slice(&self.steps[self.first..]);
        self.steps.truncate(self.first);
        self.first = outer;
        Steps(Stretch::since(start, &self.checks.steps))
    }

    fn add(&mut self, id: TypeId) {
        let types = self.types;
        match types.shape(id) {
            Shape::Invalid => self.step(Step::Never),
            Shape::Simple(simple) if simple.simple.is_text() => {
                if let Some(step) = self.text_step(simple) {
                    self.step(step);
                }
            }
            Shape::Simple(simple) => match simple.simple.number_size() {
                Some(size) => self.add_number(simple, size),
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
                match part.0.of(&self.checks.steps)[index] {
                    // Where they can join the numbers before them.
                    Step::Numbers { size, bounds } => {
                        let start = self.checks.bounds.len();
                        let all = bounds.range();
                        self.checks.bounds.extend_from_within(all);
                        let bounds = Stretch::since(start, &self.checks.bounds);
                        self.step(Step::Numbers { size, bounds });
                    }
                    step => self.step(step),
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        let before = self.steps[self.first..].last_mut();
        match (step, before) {
            (Step::Skip(0), _) => {}
            (Step::Skip(more), Some(Step::Skip(length))) if length.checked_add(more).is_some() => *length += more,
            (Step::Numbers { size, bounds }, Some(Step::Numbers { size: other, bounds: run }))
                if *other == size && run.is_before(bounds) =>
            {
                *run = run.and(bounds);
            }
            _ => self.steps.push(step),
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
        let counts = self.lengths(array.counts.iter().copied());
        self.array_step(ArrayStep {
            counted: array.counted,
            counts,
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

    fn add_number(&mut self, simple: &SimpleType, size: usize) {
        if simple.simple == Simple::Float64 {
            let step = match &simple.real_ranges[..] {
                [] => Step::Skip(8),
                ranges => Step::Real { ranges: Stretch::append(&mut self.checks.ranges, ranges.iter().copied()) },
            };
            return self.step(step);
        }
        let (least, greatest) = simple.simple.limits();
        // A bound beyond the type comes from a divisor after its range.
        let stored = |(low, high): &(i128, i128)| {
            let (low, high) = ((*low).max(least), (*high).min(greatest));
            (low <= high).then(|| Bounds { low: low as u64, span: (high - low) as u64 })
        };
        let bounds = Stretch::append(&mut self.checks.bounds, simple.ranges.iter().filter_map(stored));
        self.step(match (simple.ranges.len(), bounds.len()) {
            (0, _) => Step::Skip(size as u32),
            (_, 0) => Step::Never,
            (_, 1) => Step::Numbers { size: size as u8, bounds },
            _ => Step::WithinAny { size: size as u8, bounds },
        });
    }

    /// None for what takes no bytes.
    fn text_step(&mut self, simple: &SimpleType) -> Option<Step> {
        let is_string = simple.simple == Simple::String;
        match simple.fixed_length() {
            Some(0) => None,
            Some(length) if is_string => Some(Step::FixedString { length }),
            Some(length) => Some(Step::Skip(length)),
            None => {
                let lengths = self.lengths(simple.ranges.iter().map(|(low, high)| (*low as u32, *high as u32)));
                Some(Step::Text { wide: simple.simple == Simple::Blob32, is_string, lengths })
            }
        }
    }

    fn lengths(&mut self, mut ranges: impl ExactSizeIterator<Item = (u32, u32)>) -> Lengths {
        match (ranges.len(), ranges.next()) {
            (1, Some((low, high))) => Lengths::Within(low, high),
            (_, Some(first)) => {
                Lengths::WithinAny(Stretch::append(&mut self.checks.lengths, std::iter::once(first).chain(ranges)))
            }
            (_, None) => Lengths::Any,
        }
    }
}
