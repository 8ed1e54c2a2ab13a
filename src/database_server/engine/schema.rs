//! Between the numbers of a contract, which any edit may change, and the stored ones, which never change.
//!
//! Decides which number stands for which name on disk, and what of a stored object today's contract can still see.
//! Nothing is ever forgotten or renumbered here: a class or field that a contract no longer has keeps its number and
//! its values, unseen.

use super::compatibility::is_stored;
use super::records::{Numbered, SchemaRecord, WidenedRecord};
use bytes::Bytes;
use donet_dc::{Contract, Field, Keywords};
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
    /// Former sizes of whole numbers, by class and field of the contract: bytes, and whether they were signed.
    widened: HashMap<(u16, u16), Vec<(u8, bool)>>,
    /// Required stored fields by class, until their absence has been logged for the class.
    required: HashMap<u16, Vec<u16>>,
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

/// A stored whole number in the size of its field, if it is of one of the former ones.
pub(super) fn widen(former: impl IntoIterator<Item = (u8, bool)>, field: &Field, value: Bytes) -> Bytes {
    let Some(size) = field.fixed_size().filter(|&size| size > value.len()) else { return value };
    let Some((_, signed)) = former.into_iter().find(|(bytes, _)| usize::from(*bytes) == value.len()) else {
        return value;
    };
    let is_negative = signed && value.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = value.to_vec();
    wide.resize(size, if is_negative { 0xff } else { 0 });
    wide.into()
}

impl Schema {
    /// Resolves the stored names, and gives numbers to what is new. The record to store is returned when it differs
    /// from the stored one.
    pub fn resolve(stored: SchemaRecord, widened: &WidenedRecord, contract: &Contract) -> (Self, Option<SchemaRecord>) {
        let mut record = stored.clone();
        record.contract_hash = contract.hash();
        let mut class_by_name = Names::new(&record.classes);
        let mut field_by_name = Names::new(&record.fields);
        let mut schema = Self {
            class_numbers: HashMap::new(),
            classes: HashMap::new(),
            field_numbers: Vec::new(),
            fields: HashMap::new(),
            widened: HashMap::new(),
            required: HashMap::new(),
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
                if field.keywords().contains(Keywords::REQUIRED) {
                    schema.required.entry(class.id()).or_default().push(field.id());
                }
            }
        }
        for former in &widened.fields {
            let class = schema.classes.get(&former.class);
            if let Some((class, field)) =
                class.and_then(|&class| Some((class, *schema.fields.get(&(class, former.field))?)))
            {
                schema.widened.entry((class, field)).or_default().push((former.bytes, former.signed));
            }
        }
        for entry in &record.classes {
            schema.class_names.insert(entry.number, entry.name.clone());
        }
        let changed = record != stored;
        (schema, changed.then_some(record))
    }

    /// A stored value as today's type has it.
    pub fn widen(&self, class: u16, field: &Field, value: Bytes) -> Bytes {
        match self.widened.get(&(class, field.id())) {
            Some(former) => widen(former.iter().copied(), field, value),
            None => value,
        }
    }

    /// Logs, once for a class, that an object of it has no value of a required field.
    pub fn note_missing(&mut self, class: u16, contract: &Contract, has: impl Fn(u16) -> bool) {
        let Some(missing) = self.required.get(&class).and_then(|fields| fields.iter().find(|&&field| !has(field)))
        else {
            return;
        };
        let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
        tracing::warn!(
            class = name(contract.class(class).map(|class| class.name())),
            field = name(contract.field(*missing).map(Field::name)),
            "stored objects of this class lack values of required fields, this one first: they get the default when \
             they are made live; logged once for the class"
        );
        self.required.remove(&class);
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
