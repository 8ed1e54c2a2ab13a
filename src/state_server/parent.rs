//! What a parent says about its children (`protocol-ss-dbss-db.md` §2.10), and the exact zone query inside a daemon
//! (design §3 rule 8).
//!
//! A query for objects that reaches a live parent is passed to every executor by [`StateServerMessage::ZoneQuery`]. Each
//! lets its own children answer the asker directly and reports how many did; the parent adds these to the children that
//! it knows in other daemons, sends the sum, and asks those others by the protocol's own relay. That relay is not handed to
//! children here, who have answered already; asked by a parent in another daemon, a child answers as the protocol says.
//!
//! [`StateServerMessage::ZoneQuery`]: super::StateServerMessage::ZoneQuery

use super::StateServerMessage;
use super::children::Zones;
use super::deletion::zone_list;
use super::object::{Announcement, Handled, Incoming, Object, header_bytes};
use super::partition::Partition;
use crate::outbox::{Outbox, RoleMessage};
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, MAX_BODY_BYTES, MessageType, Zone, children_channel};
use donet_shards::ShardId;
use hashbrown::HashSet;
use std::sync::Arc;

/// A query that a parent has passed to every executor.
#[derive(Clone, Debug)]
pub struct OpenQuery {
    pub parent: Doid,
    pub context: u32,
    pub requester: Channel,
    /// In the order asked for, each once; `None` for all children.
    pub zones: Option<Arc<[Zone]>>,
    /// Executors that have not answered yet.
    pub waiting: usize,
    /// The children that did answer.
    pub count: u32,
}

/// The most zones that GET_ACTIVE_ZONES_RESP can name: what a frame holds behind context and count.
const ACTIVE_ZONES_MAX: usize = (MAX_BODY_BYTES - header_bytes(1) - 4 - 2) / size_of::<Zone>();
const _: () = assert!(ACTIVE_ZONES_MAX <= u16::MAX as usize, "the count is a u16");

