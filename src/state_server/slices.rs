//! Hands messages to many objects, at once or slice by slice.
//!
//! Decides how much of it one turn does. What fits the allowance is done where it arrives. The rest waits in
//! [`FanOuts`](super::fan_outs::FanOuts), and a timer that is due at once brings the next slice with the next intake of the
//! executor: behind whatever the sockets and the other executors have sent meanwhile.

use super::children::Zones;
use super::deletion::zone_list;
use super::fan_outs::{Due, FanOut, FanOutLimits, Lane, Task};
use super::object::{Announcement, Incoming};
use super::{StateServer, StateServerMessage};
use crate::outbox::{Outbox, Participant, RoleMessage, RoleTimer, contained};
use crate::wire::message_type as t;
use crate::wire::{Channel, Datagram, Doid, MAX_RECIPIENTS, MessageType, Reader};
use smallvec::SmallVec;

/// How many places are looked up together.
const PLACES_AT_ONCE: usize = 256;

impl StateServer {
    /// Hands a datagram to the children of a parent, but for those that it names by their own channel.
    pub(super) fn tell_children(
        &mut self,
        parent: Doid,
        datagram: &Datagram,
        from: Participant,
        direct: &[Doid],
        out: &mut Outbox,
    ) {
        if !self.partition.children.any(parent) {
            return;
        }
        let Ok((_, message_type, payload)) = datagram.message() else { return };
        if message_type == t::STATESERVER_OBJECT_SET_LOCATION {
            // It moves those who get it, and positions are no measure while they move.
            self.tell_children_at_once(parent, datagram, from, direct, out);
            return;
        }
        if is_query(message_type) && from == Participant::Object(parent) {
            // The relay of a parent of this daemon is for children elsewhere: those here have answered the query.
            return;
        }
        let zones = zones_named(message_type, payload, parent).unwrap_or(Zones::All);
        let task = Task::Message { datagram: datagram.clone(), from };
        self.fan_out(parent, zones, task, direct, out);
    }

    fn tell_children_at_once(
        &mut self,
        parent: Doid,
        datagram: &Datagram,
        from: Participant,
        direct: &[Doid],
        out: &mut Outbox,
    ) {
        let mut children = Vec::new();
        self.partition.children.places_after(parent, &Zones::All, None, usize::MAX, &mut children);
        for (_, child) in children {
            if direct.binary_search(&child).is_err() {
                self.on_message_at(child, datagram.body(), from, out);
            }
        }
    }

    /// Hands something to children: now as far as the allowance goes, the rest in later turns.
    pub(super) fn fan_out(&mut self, parent: Doid, zones: Zones, task: Task, except: &[Doid], out: &mut Outbox) {
        let lane = task.lane();
        let number = self.partition.fan_outs.next_number();
        let except = SmallVec::from_slice(except);
        let mut fan_out = FanOut { number, parent, zones, task, except, served_to: None, answered: 0 };
        let mut allowance = *self.partition.fan_outs.allowance(lane);
        let mut is_done = self.hand_out(&mut fan_out, &mut allowance, out);
        *self.partition.fan_outs.allowance(lane) = allowance;
        if !is_done && !self.partition.fan_outs.has_room_for(&fan_out) {
            is_done = self.hand_out(&mut fan_out, &mut usize::MAX.clone(), out);
        }
        if is_done {
            self.finish(&fan_out, out);
        } else {
            out.metrics.fan_outs_deferred += 1;
            self.partition.fan_outs.wait(fan_out);
        }
        self.ask_for_slice(out);
    }

    /// Ends the objects of an AI: at once if they are one part, else part by part.
    pub(super) fn delete_ai_objects(&mut self, ai: Channel, sender: Channel, out: &mut Outbox) {
        if ai == 0 {
            // No AI. Objects that are pinned to it stay.
            return;
        }
        let Some(objects) = self.partition.take_explicit_ai(ai) else { return };
        let is_large = objects.len() > self.partition.fan_outs.ai_part_objects();
        out.metrics.fan_outs_deferred += u64::from(is_large);
        self.partition.fan_outs.delete_ai(ai, sender, objects);
        if is_large {
            self.ask_for_slice(out);
        } else {
            self.end_ai_part(out);
        }
    }

