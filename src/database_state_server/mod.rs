//! Database State Server: one executor's partition of one DBSS role, which answers for stored objects that are not live
//! and makes them live.
//!
//! Decides what happens to a doid of its ranges while it is not live or being loaded, and which changes to a live one go
//! to the database (`protocol-ss-dbss-db.md` §3). It keeps no live objects: those it makes live belong to the
//! [`StateServer`] partition of the same executor, and every message reaches the object there before it reaches this
//! role. It never reads or writes a database itself; it asks a Database Server by messages, under the doid's name, so
//! that answers come back to the executor of the doid.
//!
//! It acts for the doid that a message names in its payload, and only if the message is addressed to that doid's
//! channel: otherwise what happens would depend on the executor that owns the channel.

mod following;
mod loading;
mod reads;
mod requests;
#[cfg(test)]
mod tests;
mod writes;

use crate::config;
use crate::outbox::{Outbox, Participant, contained};
use crate::state_server::{Layouts, RefusalLog, StateServer};
use crate::wire::message_type as t;
use crate::wire::{Channel, Datagram, Doid, MessageType, Reader, Truncated};
use donet_dc::{Contract, TextPolicy};
use donet_shards::shard_of;
use hashbrown::HashMap;
use loading::Load;
use requests::Requests;
use smallvec::SmallVec;
use std::fmt::Display;
use std::sync::Arc;

/// Ends a load that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbssTimer {
    /// The role, by its index in the configuration.
    pub role: u8,
    doid: Doid,
    /// Which load of the doid.
    load: u64,
}

/// One executor's partition of one DBSS role.
pub struct DatabaseStateServer {
    index: u8,
    settings: config::DatabaseStateServer,
    contract: Arc<Contract>,
    layouts: Layouts,
    text: TextPolicy,
    loads: HashMap<Doid, Load>,
    next_load: u64,
    requests: Requests,
    refusals: RefusalLog,
}

/// A message to a doid of this role.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    doid: Doid,
    sender: Channel,
    message_type: MessageType,
    payload: Reader<'a>,
}

/// Whether a message may change what is stored.
fn writes(message_type: MessageType) -> bool {
    matches!(
        message_type,
        t::STATESERVER_OBJECT_SET_FIELD
            | t::STATESERVER_OBJECT_SET_FIELDS
            | t::DBSS_OBJECT_DELETE_FIELD_DISK
            | t::DBSS_OBJECT_DELETE_FIELDS_DISK
            | t::DBSS_OBJECT_DELETE_DISK
    )
}

impl DatabaseStateServer {
    /// `index` is the role's place in the configuration.
    pub fn new(index: u8, settings: config::DatabaseStateServer, contract: Arc<Contract>, text: TextPolicy) -> Self {
        Self {
            index,
            settings,
            layouts: Layouts::new(&contract),
            contract,
            text,
            loads: HashMap::new(),
            next_load: 0,
            requests: Requests::default(),
            refusals: RefusalLog::default(),
        }
    }

    /// Goes on with other settings, of the same ranges.
    pub fn reload(&mut self, settings: config::DatabaseStateServer) {
        self.settings = settings;
    }

    /// Whether a doid is in one of the role's ranges.
    pub fn owns(&self, doid: Doid) -> bool {
        self.settings.ranges.iter().any(|range| range.contains(&doid))
    }

    /// Handles a datagram for each doid of the role's ranges that it is addressed to and that belongs to this executor.
    ///
    /// It is called after [`StateServer::on_datagram`] with the same datagram: object first, then role. No message that
    /// means something to this role makes an object live or ends it there, so that the role still finds the object as the
    /// message found it. While a doid is loading, what comes is kept here, and both parts follow when the load has ended.
    pub fn on_datagram(
        &mut self,
        datagram: &Datagram,
        from: Participant,
        state_server: &mut StateServer,
        out: &mut Outbox,
    ) {
        if from == self.participant() {
            return;
        }
        if self.settings.follow_database {
            self.follow(datagram, state_server, out);
        }
        let mut doids: SmallVec<[Doid; 4]> = datagram
            .recipients()
            .filter_map(|recipient| Doid::try_from(recipient).ok())
            .filter(|&doid| self.is_home(doid, out))
            .collect();
        doids.sort_unstable();
        doids.dedup();
        for doid in doids {
            self.on_datagram_at(doid, datagram, from, state_server, out);
        }
    }

    /// A load takes too long.
    pub fn on_timer(&mut self, timer: DbssTimer, state_server: &mut StateServer, out: &mut Outbox) {
        if self.loads.get(&timer.doid).is_some_and(|load| load.number == timer.load) {
            self.contain(timer.doid, out, |role, out| {
                role.fail_load(timer.doid, "the database has not answered in time", state_server, out);
            });
        }
    }

    /// Whether this partition acts for a doid.
    fn is_home(&self, doid: Doid, out: &Outbox) -> bool {
        self.owns(doid) && shard_of(doid.into(), out.shards) == out.shard
    }

