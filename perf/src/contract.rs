//! The contract that a scenario plays by: names become numbers, values are checked before they are sent.
//!
//! [`Model`] says what the cluster must tell of an object, computed from the contract alone
//! (`protocol-ss-dbss-db.md` §1.5), so that whole messages can be compared byte by byte. It never asks the server.

use crate::failure::{Failure, ensure};
use crate::message::Payload;
use donet::wire::{Doid, Zone};
use donet_dc::{Class, Contract, Field, FieldKind, Keywords, Options, Source, TextPolicy};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A parsed contract, shared by everything that needs names of it.
#[derive(Clone)]
pub struct Names {
    contract: Rc<Contract>,
}

impl fmt::Debug for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Names of the contract {:08x}", self.hash())
    }
}

/// One field of one class, with the values that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldId(pub u16);

impl Names {
    /// Parses a DC file.
    ///
    /// # Errors
    /// The parser's diagnostics.
    pub fn parse(file: &str, text: &str) -> Result<Self, Failure> {
        let source = Source { name: file.to_owned(), text: text.as_bytes().to_vec() };
        let contract = Contract::parse(&[source], &Options::default())
            .map_err(|diagnostics| Failure::new(format!("{file} is no contract:\n{diagnostics}")))?;
        Ok(Self { contract: Rc::new(contract) })
    }

    /// The hash that a client's hello names.
    pub fn hash(&self) -> u32 {
        self.contract.hash()
    }

    fn class_named(&self, class: &str) -> Result<&Class, Failure> {
        self.contract.class_by_name(class).ok_or_else(|| Failure::new(format!("the contract has no class {class}")))
    }

    /// # Errors
    /// When there is no such class.
    pub fn class(&self, class: &str) -> Result<u16, Failure> {
        Ok(self.class_named(class)?.id())
    }

    /// # Errors
    /// When there is no such class or field.
    pub fn field(&self, class: &str, field: &str) -> Result<FieldId, Failure> {
        let found = self.class_named(class)?.field_by_name(field);
        let found = found.ok_or_else(|| Failure::new(format!("the contract has no field {class}.{field}")))?;
        Ok(FieldId(found.id()))
    }

    fn field_by_id(&self, field: FieldId) -> &Field {
        self.contract.field(field.0).expect("ids come from the same contract")
    }

    /// A packed value, checked against the contract.
    ///
    /// # Errors
    /// When the contract does not allow it.
    pub fn check(&self, field: FieldId, value: &Payload) -> Result<(), Failure> {
        let found = self.field_by_id(field);
        found
            .validate(value, TextPolicy::Utf8)
            .map_err(|error| Failure::new(format!("{} cannot be {:02x?}: {error}", found.name(), value.as_bytes())))
    }

    /// A field's default, packed.
    pub fn default_value(&self, field: FieldId) -> Vec<u8> {
        self.field_by_id(field).default_value().to_vec()
    }

    /// What a database stores of a new object of which nothing was given: the `db` fields with an explicit default
    /// (`protocol-ss-dbss-db.md` §4.3).
    ///
    /// # Errors
    /// When there is no such class.
    pub fn stored_defaults(&self, class: &str) -> Result<BTreeMap<u16, Vec<u8>>, Failure> {
        let fields = self.class_named(class)?.fields();
        let stored = fields.filter(|field| {
            field.kind() != FieldKind::Molecular
                && field.keywords().contains(Keywords::DB)
                && field.has_explicit_default()
        });
        Ok(stored.map(|field| (field.id(), field.default_value().to_vec())).collect())
    }

    /// An object as it is right after its creation: `required` fields have their defaults until they are set.
    ///
    /// # Errors
    /// When there is no such class.
    pub fn model(&self, class: &str, doid: Doid, parent: Doid, zone: Zone) -> Result<Model, Failure> {
        let mut model =
            Model { names: self.clone(), doid, class: self.class(class)?, parent, zone, values: BTreeMap::new() };
        for field in model.fields_with(Keywords::REQUIRED) {
            model.values.insert(field, self.default_value(FieldId(field)));
        }
        Ok(model)
    }
}

