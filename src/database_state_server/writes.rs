//! Changes that go to the database, whether the object is live or not (`protocol-ss-dbss-db.md` §3.6).
//!
//! Values are passed on as they came, only taken apart where the message must be: the Database Server refuses bad ones.

use super::{DatabaseStateServer, Incoming};
use crate::outbox::Outbox;
use crate::state_server::StateServer;
use crate::wire::message_type as t;
use crate::wire::{Doid, Truncated};
use donet_dc::{Contract, Field, FieldKind, Keywords, ValueError};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Values for the database, ascending by field; the last of two counts.
type Updates<'a> = BTreeMap<u16, &'a [u8]>;

/// Adds a value of a `db` field; that of a molecular one as its parts.
fn add_update<'a>(
    contract: &Contract,
    field: &Field,
    value: &'a [u8],
    updates: &mut Updates<'a>,
) -> Result<(), ValueError> {
    if !field.keywords().contains(Keywords::DB) {
        return Ok(());
    }
    if field.kind() != FieldKind::Molecular {
        updates.insert(field.id(), value);
        return Ok(());
    }
    let mut rest = value;
    for part in field.parts().iter().filter_map(|&part| contract.field(part)) {
        let (value, after) = rest.split_at(part.skip(rest)?);
        updates.insert(part.id(), value);
        rest = after;
    }
    Ok(())
}

impl DatabaseStateServer {
    pub(super) fn on_set_field(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let (doid, id) = (payload.doid()?, payload.u16()?);
        let contract = self.contract.clone();
        let Some(field) = contract.field(id).filter(|_| doid == incoming.doid) else { return Ok(()) };
        if !field.keywords().contains(Keywords::DB) {
            return Ok(());
        }
        if field.kind() != FieldKind::Molecular {
            self.send_to_database(out, doid, t::DBSERVER_OBJECT_SET_FIELD, incoming.payload.rest());
            return Ok(());
        }
        let mut updates = Updates::new();
        match add_update(&contract, field, payload.rest(), &mut updates) {
            Ok(()) => self.send_updates(doid, &updates, out),
            Err(error) => self.refuse(incoming, format_args!("field {}: {error}", field.name()), out),
        }
        Ok(())
    }

    pub(super) fn on_set_fields(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let doid = payload.doid()?;
        if doid != incoming.doid {
            return Ok(());
        }
        let contract = self.contract.clone();
        let mut updates = Updates::new();
        for _ in 0..payload.u16()? {
            let id = payload.u16()?;
            let Some(field) = contract.field(id) else {
                self.refuse(incoming, format_args!("field {id} is not in the contract"), out);
                return Ok(());
            };
            let value = match field.skip(payload.rest()) {
                Ok(bytes) => payload.take(bytes)?,
                Err(error) => {
                    self.refuse(incoming, format_args!("field {}: {error}", field.name()), out);
                    return Ok(());
                }
            };
            if let Err(error) = add_update(&contract, field, value, &mut updates) {
                self.refuse(incoming, format_args!("field {}: {error}", field.name()), out);
                return Ok(());
            }
        }
        self.send_updates(doid, &updates, out);
        Ok(())
    }

    fn send_updates(&self, doid: Doid, updates: &Updates, out: &mut Outbox) {
        if updates.is_empty() {
            return;
        }
        let mut body = doid.to_le_bytes().to_vec();
        body.extend_from_slice(&(updates.len() as u16).to_le_bytes());
        for (field, value) in updates {
            body.extend_from_slice(&field.to_le_bytes());
            body.extend_from_slice(value);
        }
        self.send_to_database(out, doid, t::DBSERVER_OBJECT_SET_FIELDS, &body);
    }

    /// The stored object ends; a live one stays as it is.
    pub(super) fn on_delete_disk(
        &mut self,
        incoming: &Incoming,
        state_server: &StateServer,
        out: &mut Outbox,
    ) -> Result<(), Truncated> {
        let doid = { incoming.payload }.doid()?;
        if doid != incoming.doid {
            return Ok(());
        }
        let body = doid.to_le_bytes();
        if let Some(audience) = state_server.audience(doid) {
            let recipients: SmallVec<[_; 3]> =
                [audience.location, audience.ai, audience.owner].into_iter().flatten().collect();
            out.send(self.participant(), &recipients, incoming.sender, t::DBSS_OBJECT_DELETE_DISK, &body);
        }
        self.send_to_database(out, doid, t::DBSERVER_OBJECT_DELETE, &body);
        Ok(())
    }

    /// DELETE_FIELD_DISK and DELETE_FIELDS_DISK: stored values end; those of a live object stay as they are.
    pub(super) fn on_delete_fields_disk(
        &mut self,
        incoming: &Incoming,
        is_plural: bool,
        state_server: &StateServer,
        out: &mut Outbox,
    ) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let doid = payload.doid()?;
        if doid != incoming.doid {
            return Ok(());
        }
        let contract = self.contract.clone();
        let mut fields: BTreeMap<u16, &Field> = BTreeMap::new();
        for _ in 0..if is_plural { payload.u16()? } else { 1 } {
            let id = payload.u16()?;
            let Some(field) = contract.field(id) else {
                self.refuse(incoming, format_args!("field {id} is not in the contract"), out);
                return Ok(());
            };
            if field.kind() == FieldKind::Molecular {
                fields.extend(field.parts().iter().filter_map(|&part| Some((part, contract.field(part)?))));
            } else {
                fields.insert(id, field);
            }
        }
        fields.retain(|_, field| field.keywords().contains(Keywords::DB));
        let mut body = doid.to_le_bytes().to_vec();
        match fields.len() {
            0 => return Ok(()),
            1 if !is_plural => {}
            count => body.extend_from_slice(&(count as u16).to_le_bytes()),
        }
        let is_list = is_plural || fields.len() > 1;
        body.extend(fields.keys().flat_map(|field| field.to_le_bytes()));
        let message_type = if is_list { t::DBSERVER_OBJECT_DELETE_FIELDS } else { t::DBSERVER_OBJECT_DELETE_FIELD };
        self.send_to_database(out, doid, message_type, &body);
        for (id, field) in fields {
            let Some(recipients) = state_server.update_recipients(doid, field.keywords(), incoming.sender) else {
                break;
            };
            let body = [&doid.to_le_bytes()[..], &id.to_le_bytes()].concat();
            let message_type = t::DBSS_OBJECT_DELETE_FIELD_DISK;
            out.send(self.participant(), &recipients, incoming.sender, message_type, &body);
        }
        Ok(())
    }
}