    fn participant(&self) -> Participant {
        Participant::DatabaseStateServer(self.index)
    }

    /// Runs what is done for one doid. A panic costs that doid its load, and nothing else.
    fn contain(&mut self, doid: Doid, out: &mut Outbox, handler: impl FnOnce(&mut Self, &mut Outbox)) {
        let participant = (self.participant(), doid);
        if contained(out, participant, |out| handler(self, out)).is_none() {
            self.loads.remove(&doid);
        }
    }

    fn on_datagram_at(
        &mut self,
        doid: Doid,
        datagram: &Datagram,
        from: Participant,
        state_server: &mut StateServer,
        out: &mut Outbox,
    ) {
        let Ok((sender, message_type, payload)) = datagram.message() else { return };
        let incoming = Incoming { doid, sender, message_type, payload };
        self.contain(doid, out, |role, out| {
            // One that was created by other means meanwhile has handled the message already.
            let is_loading = role.loads.contains_key(&doid) && !state_server.is_live(doid);
            let handled = match message_type {
                t::DBSERVER_OBJECT_GET_FIELD_RESP | t::DBSERVER_OBJECT_GET_FIELDS_RESP => {
                    role.on_fields_reply(&incoming, out)
                }
                t::DBSERVER_OBJECT_GET_ALL_RESP => role.on_object_reply(&incoming, state_server, out),
                t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS | t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS_OTHER if is_loading => {
                    tracing::debug!(doid, sender, "already being loaded");
                    Ok(())
                }
                _ if is_loading => {
                    role.keep_for_later(doid, datagram, from, out);
                    Ok(())
                }
                _ => role.act(&incoming, state_server, out),
            };
            if let Err(error) = handled {
                role.refuse(&incoming, error, out);
            }
        });
    }

    /// What a message means to a doid that is live or not, but not being loaded (§3.3).
    fn act(&mut self, incoming: &Incoming, state_server: &StateServer, out: &mut Outbox) -> Result<(), Truncated> {
        let is_live = state_server.is_live(incoming.doid);
        if writes(incoming.message_type) {
            self.requests.is_written(incoming.doid);
        }
        match incoming.message_type {
            t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS => self.on_activate(incoming, is_live, false, out),
            t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS_OTHER => self.on_activate(incoming, is_live, true, out),
            t::STATESERVER_OBJECT_SET_LOCATION if !is_live => self.on_location(incoming, out),
            t::DBSS_OBJECT_GET_ACTIVATED => self.on_get_activated(incoming, is_live, out),
            t::DBSS_OBJECT_DELETE_DISK => self.on_delete_disk(incoming, state_server, out),
            t::DBSS_OBJECT_DELETE_FIELD_DISK => self.on_delete_fields_disk(incoming, false, state_server, out),
            t::DBSS_OBJECT_DELETE_FIELDS_DISK => self.on_delete_fields_disk(incoming, true, state_server, out),
            t::STATESERVER_OBJECT_SET_FIELD => self.on_set_field(incoming, out),
            t::STATESERVER_OBJECT_SET_FIELDS => self.on_set_fields(incoming, out),
            t::STATESERVER_OBJECT_GET_FIELD if !is_live => self.on_get_field(incoming, out),
            t::STATESERVER_OBJECT_GET_FIELDS if !is_live => self.on_get_fields(incoming, out),
            t::STATESERVER_OBJECT_GET_ALL if !is_live => self.on_get_all(incoming, out),
            // The object's business, or nobody's.
            _ => Ok(()),
        }
    }

    fn on_get_activated(&mut self, incoming: &Incoming, is_live: bool, out: &mut Outbox) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let (context, doid) = (payload.u32()?, payload.doid()?);
        if doid == incoming.doid {
            let mut answer = [0; 9];
            answer[..4].copy_from_slice(&context.to_le_bytes());
            answer[4..8].copy_from_slice(&doid.to_le_bytes());
            answer[8] = is_live.into();
            self.send(out, doid, incoming.sender, t::DBSS_OBJECT_GET_ACTIVATED_RESP, &answer);
        }
        Ok(())
    }

    /// Sends in the name of a doid.
    fn send(&self, out: &mut Outbox, doid: Doid, to: Channel, message_type: MessageType, payload: &[u8]) {
        out.send(self.participant(), &[to], doid.into(), message_type, payload);
    }

    /// Sends to the Database Server, in the name of a doid: what it answers comes to the doid's channel.
    fn send_to_database(&self, out: &mut Outbox, doid: Doid, message_type: MessageType, payload: &[u8]) {
        self.send(out, doid, self.settings.db_channel, message_type, payload);
    }

    fn refuse(&mut self, incoming: &Incoming, reason: impl Display, out: &mut Outbox) {
        let Incoming { doid, sender, message_type, .. } = incoming;
        self.refusals
            .refuse(out, format_args!("{message_type} from {sender} to stored object {doid} refused: {reason}"));
    }
}
