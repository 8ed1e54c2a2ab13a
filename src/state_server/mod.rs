//! State Server: one executor's partition of the live objects, those of State Servers and of Database State Servers.
//!
//! Decides what live objects do (`protocol-ss-dbss-db.md` §2). It never routes: which executor a message goes to, who is
//! subscribed to a location, and that a message is not given back to its sender's connection is the Message Director's
//! business. An object never touches another one; what objects say to each other are datagrams and cross the Message
//! Director, even between two objects of one executor.

mod ai_and_owner;
mod children;
mod creation;
mod deletion;
mod fields;
mod layout;
mod location;
mod object;
mod parent;
mod partition;
mod refusals;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use fields::parts;
pub(crate) use layout::{Filter, Layouts};
pub use parent::QueriedZones;
pub(crate) use refusals::RefusalLog;
pub use values::Values;

use crate::outbox::{Outbox, Participant, RoleMessage, contained};
use crate::wire::message_type as t;
use crate::wire::{Channel, Datagram, Doid, Zone};
use donet_dc::{Contract, Keywords, TextPolicy};
use donet_shards::ShardId;
use hashbrown::HashMap;
use object::{Announcement, Fate, Incoming, Object};
use partition::Partition;
use smallvec::SmallVec;
use std::sync::Arc;

/// Between the partitions of one daemon: never on the wire.
#[derive(Debug)]
pub enum StateServerMessage {
    /// A parent asks every executor to let its children in these zones answer the requester.
    ZoneQuery { query: u64, parent: Doid, context: u32, requester: Channel, zones: QueriedZones },
    /// So many of this executor's children have answered.
    ZoneAnswer { query: u64, count: u32 },
}

/// A stored object to be made live.
#[derive(Debug)]
pub struct Activation {
    pub doid: Doid,
    pub class: u16,
    pub parent: Doid,
    pub zone: Zone,
    pub values: Values,
    /// In whose name the object comes to its location: the S of its CHANGING_LOCATION.
    pub sender: Channel,
}

/// Who sees a live object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// The location's channel, if the object has a parent.
    pub location: Option<Channel>,
    pub ai: Option<Channel>,
    pub owner: Option<Channel>,
}

/// One executor's partition of the live objects.
pub struct StateServer {
    objects: HashMap<Doid, Object>,
    partition: Partition,
}

/// Channels below are the channels of objects; those from here to twice as much are children channels (§1.2).
const CHILDREN_CHANNELS: Channel = 1 << 32;

impl StateServer {
    pub fn new(contract: Arc<Contract>, text: TextPolicy) -> Self {
        Self { objects: HashMap::new(), partition: Partition::new(contract, text) }
    }

    /// Whether an object is live on this executor.
    pub fn is_live(&self, doid: Doid) -> bool {
        self.objects.contains_key(&doid)
    }

    /// The number of live objects on this executor.
    pub fn live_objects(&self) -> usize {
        self.objects.len()
    }

    /// Handles a message to a State Server's control channel or to channel 12: creations of doids that belong to this
    /// executor, and DELETE_AI_OBJECTS, which every executor gets.
    pub fn on_control(&mut self, datagram: &Datagram, out: &mut Outbox) {
        let Ok((sender, message_type, payload)) = datagram.message() else {
            tracing::debug!("a control message without a message is ignored");
            return;
        };
        contained(out, Participant::StateServer, |out| match message_type {
            t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED | t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER => {
                let with_other = message_type == t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER;
                let exists = |doid| self.objects.contains_key(&doid);
                match creation::read_creation(payload, with_other, &mut self.partition, exists) {
                    Ok(new) => {
                        let creation::Creation { doid, class, parent, zone, values, ended_by } = new;
                        if let Some(field) = ended_by {
                            let class = self.partition.class_name(class);
                            let line = format_args!(
                                "{message_type} of object {doid} from {sender}: OTHER is ignored from field {field} on, \
                                 which class {class} does not have"
                            );
                            self.partition.refusals.note(out.now_us, line);
                        }
                        self.activate(Activation { doid, class, parent, zone, values, sender }, out);
                    }
                    Err(refusal) => {
                        let line = format_args!("{message_type} from {sender} refused: {refusal}");
                        self.partition.refusals.refuse(out, line);
                    }
                }
            }
            t::STATESERVER_DELETE_AI_OBJECTS => match { payload }.channel() {
                Ok(ai) => self.delete_ai_objects(ai, sender, payload.rest(), out),
                Err(error) => {
                    let line = format_args!("{message_type} from {sender} refused: {error}");
                    self.partition.refusals.refuse(out, line);
                }
            },
            _ => {
                out.metrics.unknown_messages += 1;
                let line = format_args!("{message_type} of {sender} is none that the State Server knows; ignored");
                self.partition.refusals.note(out.now_us, line);
            }
        });
    }

