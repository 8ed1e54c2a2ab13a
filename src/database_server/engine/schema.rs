//! Between the numbers of a contract, which any edit may change, and the stored ones, which never change.
//!
//! Decides which number stands for which name on disk, and what of a stored object today's contract can still see.
//! Nothing is ever forgotten or renumbered here: a class or field that a contract no longer has keeps its number and
//! its values, unseen.

use super::records::{Numbered, SchemaRecord};
use donet_dc::{Contract, Field, FieldKind, Keywords};
use hashbrown::{HashMap, HashSet};

/// The stored names, resolved against one contract.
pub(super) struct Schema {
    /// Stored number of each class of the contract.
    class_numbers: HashMap<u16, u32>,
    /// Class of the contract by stored number.
    classes: HashMap<u32, u16>,
    /// Stored number of each stored field, by field id of the contract; 0 = none.
    field_numbers: Vec<u32>,
    /// Field ids of the contract by class and stored number.
    fields: HashMap<(u16, u32), u16>,
    /// Names of classes by stored number, for the log.
    class_names: HashMap<u32, String>,
    /// Classes whose absence from the contract has been logged.
    reported: HashSet<u32>,
}

/// What a stored class number means today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredClass {
    Known(u16),
    /// The contract has no class of its name.
    Dropped,
    /// No name was ever stored for the number: damage.
    Unnamed,
}

/// Whether values of this field stand on disk under its own name: a molecular one's stand under those of its parts.
fn is_stored(field: &Field) -> bool {
    field.keywords().contains(Keywords::DB) && field.kind() != FieldKind::Molecular
}

impl Schema {
    /// Resolves the stored names, and gives numbers to what is new. The record to store is returned when it differs
    /// from the stored one.
    pub fn resolve(stored: SchemaRecord, contract: &Contract) -> (Self, Option<SchemaRecord>) {
        let mut record = stored.clone();
        record.contract_hash = contract.hash();
        let mut class_by_name = Names::new(&record.classes);
        let mut field_by_name = Names::new(&record.fields);
        let mut schema = Self {
            class_numbers: HashMap::new(),
            classes: HashMap::new(),
            field_numbers: Vec::new(),
            fields: HashMap::new(),
            class_names: HashMap::new(),
            reported: HashSet::new(),
        };
        for class in contract.classes() {
            let class_number = class_by_name.number(class.name(), &mut record.classes);
            schema.class_numbers.insert(class.id(), class_number);
            schema.classes.insert(class_number, class.id());
            for field in class.fields().filter(|field| is_stored(field)) {
                let number = field_by_name.number(field.name(), &mut record.fields);
                let index = usize::from(field.id());
                if schema.field_numbers.len() <= index {
                    schema.field_numbers.resize(index + 1, 0);
                }
                schema.field_numbers[index] = number;
                schema.fields.insert((class.id(), number), field.id());
            }
        }
        for entry in &record.classes {
            schema.class_names.insert(entry.number, entry.name.clone());
        }
        let changed = record != stored;
        (schema, changed.then_some(record))
    }

    pub fn class_number(&self, class: u16) -> Option<u32> {
        self.class_numbers.get(&class).copied()
    }

    /// The stored number of a field, if the contract stores it.
    pub fn field_number(&self, field: u16) -> Option<u32> {
        self.field_numbers.get(usize::from(field)).copied().filter(|&number| number != 0)
    }

    /// The field of a class that a stored value belongs to, if the contract still has and stores it.
    pub fn field(&self, class: u16, number: u32) -> Option<u16> {
        self.fields.get(&(class, number)).copied()
    }

    /// What a stored class number means. A dropped class is logged once.
    pub fn class(&mut self, number: u32) -> StoredClass {
        if let Some(&class) = self.classes.get(&number) {
            return StoredClass::Known(class);
        }
        let Some(name) = self.class_names.get(&number) else { return StoredClass::Unnamed };
        if self.reported.insert(number) {
            tracing::warn!(
                class = name,
                "stored objects of a class that the DC files do not declare read as missing; nothing of them is removed"
            );
        }
        StoredClass::Dropped
    }
}

/// Numbers by name while a contract is resolved.
struct Names {
    numbers: HashMap<String, u32>,
    next: u32,
}

impl Names {
    fn new(entries: &[Numbered]) -> Self {
        let numbers: HashMap<_, _> = entries.iter().map(|entry| (entry.name.clone(), entry.number)).collect();
        let next = entries.iter().map(|entry| entry.number).max().unwrap_or(0) + 1;
        Self { numbers, next }
    }

    fn number(&mut self, name: &str, entries: &mut Vec<Numbered>) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(name.to_owned(), number);
        entries.push(Numbered { number, name: name.to_owned() });
        number
    }
}
