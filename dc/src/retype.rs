//! What a change of a type means for values that were packed under the old one.
//!
//! Decides: whether every old value still is one, and in the same bytes. It errs on the side of [`TypeChange::Retyped`].
//! Converting is the caller's: [`FieldType::unpack`] with the old type, [`Field::pack`](crate::Field::pack) with the new.

use crate::field_type::{FieldType, merged, normal_ranges};
use crate::simple::{Simple, SimpleType};
use crate::types::{ArrayType, Members, Shape, SwitchType, TypeId, Types};
use hashbrown::HashMap;

/// How a type differs from the one before it; a greater one means more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TypeChange {
    /// The same values in the same bytes. (The modulus may differ: it wraps what is packed, never what is stored.)
    Same,
    /// The bytes of every old value are the same value still; there are more values now.
    Widened,
    /// Every old value is a value still, in other bytes: unpack with the old type and pack with the new. A list whose
    /// elements grow may then exceed the 65,535 bytes that its count can say, which packing refuses.
    Repacked,
    /// Some old values are no values any more, or mean something else.
    Retyped,
}

impl FieldType {
    /// What becomes of values of this type if `new` takes its place.
    pub fn change_to(&self, new: &FieldType) -> TypeChange {
        Comparison { old: &self.types, new: &new.types, known: HashMap::new() }.types(self.ty, new.ty)
    }
}

struct Comparison<'a> {
    old: &'a Types,
    new: &'a Types,
    /// Structs hold structs: without it their levels would multiply.
    known: HashMap<(TypeId, TypeId), TypeChange>,
}

impl Comparison<'_> {
    fn types(&mut self, old: TypeId, new: TypeId) -> TypeChange {
        if let Some(known) = self.known.get(&(old, new)) {
            return *known;
        }
        let (old_types, new_types) = (self.old, self.new);
        let change = match (old_types.shape(old), new_types.shape(new)) {
            (Shape::Simple(old), Shape::Simple(new)) => simple(old, new),
            (Shape::Array(old), Shape::Array(new)) => self.arrays(old, new),
            (Shape::Record(old), Shape::Record(new)) => self.members(old.members, new.members),
            (Shape::Switch(old), Shape::Switch(new)) => self.switches(old, new),
            _ => TypeChange::Retyped,
        };
        self.known.insert((old, new), change);
        change
    }

    fn members(&mut self, old: Members, new: Members) -> TypeChange {
        let (old, new) = (self.old.members(old), self.new.members(new));
        if old.len() != new.len() {
            return TypeChange::Retyped;
        }
        let changes = old.iter().zip(new).map(|(old, new)| self.types(old.ty, new.ty));
        changes.max().unwrap_or(TypeChange::Same)
    }

    fn arrays(&mut self, old: &ArrayType, new: &ArrayType) -> TypeChange {
        let (before, after) = (merged(&old.counts), merged(&new.counts));
        let counts = if before == after {
            TypeChange::Same
        } else if after.is_empty() || (!before.is_empty() && within(&before, &after)) {
            TypeChange::Widened
        } else {
            return TypeChange::Retyped;
        };
        let layout = if old.counted == new.counted { TypeChange::Same } else { TypeChange::Repacked };
        counts.max(layout).max(self.types(old.element, new.element))
    }

    fn switches(&mut self, old: &SwitchType, new: &SwitchType) -> TypeChange {
        // A key in other bytes would have to be looked up among cases that are known by theirs.
        if self.types(old.key.ty, new.key.ty) > TypeChange::Widened {
            return TypeChange::Retyped;
        }
        let mut whole = self.types(old.key.ty, new.key.ty);
        for case in &old.cases {
            let Some(members) = new.members(&case.value) else { return TypeChange::Retyped };
            whole = whole.max(self.members(case.members, members));
        }
        let added = new.cases.iter().filter(|case| !old.by_value.contains_key(&case.value));
        match (old.default, new.default) {
            (None, None) if old.cases.len() == new.cases.len() => {}
            (None, _) => whole = whole.max(TypeChange::Widened),
            (Some(_), None) => return TypeChange::Retyped,
            (Some(before), Some(after)) => {
                whole = whole.max(self.members(before, after));
                // Under these keys there may be old values with the members of the old default.
                for case in added {
                    whole = whole.max(self.members(before, case.members));
                }
            }
        }
        whole
    }
}