    /// Passes DELETE_AI_OBJECTS to the objects that were given this AI (§2.5). AI 0 is no AI.
    fn delete_ai_objects(&mut self, ai: Channel, sender: Channel, payload: &[u8], out: &mut Outbox) {
        if ai != 0 {
            let objects: Vec<Channel> = self.partition.with_explicit_ai(ai).map(Channel::from).collect();
            let message_type = t::STATESERVER_DELETE_AI_OBJECTS;
            out.send(Participant::StateServer, &objects, sender, message_type, &payload[..size_of_val(&ai)]);
        }
    }

    /// Makes an object live: it takes its place, and calls for children that came before it (§2.4 step 7). Returns false,
    /// with nothing done, if there is one of that doid or the contract has no such class.
    pub fn activate(&mut self, object: Activation, out: &mut Outbox) -> bool {
        let Activation { doid, class, parent, zone, values, sender } = object;
        if self.objects.contains_key(&doid) || self.partition.layouts.get(class).is_none() {
            return false;
        }
        if crate::wire::is_reserved_doid(doid) {
            let line = format_args!("object {doid} of {sender} has a reserved doid");
            self.partition.refusals.note(out.now_us, line);
        }
        let partition = &mut self.partition;
        let object = self.objects.entry(doid).insert(Object::new(doid, class, values)).into_mut();
        out.metrics.objects += 1;
        let entered = contained(out, Participant::Object(doid), |out| {
            object.move_to((parent, zone), sender, partition, out);
            object.wake_children(out);
        });
        if entered.is_none() {
            self.end_after_panic(doid, out);
        }
        true
    }

    /// Handles a datagram at every live object of this executor that it is addressed to: by its own channel or by its
    /// parent's children channel. Each handles it once, and the object that sent it does not.
    pub fn on_datagram(&mut self, datagram: &Datagram, from: Participant, out: &mut Outbox) {
        let mut matched: SmallVec<[Doid; 16]> = SmallVec::new();
        for recipient in datagram.recipients() {
            let low = recipient as u32;
            if recipient < CHILDREN_CHANNELS {
                matched.push(low);
            } else if recipient < 2 * CHILDREN_CHANNELS {
                matched.extend(self.partition.children.of(low));
            }
        }
        if matched.len() > 1 {
            matched.sort_unstable();
            matched.dedup();
        }
        for doid in matched {
            self.on_datagram_at(doid, datagram, from, out);
        }
    }

    /// Handles a datagram at one object, if it is live here and did not send it.
    pub fn on_datagram_at(&mut self, doid: Doid, datagram: &Datagram, from: Participant, out: &mut Outbox) {
        let Ok((sender, message_type, payload)) = datagram.message() else {
            tracing::debug!(doid, "a datagram without a message is ignored");
            return;
        };
        if from == Participant::Object(doid) {
            return;
        }
        let Some(object) = self.objects.get_mut(&doid) else { return };
        let partition = &mut self.partition;
        let incoming = Incoming { from, sender, message_type, payload };
        match contained(out, Participant::Object(doid), |out| object.receive(&incoming, partition, out)) {
            Some(Fate::Lives) => {}
            Some(Fate::Ends) => self.forget(doid, out),
            None => self.end_after_panic(doid, out),
        }
    }

