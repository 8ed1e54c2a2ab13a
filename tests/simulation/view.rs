//! What one client has been told, and whether it could be told so (guarantees G3, G5, G6).

use crate::simulation::contract::{self, Value};
use donet::wire::{Doid, MessageType, Reader, Truncated, Zone, message_type as t};
use std::collections::{BTreeMap, BTreeSet};

/// Where something is.
pub type Place = (Doid, Zone);

/// An object that a client sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub place: Place,
    pub value: u32,
    /// The last value of each shared field, as of the entry.
    pub entered_with: BTreeMap<u16, Value>,
    /// What the client has been told since.
    pub told: Vec<(u16, Value)>,
    /// A link above has been lost since, or a gap was noticed that is forgiven: it leaves or enters anew, and until then what
    /// it is told of may have gaps.
    pub may_miss: bool,
}

/// A stretch of time in which an object was in view.
#[derive(Clone, Debug)]
pub struct Window {
    pub doid: Doid,
    pub seen: Seen,
    /// Whether it is still in view.
    pub is_open: bool,
}

#[derive(Default)]
pub struct View {
    pub visible: BTreeMap<Doid, Seen>,
    pub owned: BTreeMap<Doid, Place>,
    /// Stretches that have ended and were not checked yet.
    pub windows: Vec<Window>,
    pub done: BTreeSet<u32>,
    /// Contexts of interests that the server has announced, and those of removals.
    pub announced: BTreeSet<u32>,
    /// Objects whose place the client has changed itself: what it is told of them depends on how its messages cross.
    pub moved: BTreeSet<Doid>,
    /// Interests run into their time-out before the daemon above has heard of them: an entry of long ago may be followed by
    /// a gap, until the late answer has the object enter anew.
    pub forgives: bool,
    pub greeted: bool,
    pub ejected: Option<u16>,
}

impl View {
    pub fn read(&mut self, body: &[u8]) -> Result<(), String> {
        self.try_read(body).map_err(|error| error.to_string())?
    }

    fn try_read(&mut self, body: &[u8]) -> Result<Result<(), String>, Truncated> {
        let mut reader = Reader::new(body);
        let message_type = MessageType(reader.u16()?);
        if self.ejected.is_some() {
            return Ok(Err(format!("{message_type} after the eject")));
        }
        match message_type {
            t::CLIENT_HELLO_RESP => self.greeted = true,
            t::CLIENT_EJECT => self.ejected = Some(reader.u16()?),
            t::CLIENT_ENTER_OBJECT_REQUIRED | t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER => {
                let (doid, seen) = Self::entry(&mut reader, message_type == t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER)?;
                if self.visible.insert(doid, seen).is_some() {
                    return Ok(Err(format!("{doid} entered twice")));
                }
            }
            t::CLIENT_ENTER_OBJECT_REQUIRED_OWNER | t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER_OWNER => {
                let doid = reader.doid()?;
                let place = (reader.doid()?, reader.zone()?);
                if self.owned.insert(doid, place).is_some() {
                    return Ok(Err(format!("{doid} became the client's twice")));
                }
            }
            t::CLIENT_OBJECT_LEAVING => {
                let doid = reader.doid()?;
                let Some(mut seen) = self.visible.remove(&doid) else {
                    return Ok(Err(format!("{doid} left without having entered")));
                };
                seen.may_miss |= self.forgives;
                self.windows.push(Window { doid, seen, is_open: false });
            }
            t::CLIENT_OBJECT_LEAVING_OWNER => {
                let doid = reader.doid()?;
                if self.owned.remove(&doid).is_none() {
                    return Ok(Err(format!("{doid} was lost without having been owned")));
                }
            }
            t::CLIENT_OBJECT_LOCATION => {
                let doid = reader.doid()?;
                let place = (reader.doid()?, reader.zone()?);
                let is_owned = self.owned.get_mut(&doid).map(|known| *known = place).is_some();
                match self.visible.get_mut(&doid) {
                    Some(seen) => seen.place = place,
                    None if is_owned => {}
                    None => return Ok(Err(format!("{doid} moved without having entered"))),
                }
            }
            t::CLIENT_OBJECT_SET_FIELD => return self.update(&mut reader),
            t::CLIENT_ADD_INTEREST | t::CLIENT_ADD_INTEREST_MULTIPLE | t::CLIENT_REMOVE_INTEREST => {
                self.announced.insert(reader.u32()?);
            }
            t::CLIENT_DONE_INTEREST_RESP => {
                let context = reader.u32()?;
                if !self.announced.remove(&context) && !self.done.insert(context) {
                    return Ok(Err(format!("interest {context} done twice")));
                }
            }
            other => return Ok(Err(format!("unexpected {other}"))),
        }
        Ok(Ok(()))
    }

    fn entry(reader: &mut Reader<'_>, other: bool) -> Result<(Doid, Seen), Truncated> {
        let doid = reader.doid()?;
        let place = (reader.doid()?, reader.zone()?);
        reader.u16()?;
        let mut seen = Seen { place, value: reader.u32()?, ..Seen::default() };
        if other {
            for _ in 0..reader.u16()? {
                let field = reader.u16()?;
                seen.entered_with.extend(contract::read(field, reader)?);
            }
        }
        Ok((doid, seen))
    }

    fn update(&mut self, reader: &mut Reader<'_>) -> Result<Result<(), String>, Truncated> {
        let (doid, field) = (reader.doid()?, reader.u16()?);
        let values = contract::read(field, reader)?;
        let Some(seen) = self.visible.get_mut(&doid) else {
            // An owner is told of some fields without seeing the object.
            let is_for_owner = self.owned.contains_key(&doid);
            return Ok(if is_for_owner { Ok(()) } else { Err(format!("{doid} updated without having entered")) });
        };
        if field != contract::VALUE {
            seen.told.extend(values);
            return Ok(Ok(()));
        }
        let (_, value) = values[0];
        seen.may_miss |= self.forgives && value.1 > seen.value + 1;
        let is_due = if seen.may_miss { value.1 > seen.value } else { value.1 == seen.value + 1 };
        if !is_due && !self.moved.contains(&doid) {
            return Ok(Err(format!("{doid} went from {} to {}", seen.value, value.1)));
        }
        seen.value = value.1;
        Ok(Ok(()))
    }
}
