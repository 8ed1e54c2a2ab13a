//! One live object: its state, how a message finds its handler, and the snapshots that others see of it.
//!
//! An object touches its own state and the indexes of its partition, never another object. What it does about each
//! message is in `fields`, `location`, `ai_and_owner`, `parent` and `deletion`.

use super::children::Children;
use super::layout::{ClassLayout, Filter};
use super::partition::Partition;
use super::values::Values;
use crate::outbox::{Outbox, Participant};
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, MAX_BODY_BYTES, MessageType, Reader, Truncated, Zone, location_channel};
use smallvec::SmallVec;

/// A message on its way into an object.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Who sent it, as the Message Director knows it.
    pub from: Participant,
    /// The sender that the message names: the S of the specification.
    pub sender: Channel,
    pub message_type: MessageType,
    pub payload: Reader<'a>,
}

/// Whether a message could be read; a body that ends early is the only way to fail.
pub type Handled = Result<(), Truncated>;

/// What becomes of an object after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lives,
    /// It has said so to everybody; its partition forgets it.
    Ends,
}

/// Up to a handful of recipients, which the outbox sorts and makes unique.
pub type Recipients = SmallVec<[Channel; 6]>;

/// A live distributed object (§2.2).
#[derive(Debug)]
pub struct Object {
    pub doid: Doid,
    pub class: u16,
    /// The AI was set for this object and is not its parent's.
    pub ai_is_explicit: bool,
    /// The parent has acknowledged the present location.
    pub parent_synchronized: bool,
    pub parent: Doid,
    pub zone: Zone,
    /// 0 = none, here and in `owner`.
    pub ai: Channel,
    pub owner: Channel,
    pub next_context: u32,
    /// Zone queries that this object has begun and not answered.
    pub open_queries: u32,
    pub values: Values,
    /// `None` while it never had a child.
    pub children: Option<Box<Children>>,
}

impl Object {
    /// An object without location, AI and owner.
    pub fn new(doid: Doid, class: u16, values: Values) -> Self {
        Self {
            doid,
            class,
            ai_is_explicit: false,
            parent_synchronized: false,
            parent: 0,
            zone: 0,
            ai: 0,
            owner: 0,
            next_context: 0,
            open_queries: 0,
            values,
            children: None,
        }
    }