    /// Handles a message of another partition, or of this one to itself.
    pub fn on_message(&mut self, from: ShardId, message: StateServerMessage, out: &mut Outbox) {
        match message {
            StateServerMessage::ZoneQuery { query, parent, context, requester, zones } => {
                let count = self.answer_zone_query(parent, context, requester, &zones, out);
                let answer = StateServerMessage::ZoneAnswer { query, count };
                out.to_shard(from, RoleMessage::StateServer(answer));
            }
            StateServerMessage::ZoneAnswer { query, count } => self.count_zone_answer(query, count, out),
        }
    }

    /// Lets the children of this executor answer a query of their parent. Returns how many did.
    fn answer_zone_query(
        &mut self,
        parent: Doid,
        context: u32,
        requester: Channel,
        zones: &QueriedZones,
        out: &mut Outbox,
    ) -> u32 {
        let index = &self.partition.children;
        let children: Vec<Doid> = match zones {
            QueriedZones::All => index.of(parent).collect(),
            QueriedZones::Listed(zones) => zones.iter().flat_map(|&zone| index.in_zone(parent, zone)).collect(),
        };
        let announcement = Announcement::enter_interest(context);
        let mut count = 0;
        for doid in children {
            let Some(object) = self.objects.get(&doid) else { continue };
            let partition = &mut self.partition;
            let answered = contained(out, Participant::Object(doid), |out| {
                object.announce(partition, out, requester, &announcement)
            });
            match answered {
                Some(fits) => count += u32::from(fits),
                None => self.end_after_panic(doid, out),
            }
        }
        count
    }

    /// Adds an executor's answer to its query; with the last one the parent answers.
    fn count_zone_answer(&mut self, query: u64, count: u32, out: &mut Outbox) {
        // A query that is not there has lost its parent.
        let Some(open) = self.partition.queries.get_mut(&query) else { return };
        open.count += count;
        open.waiting -= 1;
        if open.waiting > 0 {
            return;
        }
        let Some(open) = self.partition.queries.remove(&query) else { return };
        let Some(object) = self.objects.get_mut(&open.parent) else { return };
        let doid = open.parent;
        if contained(out, Participant::Object(doid), |out| object.close_query(&open, out)).is_none() {
            self.end_after_panic(doid, out);
        }
    }

    /// Forgets an object that has said goodbye.
    fn forget(&mut self, doid: Doid, out: &mut Outbox) {
        let Some(object) = self.objects.remove(&doid) else { return };
        out.metrics.objects -= 1;
        self.partition.children.remove(object.parent, object.zone, doid);
        if object.ai_is_explicit {
            self.partition.remove_explicit_ai(object.ai, doid);
        }
        if object.open_queries > 0 {
            self.partition.queries.retain(|_, query| query.parent != doid);
        }
    }

    /// Ends an object whose handler has panicked. It still says goodbye, so that nobody keeps a ghost of it, unless even
    /// that panics.
    fn end_after_panic(&mut self, doid: Doid, out: &mut Outbox) {
        if let Some(object) = self.objects.get_mut(&doid) {
            contained(out, Participant::Object(doid), |out| object.annihilate(doid.into(), true, out));
        }
        self.forget(doid, out);
    }

    /// Replaces a stored value of a live object, or takes it away, because the database has done so: nobody is told. A
    /// required field falls back to its default. What the contract does not allow is ignored.
    pub(crate) fn refresh(&mut self, doid: Doid, field: u16, value: Option<&[u8]>, out: &mut Outbox) {
        let Some(object) = self.objects.get_mut(&doid) else { return };
        let partition = &self.partition;
        if contained(out, Participant::Object(doid), |_| object.refresh(field, value, partition)).is_none() {
            self.end_after_panic(doid, out);
        }
    }

    /// Who sees an object, if it is live here.
    pub(crate) fn audience(&self, doid: Doid) -> Option<Audience> {
        let object = self.objects.get(&doid)?;
        let channel = |channel: Channel| (channel != 0).then_some(channel);
        Some(Audience { location: object.location(), ai: channel(object.ai), owner: channel(object.owner) })
    }

    /// Who hears of a change to a field with these keywords that `sender` makes (§2.6), if the object is live here.
    pub(crate) fn update_recipients(
        &self,
        doid: Doid,
        keywords: Keywords,
        sender: Channel,
    ) -> Option<SmallVec<[Channel; 6]>> {
        Some(self.objects.get(&doid)?.update_recipients(keywords, sender))
    }
}