    /// The next slice. It comes with an intake of the executor, behind everything that others have sent.
    pub fn on_slice(&mut self, out: &mut Outbox) {
        self.partition.fan_outs.begin_slice();
        self.end_ai_part(out);
        let FanOutLimits { slice_objects, round_objects, .. } = self.partition.fan_outs.limits();
        for lane in Lane::ALL {
            let mut left = slice_objects;
            while left > 0
                && let Some(mut fan_out) = self.partition.fan_outs.take_next(lane)
            {
                let mut allowance = left.min(round_objects);
                // One that finds nobody counts as well: a slice ends.
                left -= 1;
                let before = allowance;
                if self.hand_out(&mut fan_out, &mut allowance, out) {
                    self.finish(&fan_out, out);
                } else {
                    self.partition.fan_outs.wait(fan_out);
                }
                left = left.saturating_sub((before - allowance).saturating_sub(1));
            }
        }
        self.ask_for_slice(out);
    }

    fn ask_for_slice(&mut self, out: &mut Outbox) {
        let fan_outs = &mut self.partition.fan_outs;
        out.metrics.fan_outs_waiting = fan_outs.waiting() as u64;
        if fan_outs.wants_slice() {
            out.timer(out.now_us, RoleTimer::StateServerSlice);
        }
    }

    /// Passes DELETE_AI_OBJECTS to the next objects that were given the AI (§2.5): all may see the message, and the objects
    /// have it at once. A creation of the same doid that was sent next finds it free, and is not what is meant.
    fn end_ai_part(&mut self, out: &mut Outbox) {
        let Some(part) = self.partition.fan_outs.take_ai_part() else { return };
        let mut named: SmallVec<[Channel; MAX_RECIPIENTS]> = SmallVec::new();
        for doid in part.objects() {
            self.settle(doid, part.number, out);
            if self.objects.contains(doid) {
                named.push(doid.into());
            }
        }
        let (message_type, body) = (t::STATESERVER_DELETE_AI_OBJECTS, part.ai.to_le_bytes());
        out.send(Participant::StateServer, &named, part.sender, message_type, &body);
        for doid in named {
            self.tell_end_of_ai(doid as Doid, part.ai, part.sender, out);
        }
    }

    /// Serves the next children. Returns whether none is left.
    fn hand_out(&mut self, fan_out: &mut FanOut, allowance: &mut usize, out: &mut Outbox) -> bool {
        let mut places = std::mem::take(&mut self.places);
        let is_done = loop {
            let limit = PLACES_AT_ONCE.min(*allowance);
            if limit == 0 {
                break false;
            }
            places.clear();
            let FanOut { parent, zones, served_to, .. } = &*fan_out;
            self.partition.children.places_after(*parent, zones, *served_to, limit, &mut places);
            *allowance -= places.len();
            out.metrics.children_visited += places.len() as u64;
            for &place in &places {
                fan_out.served_to = Some(place);
                self.hand_to(place.1, fan_out, out);
            }
            if places.len() < limit {
                break true;
            }
        };
        self.places = places;
        is_done
    }

    fn hand_to(&mut self, child: Doid, fan_out: &mut FanOut, out: &mut Outbox) {
        let FanOut { parent, number, .. } = *fan_out;
        if fan_out.except.binary_search(&child).is_ok() || self.partition.fan_outs.is_served(parent, child, number) {
            return;
        }
        self.settle(child, number, out);
        fan_out.answered += u32::from(self.perform(child, &fan_out.task, out));
    }

    fn finish(&mut self, fan_out: &FanOut, out: &mut Outbox) {
        self.partition.fan_outs.finish(fan_out.parent);
        if let Task::Query { query, asked_by, .. } = fan_out.task {
            let answer = StateServerMessage::ZoneAnswer { query, count: fan_out.answered };
            out.to_shard(asked_by, RoleMessage::StateServer(answer));
        }
    }

