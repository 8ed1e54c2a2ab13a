//! Live objects that follow what is changed in the database behind their back (`protocol-ss-dbss-db.md` §9 AMB-2).
//!
//! Off unless configured. It changes what a live object stores and tells nobody: whoever changes the database directly is
//! heard by those who listen to the database.

use super::DatabaseStateServer;
use crate::outbox::Outbox;
use crate::state_server::StateServer;
use crate::wire::message_type as t;
use crate::wire::{Channel, Datagram, Doid, MessageType, Reader, database_broadcast_channel};
use donet_dc::Field;

impl DatabaseStateServer {
    /// Applies a broadcast of the database to the live object that it names. The echo of a change that came from here
    /// carries the doid as its sender, and is old news.
    pub(super) fn follow(&mut self, datagram: &Datagram, state_server: &mut StateServer, out: &mut Outbox) {
        let Ok((sender, message_type, mut payload)) = datagram.message() else { return };
        let Ok(doid) = payload.doid() else { return };
        let is_news = sender != Channel::from(doid)
            && datagram.is_for(database_broadcast_channel(doid))
            && self.is_home(doid, out)
            && state_server.is_live(doid);
        if is_news {
            self.apply_broadcast(doid, message_type, payload, state_server, out);
        }
    }

    /// Stops at what cannot be read: the database sends what it has checked.
    fn apply_broadcast(
        &self,
        doid: Doid,
        message_type: MessageType,
        mut payload: Reader,
        state_server: &mut StateServer,
        out: &mut Outbox,
    ) {
        let (is_list, is_set) = match message_type {
            t::DBSERVER_OBJECT_SET_FIELD => (false, true),
            t::DBSERVER_OBJECT_SET_FIELDS => (true, true),
            t::DBSERVER_OBJECT_DELETE_FIELD => (false, false),
            t::DBSERVER_OBJECT_DELETE_FIELDS => (true, false),
            // The end of a stored object leaves the live one as it is.
            _ => return,
        };
        let count = if is_list { payload.u16().unwrap_or(0) } else { 1 };
        for _ in 0..count {
            let Some((field, value)) = self.read_change(&mut payload, is_set) else { return };
            state_server.refresh(doid, field.id(), value, out);
        }
    }

    fn read_change<'a>(&self, payload: &mut Reader<'a>, is_set: bool) -> Option<(&Field, Option<&'a [u8]>)> {
        let field = self.contract.field(payload.u16().ok()?)?;
        if !is_set {
            return Some((field, None));
        }
        let bytes = field.skip(payload.rest()).ok()?;
        Some((field, Some(payload.take(bytes).ok()?)))
    }
}