    /// Handles a message of any type. A body that ends early is refused and has had no effect, but for the elements of a
    /// SET_FIELDS that came before the end.
    pub fn receive(&mut self, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> Fate {
        self.dispatch(incoming, partition, out).unwrap_or_else(|error| {
            let (class, doid) = (partition.class_name(self.class), self.doid);
            let (message, sender) = (incoming.message_type, incoming.sender);
            let line = format_args!("{message} from {sender} to object {doid} of class {class} refused: {error}");
            partition.refusals.refuse(out, line);
            Fate::Lives
        })
    }

    fn dispatch(
        &mut self,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Result<Fate, Truncated> {
        match incoming.message_type {
            t::STATESERVER_OBJECT_SET_FIELD
            | t::STATESERVER_OBJECT_SET_FIELDS
            | t::STATESERVER_OBJECT_GET_FIELD
            | t::STATESERVER_OBJECT_GET_FIELDS
            | t::STATESERVER_OBJECT_GET_ALL
            | t::STATESERVER_OBJECT_DELETE_FIELD_RAM
            | t::STATESERVER_OBJECT_DELETE_FIELDS_RAM => self.on_field_message(incoming, partition, out)?,
            t::STATESERVER_OBJECT_GET_CLASS => self.on_get_class(incoming, out)?,

            t::STATESERVER_OBJECT_SET_LOCATION => self.on_set_location(incoming, partition, out)?,
            t::STATESERVER_OBJECT_GET_LOCATION => self.on_get_location(incoming, out)?,
            t::STATESERVER_OBJECT_LOCATION_ACK => self.on_location_ack(incoming)?,
            t::STATESERVER_OBJECT_CHANGING_LOCATION => self.on_child_moved(incoming, out)?,
            t::STATESERVER_OBJECT_GET_LOCATION_RESP => self.on_child_answered(incoming, out)?,

            t::STATESERVER_OBJECT_SET_AI => self.on_set_ai(incoming, partition, out)?,
            t::STATESERVER_OBJECT_CHANGING_AI | t::STATESERVER_OBJECT_GET_AI_RESP => {
                self.on_ai_of_parent(incoming, partition, out)?;
            }
            t::STATESERVER_OBJECT_GET_AI => {
                self.answer_channel(incoming, t::STATESERVER_OBJECT_GET_AI_RESP, self.ai, out)?;
            }
            t::STATESERVER_OBJECT_SET_OWNER => self.on_set_owner(incoming, partition, out)?,
            t::STATESERVER_OBJECT_GET_OWNER => {
                self.answer_channel(incoming, t::STATESERVER_OBJECT_GET_OWNER_RESP, self.owner, out)?;
            }

            t::STATESERVER_OBJECT_GET_ZONE_OBJECTS
            | t::STATESERVER_OBJECT_GET_ZONES_OBJECTS
            | t::STATESERVER_OBJECT_GET_CHILDREN => self.on_query(incoming, partition, out)?,
            t::STATESERVER_OBJECT_GET_ZONE_COUNT => self.on_get_zone_count(incoming, out)?,
            t::STATESERVER_OBJECT_GET_ZONES_COUNT => self.on_get_zones_count(incoming, out)?,
            t::STATESERVER_OBJECT_GET_CHILD_COUNT => self.on_get_child_count(incoming, out)?,
            t::STATESERVER_GET_ACTIVE_ZONES => self.on_get_active_zones(incoming, partition, out)?,

            t::STATESERVER_OBJECT_DELETE_RAM => return self.on_delete_ram(incoming, out),
            t::STATESERVER_DELETE_AI_OBJECTS => return self.on_delete_ai_objects(incoming, out),
            t::STATESERVER_OBJECT_DELETE_ZONE | t::STATESERVER_OBJECT_DELETE_ZONES => {
                return self.on_delete_zones(incoming, out);
            }
            t::STATESERVER_OBJECT_DELETE_CHILDREN => return self.on_delete_children(incoming, out),

            // Notices to locations, AIs and owners, whose channel may happen to be an object's, and what a DBSS handles.
            message_type => {
                let (doid, sender) = (self.doid, incoming.sender);
                if message_type.name().is_none() {
                    out.metrics.unknown_messages += 1;
                    let line = format_args!("{message_type} of {sender} to object {doid} is unknown; ignored");
                    partition.refusals.note(out.now_us, line);
                } else {
                    tracing::debug!(doid, %message_type, sender, "ignored");
                }
            }
        }
        Ok(Fate::Lives)
    }

    /// The participant that this object is.
    pub fn participant(&self) -> Participant {
        Participant::Object(self.doid)
    }

    /// Sends in the object's own name.
    pub fn send(&self, out: &mut Outbox, to: Channel, message_type: MessageType, payload: &[u8]) {
        out.send(self.participant(), &[to], self.doid.into(), message_type, payload);
    }

    /// Sends in the name of the one whose message caused this.
    pub fn send_for(
        &self,
        out: &mut Outbox,
        to: &[Channel],
        sender: Channel,
        message_type: MessageType,
        payload: &[u8],
    ) {
        out.send(self.participant(), to, sender, message_type, payload);
    }

    /// The channel of everything that sees this object. Without a parent there is none: `0 << 32 | zone` would be
    /// somebody's object channel (SS-27).
    pub fn location(&self) -> Option<Channel> {
        (self.parent != 0).then(|| location_channel(self.parent, self.zone))
    }

    /// Adds the AI and the owner, as far as there are any.
    pub fn add_ai_and_owner(&self, recipients: &mut Recipients) {
        recipients.extend([self.ai, self.owner].into_iter().filter(|&channel| channel != 0));
    }

    /// Appends doid, parent, zone, class, REQUIRED, and OTHER if any field that is not required is set (§1.5 rule 1) or
    /// `always_other`. Returns whether OTHER is there.
    pub fn write_snapshot(
        &self,
        layout: &ClassLayout,
        filter: Filter,
        always_other: bool,
        payload: &mut Vec<u8>,
    ) -> bool {
        payload.extend_from_slice(&self.doid.to_le_bytes());
        payload.extend_from_slice(&self.parent.to_le_bytes());
        payload.extend_from_slice(&self.zone.to_le_bytes());
        payload.extend_from_slice(&self.class.to_le_bytes());
        self.values.write_required(layout, filter, payload);
        let other = always_other || self.values.has_other(layout);
        if other {
            self.values.write_other(layout, filter, payload);
        }
        other
    }

    /// Announces the object with a snapshot: `plain` or, where OTHER is there, `with_other`. Returns whether the message
    /// fits a frame; one that does not is dropped (SS-48).
    pub fn announce(
        &self,
        partition: &mut Partition,
        out: &mut Outbox,
        to: Channel,
        announcement: &Announcement,
    ) -> bool {
        let mut payload = partition.take_scratch();
        if let Some(context) = announcement.context {
            payload.extend_from_slice(&context.to_le_bytes());
        }
        let layout = partition.layout(self.class);
        let other = self.write_snapshot(layout, announcement.filter, announcement.always_other, &mut payload);
        let message_type = if other { announcement.with_other } else { announcement.plain };
        let fits = self.send_large(&[to], self.doid.into(), message_type, &payload, partition, out);
        partition.give_scratch_back(payload);
        fits
    }

    /// Sends what may be too long for a frame: it is dropped then, with a line that says which object it is about.
    /// Returns whether it fits.
    pub fn send_large(
        &self,
        to: &[Channel],
        sender: Channel,
        message_type: MessageType,
        payload: &[u8],
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> bool {
        let body_bytes = header_bytes(to.len()) + payload.len();
        if body_bytes <= MAX_BODY_BYTES {
            out.send(self.participant(), to, sender, message_type, payload);
            return true;
        }
        out.metrics.oversized_messages_dropped += 1;
        let (class, doid) = (partition.class_name(self.class), self.doid);
        let line = format_args!(
            "{message_type} of object {doid} of class {class} from {sender} to {to:?} dropped: {body_bytes} bytes do not fit \
             a frame"
        );
        partition.refusals.note(out.now_us, line);
        false
    }
}

/// Recipient count, recipients, sender and message type of a message (§1.1).
pub const fn header_bytes(recipients: usize) -> usize {
    1 + recipients * size_of::<Channel>() + size_of::<Channel>() + size_of::<u16>()
}

/// A message that shows an object to somebody.
#[derive(Clone, Copy, Debug)]
pub struct Announcement {
    pub plain: MessageType,
    pub with_other: MessageType,
    pub filter: Filter,
    pub always_other: bool,
    /// Comes first, where the message has one.
    pub context: Option<u32>,
}

impl Announcement {
    pub const ENTER_LOCATION: Self = Self {
        plain: t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED,
        with_other: t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER,
        filter: Filter::Client,
        always_other: false,
        context: None,
    };
    pub const ENTER_AI: Self = Self {
        plain: t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED,
        with_other: t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER,
        filter: Filter::All,
        always_other: false,
        context: None,
    };
    pub const ENTER_OWNER: Self = Self {
        plain: t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED,
        with_other: t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED_OTHER,
        filter: Filter::Owner,
        always_other: false,
        context: None,
    };

    pub const fn enter_interest(context: u32) -> Self {
        Self {
            plain: t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED,
            with_other: t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER,
            filter: Filter::Client,
            always_other: false,
            context: Some(context),
        }
    }

    /// OTHER is always there, with count 0 if need be (§1.5 rule 2).
    pub const fn get_all_resp(context: u32) -> Self {
        Self {
            plain: t::STATESERVER_OBJECT_GET_ALL_RESP,
            with_other: t::STATESERVER_OBJECT_GET_ALL_RESP,
            filter: Filter::All,
            always_other: true,
            context: Some(context),
        }
    }
}