    /// Gives an object everything that is on its way to it from before `number`: it has arrived earlier than whatever
    /// touches the object now.
    pub(super) fn settle(&mut self, doid: Doid, number: u64, out: &mut Outbox) {
        while !self.partition.fan_outs.is_idle() {
            let Some(object) = self.objects.get(doid) else { return };
            let parent = object.parent;
            match self.partition.fan_outs.next_due(object, number) {
                None => return,
                Some(Due::Task { number, task }) => {
                    if self.perform(doid, &task, out) {
                        self.partition.fan_outs.count_answer(parent, number);
                    }
                }
                Some(Due::AiDeletion { ai, sender }) => self.end_with_ai(doid, ai, sender, out),
            }
        }
    }

    /// Gives an object everything that is on its way to it.
    pub(super) fn settle_all(&mut self, doid: Doid, out: &mut Outbox) {
        self.settle(doid, u64::MAX, out);
    }

    /// DELETE_AI_OBJECTS for one object, ahead of its turn.
    fn end_with_ai(&mut self, doid: Doid, ai: Channel, sender: Channel, out: &mut Outbox) {
        out.send(Participant::StateServer, &[doid.into()], sender, t::STATESERVER_DELETE_AI_OBJECTS, &ai.to_le_bytes());
        self.tell_end_of_ai(doid, ai, sender, out);
    }

    /// Others see the same message; the object has it now.
    fn tell_end_of_ai(&mut self, doid: Doid, ai: Channel, sender: Channel, out: &mut Outbox) {
        let (message_type, body) = (t::STATESERVER_DELETE_AI_OBJECTS, ai.to_le_bytes());
        let incoming = Incoming { from: Participant::StateServer, sender, message_type, payload: Reader::new(&body) };
        self.receive_at(doid, &incoming, out);
    }

    /// Returns whether the object has answered a query.
    fn perform(&mut self, doid: Doid, task: &Task, out: &mut Outbox) -> bool {
        match task {
            Task::Message { datagram, from } => {
                self.deliver(doid, datagram.body(), *from, out);
                false
            }
            Task::Query { context, requester, .. } => self.answer_query(doid, *context, *requester, out),
        }
    }

    /// Lets an object answer a query of its parent's. Returns whether it does: not if it is too large to be shown.
    fn answer_query(&mut self, doid: Doid, context: u32, requester: Channel, out: &mut Outbox) -> bool {
        let Some(object) = self.objects.get(doid) else { return false };
        let partition = &mut self.partition;
        let announcement = Announcement::enter_interest(context);
        let answered =
            contained(out, Participant::Object(doid), |out| object.announce(partition, out, requester, &announcement));
        if answered.is_none() {
            self.end_after_panic(doid, out);
        }
        answered.unwrap_or(false)
    }
}

fn is_query(message_type: MessageType) -> bool {
    matches!(
        message_type,
        t::STATESERVER_OBJECT_GET_ZONE_OBJECTS
            | t::STATESERVER_OBJECT_GET_ZONES_OBJECTS
            | t::STATESERVER_OBJECT_GET_CHILDREN
    )
}

/// The zones whose children a message concerns, if it names the parent and zones: the others need not look at it.
fn zones_named(message_type: MessageType, mut payload: Reader, parent: Doid) -> Option<Zones> {
    let is_plural = match message_type {
        t::STATESERVER_OBJECT_GET_ZONE_OBJECTS | t::STATESERVER_OBJECT_DELETE_ZONE => false,
        t::STATESERVER_OBJECT_GET_ZONES_OBJECTS | t::STATESERVER_OBJECT_DELETE_ZONES => true,
        _ => return None,
    };
    if is_query(message_type) {
        // The context.
        payload.u32().ok()?;
    }
    let names_parent = payload.doid().ok()? == parent;
    let zones = zone_list(&mut payload, is_plural).ok().filter(|_| names_parent)?;
    Some(Zones::listed(zones))
}
