//! State Server: one executor's partition of the live objects, those of State Servers and of Database State Servers.
//!
//! Decides what live objects do (`protocol-ss-dbss-db.md` §2). It never routes: which executor a message goes to, who is
//! subscribed to a location, and that a message is not given back to its sender's connection is the Message Director's
//! business. An object never touches another one; what objects say to each other are datagrams and cross the Message
//! Director, even between two objects of one executor.

mod ai_and_owner;
mod ai_changes;
mod children;
mod creation;
mod deletion;
mod fan_outs;
mod fields;
mod layout;
mod location;
mod object;
mod objects;
mod parent;
mod partition;
mod refusals;
mod report;
mod slices;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod values;

pub use children::Zones;
pub use fan_outs::FanOutLimits;
pub(crate) use fields::parts;
pub(crate) use layout::{Filter, Layouts};
pub(crate) use refusals::RefusalLog;
pub use values::Values;

use crate::outbox::{Outbox, Participant, contained};
use crate::wire::message_type as t;
use crate::wire::{Channel, Datagram, Doid, MessageType, Zone, children_channel, message_of};
use children::Place;
use creation::{Creation, LeftOut};
use donet_dc::{Contract, Keywords, TextPolicy};
use donet_shards::ShardId;
use fan_outs::Task;
use object::{Fate, Incoming, Object};
use objects::Objects;
use partition::Partition;
use smallvec::SmallVec;
use std::sync::Arc;

/// Between the partitions of one daemon: never on the wire.
#[derive(Debug)]
pub enum StateServerMessage {
    /// A parent asks every executor to let its children in these zones answer the requester.
    ZoneQuery { query: u64, parent: Doid, context: u32, requester: Channel, zones: Zones },
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
    objects: Objects,
    partition: Partition,
    /// The children at hand; kept for its memory.
    places: Vec<Place>,
}

/// Channels below are the channels of objects; those from here to twice as much are children channels (§1.2).
const CHILDREN_CHANNELS: Channel = 1 << 32;

impl StateServer {
    pub fn new(contract: Arc<Contract>, text: TextPolicy, limits: FanOutLimits) -> Self {
        Self { objects: Objects::default(), partition: Partition::new(contract, text, limits), places: Vec::new() }
    }