/// Who is told about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// AIs, and whoever asks for everything.
    All,
    /// Clients that see it.
    Viewers,
    /// The client that owns it.
    Owner,
}

/// What an object holds in memory, as the contract and the messages so far have it.
#[derive(Clone, Debug)]
pub struct Model {
    names: Names,
    pub doid: Doid,
    pub class: u16,
    pub parent: Doid,
    pub zone: Zone,
    values: BTreeMap<u16, Vec<u8>>,
}

impl Model {
    fn class(&self) -> &Class {
        self.names.contract.class(self.class).expect("ids come from the same contract")
    }

    /// The non-molecular fields with all of these keywords, ascending.
    fn fields_with(&self, keywords: Keywords) -> Vec<u16> {
        let fields = self.class().fields();
        let mut ids: Vec<u16> = fields
            .filter(|field| field.kind() != FieldKind::Molecular && field.keywords().contains(keywords))
            .map(Field::id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Stores a value as a State Server does: `required` and `ram` fields are kept, a molecular value in its parts,
    /// anything else not at all.
    ///
    /// # Errors
    /// When a molecular value cannot be split.
    pub fn set(&mut self, field: FieldId, value: &[u8]) -> Result<(), Failure> {
        let names = self.names.clone();
        let found = names.field_by_id(field);
        if found.kind() == FieldKind::Molecular {
            let mut rest = value;
            for &part in found.parts() {
                let used = names
                    .field_by_id(FieldId(part))
                    .skip(rest)
                    .map_err(|error| Failure::new(format!("{}: {error}", found.name())))?;
                self.set(FieldId(part), &rest[..used])?;
                rest = &rest[used..];
            }
            return ensure(rest.is_empty(), || format!("{}: {} bytes too many", found.name(), rest.len()));
        }
        if found.keywords().intersects(Keywords::REQUIRED | Keywords::RAM) {
            self.values.insert(found.id(), value.to_vec());
        }
        Ok(())
    }

    /// The value that the object holds.
    pub fn get(&self, field: FieldId) -> Option<&[u8]> {
        self.values.get(&field.0).map(Vec::as_slice)
    }

    /// The required fields' values, ascending: what CREATE carries.
    pub fn required(&self, audience: Audience) -> Payload {
        let mut payload = Payload::new();
        for field in self.fields_with(Keywords::REQUIRED) {
            if self.tells(field, audience) {
                payload = payload.bytes(&self.values[&field]);
            }
        }
        payload
    }

    fn tells(&self, field: u16, audience: Audience) -> bool {
        let keywords = self.names.field_by_id(FieldId(field)).keywords();
        match audience {
            Audience::All => true,
            Audience::Viewers => keywords.intersects(Keywords::BROADCAST | Keywords::CLRECV),
            Audience::Owner => keywords.intersects(Keywords::BROADCAST | Keywords::CLRECV | Keywords::OWNRECV),
        }
    }

    fn optional_values(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.values.iter().filter_map(|(&field, value)| {
            let keywords = self.names.field_by_id(FieldId(field)).keywords();
            (!keywords.contains(Keywords::REQUIRED)).then_some((field, value.as_slice()))
        })
    }

    /// Whether entries of this object use their `_OTHER` form.
    pub fn has_other(&self) -> bool {
        self.optional_values().next().is_some()
    }

    /// The optional fields' section, with its count.
    fn other(&self, audience: Audience) -> Payload {
        let told: Vec<_> = self.optional_values().filter(|&(field, _)| self.tells(field, audience)).collect();
        let count = u16::try_from(told.len()).expect("field ids are 16 bits");
        told.into_iter().fold(Payload::new().u16(count), |payload, (field, value)| payload.u16(field).bytes(value))
    }

    /// What an entry message says: doid, parent, zone, class, required values, and the optional ones if there are any.
    pub fn entry(&self, audience: Audience) -> Payload {
        let mut payload = self.head().bytes(&self.required(audience));
        if self.has_other() {
            payload = payload.bytes(&self.other(audience));
        }
        payload
    }

    fn head(&self) -> Payload {
        Payload::new().u32(self.doid).u32(self.parent).u32(self.zone).u16(self.class)
    }

    /// The answer to GET_ALL, which always has the optional section.
    pub fn everything(&self, context: u32) -> Payload {
        let payload = Payload::new().u32(context).bytes(&self.head());
        payload.bytes(&self.required(Audience::All)).bytes(&self.other(Audience::All))
    }
}

/// Where a field's updates go, by its keywords (`protocol-ss-dbss-db.md` §1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receivers {
    pub location: bool,
    pub ai: bool,
    pub owner: bool,
    /// Whether the database keeps it.
    pub is_stored: bool,
}

impl Names {
    /// Where a field's updates go.
    pub fn receivers(&self, field: FieldId) -> Receivers {
        let keywords = self.field_by_id(field).keywords();
        Receivers {
            location: keywords.contains(Keywords::BROADCAST),
            ai: keywords.contains(Keywords::AIRECV),
            owner: keywords.contains(Keywords::OWNRECV),
            is_stored: keywords.contains(Keywords::DB),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::EXAMPLE_DC;

    fn avatar() -> (Names, Model) {
        let names = Names::parse("example.dc", EXAMPLE_DC).unwrap();
        let model = names.model("Avatar", 7, 8, 9).unwrap();
        (names, model)
    }

    /// The layout of §1.5, written out by hand for the avatar of the example: name and health are required.
    #[test]
    fn entries_are_those_of_the_specification() {
        let (names, mut model) = avatar();
        let field = |name| names.field("Avatar", name).unwrap();
        let head = Payload::new().u32(7).u32(8).u32(9).u16(names.class("Avatar").unwrap());
        let required = head.clone().blob(b"nameless").u16(1000);
        assert_eq!(model.entry(Audience::Viewers), required);
        assert!(!model.has_other());

        model.set(field("setGold"), &[1, 0, 0, 0]).unwrap();
        assert!(model.has_other());
        let gold = Payload::new().u16(field("setGold").0).u32(1);
        // Viewers are told that there is more, and nothing of it.
        assert_eq!(model.entry(Audience::Viewers), required.clone().u16(0));
        assert_eq!(model.entry(Audience::Owner), required.clone().u16(1).bytes(&gold));

        model.set(field("setXYH"), &[1, 0, 2, 0, 3, 0]).unwrap();
        model.set(field("say"), &[1, 0, b'x']).unwrap();
        let mut parts = Payload::new();
        for (part, value) in [("setX", 1), ("setY", 2), ("setH", 3)] {
            parts = parts.u16(field(part).0).u16(value);
        }
        assert_eq!(model.entry(Audience::Viewers), required.clone().u16(3).bytes(&parts));
        let everything = Payload::new().u32(5).bytes(&required).u16(4).bytes(&parts).bytes(&gold);
        assert_eq!(model.everything(5), everything);
    }

    #[test]
    fn values_that_the_contract_forbids_are_not_sent() {
        let (names, mut model) = avatar();
        let health = names.field("Avatar", "setHealth").unwrap();
        assert!(names.check(health, &Payload::new().u16(1000)).is_ok());
        assert!(names.check(health, &Payload::new().u16(1001)).is_err());
        let place = names.field("Avatar", "setXYH").unwrap();
        assert!(model.set(place, &[1, 0, 2, 0, 3]).is_err());
        assert!(model.set(place, &[1, 0, 2, 0, 3, 0, 4]).is_err());
        assert!(names.field("Avatar", "fly").is_err());
    }

    #[test]
    fn receivers_follow_the_keywords() {
        let (names, _) = avatar();
        let of = |field| names.receivers(names.field("Avatar", field).unwrap());
        assert_eq!(of("emote"), Receivers { location: false, ai: true, owner: false, is_stored: false });
        assert_eq!(of("setGold"), Receivers { location: false, ai: false, owner: true, is_stored: true });
        assert_eq!(of("setXYH"), Receivers { location: true, ai: false, owner: false, is_stored: false });
    }
}