fn simple(old: &SimpleType, new: &SimpleType) -> TypeChange {
    let number = |ty: &SimpleType| ty.simple.number_size().is_some();
    if old.simple.is_text() && new.simple.is_text() {
        text(old, new)
    } else if number(old) && number(new) {
        numbers(old, new)
    } else if old.simple == new.simple {
        // A legacy array: its decorations never reach the elements.
        TypeChange::Same
    } else {
        TypeChange::Retyped
    }
}

/// What is allowed, as written in stored units; the whole type if there is no range.
fn allowed(ty: &SimpleType) -> Vec<(i128, i128)> {
    let ranges = normal_ranges(ty);
    if ranges.is_empty() { vec![ty.simple.limits()] } else { ranges }
}

fn within<T: Copy + PartialOrd>(inner: &[(T, T)], outer: &[(T, T)]) -> bool {
    inner.iter().all(|(low, high)| outer.iter().any(|(least, greatest)| least <= low && high <= greatest))
}

fn text(old: &SimpleType, new: &SimpleType) -> TypeChange {
    // What is text may be held to more than what is bytes.
    let must_be_text = new.simple == Simple::String && old.simple != Simple::String;
    if must_be_text || !within(&allowed(old), &allowed(new)) {
        return TypeChange::Retyped;
    }
    let prefix = |ty: &SimpleType| match (ty.fixed_length(), ty.simple) {
        (Some(_), _) => 0,
        (None, Simple::Blob32) => 4,
        (None, _) => 2,
    };
    if prefix(old) != prefix(new) {
        TypeChange::Repacked
    } else if old.simple == new.simple && allowed(old) == allowed(new) {
        TypeChange::Same
    } else {
        TypeChange::Widened
    }
}

fn numbers(old: &SimpleType, new: &SimpleType) -> TypeChange {
    match (old.simple, new.simple) {
        (Simple::Float64, Simple::Float64) => reals(old, new),
        (Simple::Float64, _) => TypeChange::Retyped,
        (Simple::Char, other) | (other, Simple::Char) if other != Simple::Char => TypeChange::Retyped,
        (_, Simple::Float64) => integer_to_real(old, new),
        _ => integers(old, new),
    }
}

fn reals(old: &SimpleType, new: &SimpleType) -> TypeChange {
    if old.divisor != new.divisor {
        return TypeChange::Retyped;
    }
    if old.real_ranges == new.real_ranges {
        TypeChange::Same
    } else if new.real_ranges.is_empty() || (!old.real_ranges.is_empty() && within(&old.real_ranges, &new.real_ranges))
    {
        TypeChange::Widened
    } else {
        TypeChange::Retyped
    }
}

fn integer_to_real(old: &SimpleType, new: &SimpleType) -> TypeChange {
    const EXACT: i128 = 1 << 53;
    let stored = allowed(old);
    let scale = |value: i128| value as f64 / f64::from(old.divisor) * f64::from(new.divisor);
    let scaled: Vec<(f64, f64)> = stored.iter().map(|(low, high)| (scale(*low), scale(*high))).collect();
    let fits = new.real_ranges.is_empty() || within(&scaled, &new.real_ranges);
    if fits && within(&stored, &[(-EXACT, EXACT)]) { TypeChange::Repacked } else { TypeChange::Retyped }
}

fn integers(old: &SimpleType, new: &SimpleType) -> TypeChange {
    if !new.divisor.is_multiple_of(old.divisor) {
        return TypeChange::Retyped;
    }
    let factor = i128::from(new.divisor / old.divisor);
    let before: Vec<(i128, i128)> = allowed(old).iter().map(|(low, high)| (low * factor, high * factor)).collect();
    let after = allowed(new);
    if !within(&before, &after) {
        TypeChange::Retyped
    } else if factor != 1 || old.simple != new.simple {
        TypeChange::Repacked
    } else if before == after {
        TypeChange::Same
    } else {
        TypeChange::Widened
    }
}