impl Object {
    /// GET_ZONE_OBJECTS, GET_ZONES_OBJECTS and GET_CHILDREN.
    pub fn on_query(&mut self, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> Handled {
        let mut payload = incoming.payload;
        let (context, parent) = (payload.u32()?, payload.doid()?);
        let is_plural = incoming.message_type == t::STATESERVER_OBJECT_GET_ZONES_OBJECTS;
        let listed = match incoming.message_type {
            t::STATESERVER_OBJECT_GET_CHILDREN => None,
            _ => Some(zone_list(&mut payload, is_plural)?),
        };
        if parent == self.parent {
            if listed.is_none_or(|mut zones| zones.any(|zone| zone == self.zone)) {
                self.answer_query(context, incoming.sender, partition, out);
            }
        } else if parent == self.doid {
            let zones = listed.map(|zones| {
                let mut seen = HashSet::new();
                zones.filter(|&zone| seen.insert(zone)).collect()
            });
            self.open_query(context, incoming.sender, zones, partition, out);
        }
        Ok(())
    }

    /// The protocol's answer of a child whose parent is in another daemon.
    fn answer_query(&self, context: u32, requester: Channel, partition: &mut Partition, out: &mut Outbox) {
        let announcement =
            if self.parent_synchronized { Announcement::enter_interest(context) } else { Announcement::ENTER_LOCATION };
        self.announce(partition, out, requester, &announcement);
    }

    fn open_query(
        &mut self,
        context: u32,
        requester: Channel,
        zones: Option<Arc<[Zone]>>,
        partition: &mut Partition,
        out: &mut Outbox,
    ) {
        let (parent, query) = (self.doid, partition.next_query);
        partition.next_query += 1;
        self.open_queries += 1;
        let asked = zones.as_ref().map_or(Zones::All, |zones| Zones::listed(zones.iter().copied()));
        for shard in 0..out.shards {
            let message = StateServerMessage::ZoneQuery { query, parent, context, requester, zones: asked.clone() };
            out.to_shard(ShardId(shard as u16), RoleMessage::StateServer(message));
        }
        let waiting = out.shards;
        partition.queries.insert(query, OpenQuery { parent, context, requester, zones, waiting, count: 0 });
    }

    /// Every executor has answered.
    pub fn close_query(&mut self, query: &OpenQuery, out: &mut Outbox) {
        self.open_queries -= 1;
        let foreign = self.children.as_ref().map_or(0, |children| match &query.zones {
            None => children.foreign(),
            Some(zones) => zones.iter().map(|&zone| children.foreign_in(zone)).sum(),
        });
        let (response, relay) = match query.zones {
            None => (t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP, t::STATESERVER_OBJECT_GET_CHILDREN),
            Some(_) => (t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS),
        };
        self.send_count(out, query.requester, response, query.context, query.count + foreign);
        if foreign == 0 {
            return;
        }
        let mut body = query.context.to_le_bytes().to_vec();
        body.extend_from_slice(&self.doid.to_le_bytes());
        if let Some(zones) = &query.zones {
            body.extend_from_slice(&(zones.len() as u16).to_le_bytes());
            body.extend(zones.iter().flat_map(|zone| zone.to_le_bytes()));
        }
        self.send_for(out, &[children_channel(self.doid)], query.requester, relay, &body);
    }

    fn send_count(&self, out: &mut Outbox, to: Channel, message_type: MessageType, context: u32, count: u32) {
        let mut body = [0; 8];
        body[..4].copy_from_slice(&context.to_le_bytes());
        body[4..].copy_from_slice(&count.to_le_bytes());
        self.send(out, to, message_type, &body);
    }

    pub fn on_get_zone_count(&mut self, incoming: &Incoming, out: &mut Outbox) -> Handled {
        self.answer_zone_count(incoming, false, t::STATESERVER_OBJECT_GET_ZONE_COUNT_RESP, out)
    }

    pub fn on_get_zones_count(&mut self, incoming: &Incoming, out: &mut Outbox) -> Handled {
        self.answer_zone_count(incoming, true, t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, out)
    }

    fn answer_zone_count(
        &mut self,
        incoming: &Incoming,
        is_plural: bool,
        response: MessageType,
        out: &mut Outbox,
    ) -> Handled {
        let mut payload = incoming.payload;
        let (context, parent) = (payload.u32()?, payload.doid()?);
        let zones = zone_list(&mut payload, is_plural)?;
        if parent == self.doid {
            let count = self.children.as_ref().map_or(0, |children| {
                let mut seen = HashSet::new();
                zones.filter(|&zone| seen.insert(zone)).map(|zone| children.count_in(zone)).sum()
            });
            self.send_count(out, incoming.sender, response, context, count);
        }
        Ok(())
    }

    pub fn on_get_child_count(&mut self, incoming: &Incoming, out: &mut Outbox) -> Handled {
        let mut payload = incoming.payload;
        let (context, parent) = (payload.u32()?, payload.doid()?);
        if parent == self.doid {
            let count = self.children.as_ref().map_or(0, |children| children.count());
            self.send_count(out, incoming.sender, t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP, context, count);
        }
        Ok(())
    }

    pub fn on_get_active_zones(&mut self, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> Handled {
        let context = { incoming.payload }.u32()?;
        let active = self.children.as_ref().map_or(0, |children| children.active_zone_count());
        if active > ACTIVE_ZONES_MAX {
            let (class, doid) = (partition.class_name(self.class), self.doid);
            let line = format_args!(
                "object {doid} of class {class} has {active} active zones; the answer to {} names {ACTIVE_ZONES_MAX}",
                incoming.sender
            );
            partition.refusals.note(out.now_us, line);
        }
        let zones: Vec<Zone> =
            self.children.iter().flat_map(|children| children.active_zones()).take(ACTIVE_ZONES_MAX).collect();
        let mut answer = context.to_le_bytes().to_vec();
        answer.extend_from_slice(&(zones.len() as u16).to_le_bytes());
        answer.extend(zones.iter().flat_map(|zone| zone.to_le_bytes()));
        self.send(out, incoming.sender, t::STATESERVER_GET_ACTIVE_ZONES_RESP, &answer);
        Ok(())
    }
}
