//! From what the parser has declared to the contract: packed defaults, compiled checks, tables for look-ups.

use super::{All, Class, Contract, Field, NO_NUMBER, NO_PLACE, Options, Shared, Tables};
use crate::builder::{Builder, ClassEntry, FieldEntry};
use crate::check::{Checks, Compiler, Steps};
use crate::number_hasher::NumberMap;
use crate::slots::{Slots, Table};
use crate::stretch::Stretch;
use crate::types::Types;
use std::sync::Arc;

impl Contract {
    pub(super) fn from_builder(builder: Builder, hash: u32, options: &Options) -> Contract {
        let Builder {
            mut types,
            classes: entries,
            fields: field_entries,
            lists,
            ancestors,
            parts,
            class_list,
            imports,
            typedef_names,
            known_keywords,
            keyword_lists,
            ..
        } = builder;
        types.names.settle();
        let (checks, steps) = compile(&field_entries, &types);
        let (defaults, field_defaults) = pack_defaults(&field_entries, &types);
        let part = |index: &u32| &field_entries[*index as usize];
        let shared = Arc::new(Shared {
            types: Arc::new(types),
            checks,
            keyword_lists,
            defaults,
            part_numbers: parts.iter().map(|index| part(index).number.unwrap_or(NO_NUMBER)).collect(),
            part_names: parts.iter().map(|index| part(index).name).collect(),
        });
        let rows = field_entries.iter().zip(steps).zip(field_defaults);
        let fields: Vec<Field> = rows.map(|((entry, steps), default)| field(entry, steps, default, &shared)).collect();
        let by_number = if options.multiple_inheritance { places_by_number(&fields) } else { Vec::new() };

        let mut slots = Slots::default();
        let listed = class_list.iter().map(|index| &entries[*index as usize]);
        let tables = make_tables(listed, &fields, &lists, &ancestors, &mut slots);
        let mut base_names = Vec::new();
        let mut names_of_bases = |index: u32| {
            let bases = entries[index as usize].bases.iter();
            Stretch::append(&mut base_names, bases.map(|base| entries[*base as usize].name))
        };
        let bases: Vec<Stretch> = class_list.iter().map(|index| names_of_bases(*index)).collect();
        let all = Arc::new(All { fields, lists, by_number, slots, base_names, shared });
        let mut classes_by_name = NumberMap::default();
        let mut classes = Vec::with_capacity(class_list.len());
        for (place, index) in class_list.iter().enumerate() {
            let entry = &entries[*index as usize];
            if !entry.name.is_empty() {
                classes_by_name.insert(entry.name, place as u16);
            }
            classes.push(class(entry, bases[place], tables[place], &all));
        }
        Contract { hash, classes, classes_by_name, all, imports, typedefs: typedef_names, keywords: known_keywords }
    }
}

fn compile(entries: &[FieldEntry], types: &Types) -> (Checks, Vec<Steps>) {
    let mut compiler = Compiler::new(types);
    let steps = entries.iter().map(|entry| compiler.compile(entry.ty)).collect();
    (compiler.finish(), steps)
}

/// Each field's default, explicit or implicit, one behind the other.
fn pack_defaults(entries: &[FieldEntry], types: &Types) -> (Vec<u8>, Vec<Stretch>) {
    let mut all = Vec::new();
    let mut stretches = Vec::with_capacity(entries.len());
    for entry in entries {
        let start = all.len();
        match entry.default {
            Some(packed) => all.extend_from_slice(types.packed(packed)),
            None => types.write_default(entry.ty, &mut all),
        }
        stretches.push(Stretch::since(start, &all));
    }
    (all, stretches)
}

fn field(entry: &FieldEntry, steps: Steps, default: Stretch, shared: &Arc<Shared>) -> Field {
    let node = shared.types.node(entry.ty);
    Field {
        number: entry.number.unwrap_or(NO_NUMBER),
        name: entry.name,
        kind: entry.kind,
        keywords: shared.keyword_lists[entry.keywords.0 as usize].meaning,
        keyword_list: entry.keywords,
        parts: entry.parts,
        default,
        span: entry.span,
        has_explicit_default: entry.default.is_some() || node.has_default,
        fixed_size: node.size.and_then(|size| u32::try_from(size).ok()),
        check: shared.checks.check(steps),
        steps,
        ty: entry.ty,
        shared: shared.clone(),
    }
}

fn class(entry: &ClassEntry, base_names: Stretch, tables: Tables, all: &Arc<All>) -> Class {
    Class {
        number: entry.number.unwrap_or(NO_NUMBER),
        name: entry.name,
        span: entry.span,
        is_struct: entry.is_struct,
        base_names,
        all: all.clone(),
        own: entry.own,
        constructor: entry.constructor,
        inherited: entry.inherited,
        tables,
    }
}

fn places_by_number(fields: &[Field]) -> Vec<u32> {
    let mut places = vec![NO_PLACE; fields.len()];
    for (place, field) in fields.iter().enumerate().filter(|(_, field)| field.number != NO_NUMBER) {
        places[usize::from(field.number)] = place as u32;
    }
    places
}

/// The tables of the listed classes, in their order.
fn make_tables<'a>(
    listed: impl Iterator<Item = &'a ClassEntry>,
    fields: &[Field],
    lists: &[u32],
    ancestors: &[u16],
    slots: &mut Slots,
) -> Vec<Tables> {
    // Beside one another: a table is made of many fields, far from each other.
    let keys: Vec<u32> = (0u32..).zip(fields).map(|(place, field)| field.key(place)).collect();
    let make = |entry: &ClassEntry| {
        let fields = field_table(entry.inherited.of(lists), entry.own.of(lists), &keys, slots);
        Tables { fields, ancestors: ancestor_table(entry.ancestors.of(ancestors), slots) }
    };
    listed.map(make).collect()
}

/// The fields of a class. Own ones come first, as without overriding its list holds two of one name: a look-up finds the
/// nearer.
fn field_table(inherited: &[u32], own: &[u32], keys: &[u32], slots: &mut Slots) -> Table {
    let table = slots.table(inherited.len());
    let first_own = own.first().copied().unwrap_or(u32::MAX);
    let mut insert = |place: u32| slots.insert(table, keys[place as usize], place);
    inherited.iter().filter(|place| **place >= first_own).for_each(|place| insert(*place));
    inherited.iter().filter(|place| **place < first_own).for_each(|place| insert(*place));
    table
}

fn ancestor_table(numbers: &[u16], slots: &mut Slots) -> Table {
    let table = slots.table(numbers.len());
    for number in numbers {
        let number = u32::from(*number);
        slots.insert(table, number, number);
    }
    table
}
