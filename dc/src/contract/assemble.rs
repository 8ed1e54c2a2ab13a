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
            types,
            classes: mut entries,
            fields: field_entries,
            parts,
            class_list,
            imports,
            typedef_names,
            known_keywords,
            keyword_lists,
            ..
        } = builder;
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
        let tables = make_tables(&entries, &class_list, &fields, &mut slots);
        let mut base_names = Vec::new();
        let mut names_of_bases = |index: u32| {
            let bases = entries[index as usize].bases.iter();
            Stretch::append(&mut base_names, bases.map(|base| entries[*base as usize].name))
        };
        let bases: Vec<Stretch> = class_list.iter().map(|index| names_of_bases(*index)).collect();
        let all = Arc::new(All { fields, by_number, slots, base_names, shared });
        let mut classes_by_name = NumberMap::default();
        let mut classes = Vec::with_capacity(class_list.len());
        for (place, index) in class_list.iter().enumerate() {
            let entry = &mut entries[*index as usize];
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

/// Takes the lists out of the entry.
fn class(entry: &mut ClassEntry, base_names: Stretch, tables: Tables, all: &Arc<All>) -> Class {
    Class {
        number: entry.number.unwrap_or(NO_NUMBER),
        name: entry.name,
        span: entry.span,
        is_struct: entry.is_struct,
        base_names,
        all: all.clone(),
        own: std::mem::take(&mut entry.own),
        constructor: entry.constructor,
        inherited: std::mem::take(&mut entry.inherited),
        tables,
    }
}

fn places_by_number(fields: &[Field]) -> Vec<u32> {
    let mut places = Vec::new();
    for (place, field) in fields.iter().enumerate().filter(|(_, field)| field.number != NO_NUMBER) {
        let number = usize::from(field.number);
        if places.len() <= number {
            places.resize(number + 1, NO_PLACE);
        }
        places[number] = place as u32;
    }
    places
}

/// The tables of the listed classes, in their order. A base stands before what derives from it.
fn make_tables(entries: &[ClassEntry], class_list: &[u32], fields: &[Field], slots: &mut Slots) -> Vec<Tables> {
    let mut ancestors: NumberMap<u32, Vec<u16>> = NumberMap::default();
    let mut tables = Vec::with_capacity(class_list.len());
    for index in class_list {
        let entry = &entries[*index as usize];
        let mut numbers: Vec<u16> = entry.number.into_iter().collect();
        for base in entry.bases.iter().filter_map(|base| ancestors.get(base)) {
            numbers.extend(base);
        }
        numbers.sort_unstable();
        numbers.dedup();
        tables.push(Tables { fields: field_table(entry, fields, slots), ancestors: ancestor_table(&numbers, slots) });
        ancestors.insert(*index, numbers);
    }
    tables
}

/// The fields of a class. Own ones come first, as without overriding its list holds two of one name: a look-up finds the
/// nearer.
fn field_table(entry: &ClassEntry, fields: &[Field], slots: &mut Slots) -> Table {
    let table = slots.table(entry.inherited.len());
    let first_own = entry.own.first().copied().unwrap_or(u32::MAX);
    for place in entry.inherited.iter().filter(|place| **place >= first_own) {
        slots.insert(table, fields[*place as usize].key(*place), *place);
    }
    for place in entry.inherited.iter().filter(|place| **place < first_own) {
        slots.insert(table, fields[*place as usize].key(*place), *place);
    }
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
