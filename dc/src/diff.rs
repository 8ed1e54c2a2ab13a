//! What a change of contract means for those who were built on the old one.
//!
//! Decides: which classes and fields changed, and how; which of the changes touch stored values, and which clients. It
//! matches classes and fields by name, since that is what people and stored schemas keep.

use crate::builder::FieldKind;
use crate::contract::{Class, Contract, Field};
use crate::keywords::Keywords;
use hashbrown::HashMap;
use std::fmt;

/// Everything that differs between two contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    pub old_hash: u32,
    pub new_hash: u32,
    pub classes: Vec<ClassChange>,
    pub fields: Vec<FieldChange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassChange {
    pub class: String,
    pub is_struct: bool,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    pub class: String,
    pub field: String,
    pub change: Change,
    /// The field has the keyword `db`, before or after: a database may hold values of it.
    pub stored: bool,
    /// Clients may send or receive the field, before or after.
    pub seen_by_clients: bool,
}

/// How something differs. Where two texts are given, the first is the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    Added,
    Removed,
    Renumbered(u16, u16),
    /// Its bases, of a class.
    Bases(String, String),
    /// Method, molecule or data field.
    Kind(FieldKind, FieldKind),
    /// What bytes its values are, or which of them are allowed.
    Retyped(String, String),
    Keywords(String, String),
    Default,
    /// The parts of a molecule.
    Parts(String, String),
}

/// Compares two contracts.
pub fn diff(old: &Contract, new: &Contract) -> Diff {
    let mut found = Diff { old_hash: old.hash(), new_hash: new.hash(), classes: Vec::new(), fields: Vec::new() };
    for class in old.classes_and_structs().filter(|class| !class.name().is_empty()) {
        match new.class_or_struct(class.name()) {
            Some(other) if other.is_struct() == class.is_struct() => found.class(class, other),
            _ => found.one_sided(class, Change::Removed),
        }
    }
    for class in new.classes_and_structs().filter(|class| !class.name().is_empty()) {
        let before = old.class_or_struct(class.name());
        if before.is_none_or(|other| other.is_struct() != class.is_struct()) {
            found.one_sided(class, Change::Added);
        }
    }
    found
}

impl Diff {
    /// No difference in names, numbers, types, keywords, defaults or hash.
    pub fn is_empty(&self) -> bool {
        self.old_hash == self.new_hash && self.classes.is_empty() && self.fields.is_empty()
    }

    /// Changes to fields that a database may hold.
    pub fn stored_fields(&self) -> impl Iterator<Item = &FieldChange> {
        self.fields.iter().filter(|change| change.stored)
    }

    /// Whether clients built on the old contract can no longer be served by the new one: they are refused for their
    /// hash, or would name other fields and classes, or send and receive other bytes.
    pub fn breaks_clients(&self) -> bool {
        let renumbers = |change: &Change| matches!(change, Change::Renumbered(..) | Change::Removed);
        self.old_hash != self.new_hash
            || self.classes.iter().any(|change| !change.is_struct && renumbers(&change.change))
            || self.fields.iter().any(|change| change.seen_by_clients && change.change.breaks_readers())
    }

    fn class(&mut self, old: &Class, new: &Class) {
        let mut add = |change| {
            self.classes.push(ClassChange { class: old.name().to_owned(), is_struct: old.is_struct(), change });
        };
        if old.id() != new.id() {
            add(Change::Renumbered(old.id(), new.id()));
        }
        let bases = |class: &Class| class.bases().collect::<Vec<_>>().join(", ");
        if bases(old) != bases(new) {
            add(Change::Bases(bases(old), bases(new)));
        }
        let (before, after) = (named(old), named(new));
        for field in
            old.constructor().into_iter().chain(old.own_fields()).filter(|field| before.contains_key(field.name()))
        {
            match after.get(field.name()) {
                Some(other) => self.field(old, field, other),
                None => self.field_change(old, field, field, Change::Removed),
            }
        }
        for field in
            new.constructor().into_iter().chain(new.own_fields()).filter(|field| after.contains_key(field.name()))
        {
            if !before.contains_key(field.name()) {
                self.field_change(new, field, field, Change::Added);
            }
        }
        self.unnamed_members(old, new);
    }

    /// Members without a name can only be compared by their place.
    fn unnamed_members(&mut self, old: &Class, new: &Class) {
        let types = |class: &Class| {
            let unnamed = class.own_fields().filter(|field| field.name().is_empty());
            unnamed.map(Field::describe_type).collect::<Vec<_>>().join(", ")
        };
        let (before, after) = (types(old), types(new));
        if before != after {
            self.fields.push(FieldChange {
                class: old.name().to_owned(),
                field: "(unnamed members)".to_owned(),
                change: Change::Retyped(before, after),
                stored: false,
                seen_by_clients: false,
            });
        }
    }