    /// Whether an object is live on this executor.
    pub fn is_live(&self, doid: Doid) -> bool {
        self.objects.contains(doid)
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
                if let Ok(doid) = { payload }.doid() {
                    self.settle_all(doid, out);
                }
                let with_other = message_type == t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER;
                let exists = |doid| self.objects.contains(doid);
                match creation::read_creation(payload, with_other, &mut self.partition, exists) {
                    Ok(new) => {
                        let Creation { doid, class, parent, zone, values, left_out } = new;
                        self.note_left_out(doid, class, left_out, (message_type, sender), out);
                        self.activate(Activation { doid, class, parent, zone, values, sender }, out);
                    }
                    Err(refusal) => {
                        let line = format_args!("{message_type} from {sender} refused: {refusal}");
                        self.partition.refusals.refuse(out, line);
                    }
                }
            }
            t::STATESERVER_DELETE_AI_OBJECTS => match { payload }.channel() {
                Ok(ai) => self.delete_ai_objects(ai, sender, out),
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

    /// Says what of a creation's OTHER section the object does not have.
    fn note_left_out(
        &mut self,
        doid: Doid,
        class: u16,
        left_out: LeftOut,
        (message_type, sender): (MessageType, Channel),
        out: &Outbox,
    ) {
        if left_out == LeftOut::default() {
            return;
        }
        let class = self.partition.class_name(class);
        let head = format_args!("{message_type} from {sender} of object {doid} of class {class}: OTHER");
        let refusals = &mut self.partition.refusals;
        if let Some(field) = left_out.not_kept {
            refusals.note(out.now_us, format_args!("{head} has field {field}, which is not ram and is left out"));
        }
        if let Some(field) = left_out.unknown {
            refusals.note(
                out.now_us,
                format_args!("{head} is ignored from field {field} on, which the class does not have"),
            );
        }
    }

    /// Makes an object live: it takes its place, and calls for children that came before it (§2.4 step 7). Returns false,
    /// with nothing done, if there is one of that doid or the contract has no such class.
    pub fn activate(&mut self, object: Activation, out: &mut Outbox) -> bool {
        let Activation { doid, class, parent, zone, values, sender } = object;
        self.settle_all(doid, out);
        if self.objects.contains(doid) || self.partition.layouts.get(class).is_none() {
            return false;
        }
        if crate::wire::is_reserved_doid(doid) {
            let line = format_args!("object {doid} of {sender} has a reserved doid");
            self.partition.refusals.note(out.now_us, line);
        }
        let partition = &mut self.partition;
        let object = self.objects.insert(Object::new(doid, class, values));
        out.metrics.objects += 1;
        out.reach(doid.into());
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
        if from == Participant::StateServer {
            // It passes on DELETE_AI_OBJECTS, and that the objects have had.
            return;
        }
        let mut direct: SmallVec<[Doid; 16]> = SmallVec::new();
        let mut parents: SmallVec<[Doid; 4]> = SmallVec::new();
        for recipient in datagram.recipients() {
            if recipient < CHILDREN_CHANNELS {
                direct.push(recipient as Doid);
            } else if recipient < 2 * CHILDREN_CHANNELS {
                parents.push(recipient as Doid);
            }
        }
        for doids in [&mut direct[..], &mut parents[..]] {
            doids.sort_unstable();
        }
        direct.dedup();
        parents.dedup();
        for &doid in &direct {
            self.on_message_at(doid, datagram.body(), from, out);
        }
        for parent in parents {
            self.tell_children(parent, datagram, from, &direct, out);
        }
    }

    /// Looks at objects that are about to be changed: their memory is at hand then.
    pub fn look_at(&self, doids: &[Doid]) {
        for &doid in doids {
            std::hint::black_box(self.objects.get(doid).map(|object| object.values.touch()));
        }
    }

    /// Handles a datagram's body at one object, if it is live here and did not send it.
    pub fn on_message_at(&mut self, doid: Doid, body: &[u8], from: Participant, out: &mut Outbox) {
        self.settle_all(doid, out);
        self.deliver(doid, body, from, out);
    }

    fn deliver(&mut self, doid: Doid, body: &[u8], from: Participant, out: &mut Outbox) {
        let Ok((sender, message_type, payload)) = message_of(body) else {
            tracing::debug!(doid, "a datagram without a message is ignored");
            return;
        };
        if from != Participant::Object(doid) {
            self.receive_at(doid, &Incoming { from, sender, message_type, payload }, out);
        }
    }

    fn receive_at(&mut self, doid: Doid, incoming: &Incoming, out: &mut Outbox) {
        let Some(object) = self.objects.get_mut(doid) else { return };
        out.metrics.object_messages += 1;
        let partition = &mut self.partition;
        match contained(out, Participant::Object(doid), |out| object.receive(incoming, partition, out)) {
            Some(Fate::Lives) => {}
            Some(Fate::Ends) => self.forget(doid, out),
            None => self.end_after_panic(doid, out),
        }
    }

    /// Ends a period of [`ai_changes`]: who has not followed its parent in it asks what the AI is by now.
    pub fn on_ai_period(&mut self, out: &mut Outbox) {
        for doid in self.partition.ai_changes.end_period() {
            let Some(object) = self.objects.get_mut(doid) else { continue };
            if object.parent != 0 && !object.ai_is_explicit {
                contained(out, Participant::Object(doid), |out| object.ask_parent_for_ai(out));
            }
        }
    }

    /// Handles a message of another partition, or of this one to itself.
    pub fn on_message(&mut self, from: ShardId, message: StateServerMessage, out: &mut Outbox) {
        match message {
            StateServerMessage::ZoneQuery { query, parent, context, requester, zones } => {
                let task = Task::Query { query, asked_by: from, context, requester };
                self.fan_out(parent, zones, task, &[], out);
            }
            StateServerMessage::ZoneAnswer { query, count } => self.count_zone_answer(query, count, out),
        }
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
        let Some(object) = self.objects.get_mut(open.parent) else { return };
        let doid = open.parent;
        if contained(out, Participant::Object(doid), |out| object.close_query(&open, out)).is_none() {
            self.end_after_panic(doid, out);
        }
    }

    /// Forgets an object that has said goodbye.
    fn forget(&mut self, doid: Doid, out: &mut Outbox) {
        let Some(object) = self.objects.remove(doid) else { return };
        out.metrics.objects -= 1;
        if self.partition.children.remove(object.parent, object.zone, doid) {
            out.unreach(children_channel(object.parent));
        }
        out.unreach(doid.into());
        if object.ai_is_explicit {
            self.partition.remove_explicit_ai(object.ai, doid);
            self.partition.fan_outs.forget_ai_of(&object);
        }
        if object.open_queries > 0 {
            self.partition.queries.retain(|_, query| query.parent != doid);
        }
    }

    /// Ends an object whose handler has panicked. It still says goodbye, so that nobody keeps a ghost of it, unless even
    /// that panics.
    fn end_after_panic(&mut self, doid: Doid, out: &mut Outbox) {
        if let Some(object) = self.objects.get_mut(doid) {
            contained(out, Participant::Object(doid), |out| object.annihilate(doid.into(), true, out));
        }
        self.forget(doid, out);
    }

    /// Replaces a stored value of a live object, or takes it away, because the database has done so: nobody is told. A
    /// required field falls back to its default. What the contract does not allow is ignored.
    pub(crate) fn refresh(&mut self, doid: Doid, field: u16, value: Option<&[u8]>, out: &mut Outbox) {
        self.settle_all(doid, out);
        let Some(object) = self.objects.get_mut(doid) else { return };
        let partition = &self.partition;
        if contained(out, Participant::Object(doid), |_| object.refresh(field, value, partition)).is_none() {
            self.end_after_panic(doid, out);
        }
    }

    /// Who sees an object, if it is live here.
    pub(crate) fn audience(&self, doid: Doid) -> Option<Audience> {
        let object = self.objects.get(doid)?;
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
        Some(self.objects.get(doid)?.update_recipients(keywords, sender))
    }
}