    fn one_sided(&mut self, class: &Class, change: Change) {
        self.classes.push(ClassChange {
            class: class.name().to_owned(),
            is_struct: class.is_struct(),
            change: change.clone(),
        });
        for field in class.own_fields().filter(|field| !field.name().is_empty()) {
            self.field_change(class, field, field, change.clone());
        }
    }

    fn field(&mut self, class: &Class, old: &Field, new: &Field) {
        let mut add = |change| self.field_change(class, old, new, change);
        if old.id() != new.id() {
            add(Change::Renumbered(old.id(), new.id()));
        }
        if old.kind() != new.kind() {
            add(Change::Kind(old.kind(), new.kind()));
        }
        if !old.same_type(new) {
            add(Change::Retyped(old.describe_type(), new.describe_type()));
        }
        let keywords = |field: &Field| {
            let mut names: Vec<&str> = field.keyword_names().collect();
            names.sort_unstable();
            names.join(" ")
        };
        if keywords(old) != keywords(new) {
            add(Change::Keywords(keywords(old), keywords(new)));
        }
        let parts = |field: &Field| field.part_names().collect::<Vec<_>>().join(", ");
        if parts(old) != parts(new) {
            add(Change::Parts(parts(old), parts(new)));
        } else if old.default_value() != new.default_value() && old.same_type(new) {
            add(Change::Default);
        }
    }

    fn field_change(&mut self, class: &Class, old: &Field, new: &Field, change: Change) {
        let keywords = old.keywords() | new.keywords();
        let client_keywords = Keywords::CLSEND
            | Keywords::OWNSEND
            | Keywords::CLRECV
            | Keywords::OWNRECV
            | Keywords::BROADCAST
            | Keywords::REQUIRED;
        self.fields.push(FieldChange {
            class: class.name().to_owned(),
            field: old.name().to_owned(),
            change,
            stored: keywords.contains(Keywords::DB),
            seen_by_clients: keywords.intersects(client_keywords),
        });
    }
}

/// Own fields that have a name.
fn named(class: &Class) -> HashMap<&str, &Field> {
    let fields = class.constructor().into_iter().chain(class.own_fields());
    fields.filter(|field| !field.name().is_empty()).map(|field| (field.name(), field)).collect()
}

impl Change {
    fn breaks_readers(&self) -> bool {
        !matches!(self, Change::Added | Change::Default)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = |text: &str| {
            if text.is_empty() { "none".to_owned() } else { text.to_owned() }
        };
        match self {
            Change::Added => write!(f, "added"),
            Change::Removed => write!(f, "removed"),
            Change::Renumbered(old, new) => write!(f, "number {old} is now {new}"),
            Change::Bases(old, new) => write!(f, "bases were {}, are {}", none(old), none(new)),
            Change::Kind(old, new) => write!(f, "was {}, is {}", kind_name(*old), kind_name(*new)),
            Change::Retyped(old, new) if old == new => write!(f, "type {old} has changed inside"),
            Change::Retyped(old, new) => write!(f, "type was {old}, is {new}"),
            Change::Keywords(old, new) => write!(f, "keywords were {}, are {}", none(old), none(new)),
            Change::Default => write!(f, "default changed"),
            Change::Parts(old, new) => write!(f, "parts were {old}, are {new}"),
        }
    }
}

fn kind_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Atomic => "a method",
        FieldKind::Molecular => "a molecule",
        FieldKind::Data => "a data field",
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "no difference; hash {:#010x}", self.old_hash);
        }
        if self.old_hash == self.new_hash {
            writeln!(f, "hash {:#010x}, unchanged", self.old_hash)?;
        } else {
            writeln!(f, "hash {:#010x} is now {:#010x}", self.old_hash, self.new_hash)?;
        }
        for change in &self.classes {
            let kind = if change.is_struct { "struct" } else { "class" };
            writeln!(f, "{kind} {}: {}", change.class, change.change)?;
        }
        for change in &self.fields {
            let stored = if change.stored { " [stored]" } else { "" };
            let seen = if change.seen_by_clients { " [clients]" } else { "" };
            writeln!(f, "field {}.{}: {}{stored}{seen}", change.class, change.field, change.change)?;
        }
        let stored = self.stored_fields().filter(|change| change.change.touches_storage()).count();
        match stored {
            0 => writeln!(f, "stored values: untouched")?,
            count => writeln!(f, "stored values: {count} changes of db fields; convert or drop what is stored")?,
        }
        if self.breaks_clients() {
            write!(f, "clients: those built on the old files cannot be served; ship the new files to all of them")
        } else {
            write!(f, "clients: those built on the old files still fit")
        }
    }
}

impl Change {
    /// Names and types decide what stored bytes mean; numbers do not, since a schema record names fields.
    fn touches_storage(&self) -> bool {
        matches!(self, Change::Removed | Change::Retyped(..) | Change::Kind(..) | Change::Keywords(..))
    }
}
