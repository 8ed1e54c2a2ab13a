//! What clients do.

use crate::simulation::cast::{ORDINARY, SERVER_INTEREST, Thing};
use crate::simulation::contract::{self, Value};
use crate::simulation::play::Play;
use donet::wire::{Doid, Encoder, Zone, message_type as t};
use std::collections::BTreeSet;

/// The interest that is opened where something is just going; other acts close it again, too.
const MEETING_INTEREST: u16 = 2;

impl Play {
    pub fn client_acts(&mut self) {
        let Some(number) = self.established() else { return };
        match self.random.below(13) {
            12 => self.blink(number),
            0..=2 => self.change_interest(number),
            3 | 4 => self.meet(number),
            5..=7 => self.write_shared(number),
            8 | 9 => self.use_own(number),
            10 => self.send_client(number, Encoder::client(t::CLIENT_HEARTBEAT)),
            _ if self.random.below(6) == 0 => self.end_client(number),
            _ => {}
        }
    }

    /// Something that a client sees goes to a zone that the client is just opening, and changes there: an update between
    /// the two must not be missed.
    fn meet(&mut self, number: usize) {
        let can_go = |doid: &&Doid| {
            let thing = self.things.get(*doid).filter(|_| ORDINARY.contains(*doid));
            thing.is_some_and(|thing| thing.owner == 0 && !thing.owner_changed)
        };
        let candidates: Vec<Doid> = self.clients[number].view.visible.keys().filter(can_go).copied().collect();
        if candidates.is_empty() {
            return self.change_interest(number);
        }
        let doid = candidates[self.random.below(candidates.len())];
        let Thing { keeper, server, .. } = self.things[&doid];
        let (parent, zone) = self.settled_place_on(&[server]);
        self.note_interest(number, MEETING_INTEREST, Some((parent, [zone].into())));
        let context = self.next_context(number);
        let add = Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(MEETING_INTEREST).doid(parent).zone(zone);
        self.send_client(number, add);
        self.move_to(keeper, doid, (parent, zone));
        for _ in 0..1 + self.random.below(3) {
            self.set_value(doid);
        }
    }

    /// A client closes an interest and opens it again at once, and something is just coming there, and goes: it must not stay
    /// in the view for want of a word that fell between the two.
    fn blink(&mut self, number: usize) {
        // A parent that has gone does not answer.
        let is_settled = |parent: &Doid| self.things.get(parent).is_some_and(|thing| thing.is_settled);
        let interests = self.clients[number].interests.iter();
        let open = interests.filter(|&(&id, (parent, _))| id < SERVER_INTEREST && is_settled(parent));
        let open: Vec<u16> = open.map(|(&id, _)| id).collect();
        let free = self.things.range(ORDINARY).filter(|(_, thing)| thing.owner == 0 && !thing.owner_changed);
        let free: Vec<Doid> = free.map(|(&doid, _)| doid).collect();
        if open.is_empty() || free.is_empty() {
            return self.change_interest(number);
        }
        let id = open[self.random.below(open.len())];
        let (parent, zones) = self.clients[number].interests[&id].clone();
        let doid = free[self.random.below(free.len())];
        let Thing { keeper, server, .. } = self.things[&doid];
        let zone = zones.iter().copied().nth(self.random.below(zones.len())).expect("an interest has zones");
        if self.things[&parent].server == server {
            self.move_to(keeper, doid, (parent, zone));
            self.pass_steps(60);
        }
        let context = self.next_context(number);
        self.send_client(number, Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(context).u16(id));
        let place = self.settled_place_on(&[server]);
        self.move_to(keeper, doid, place);
        self.pass_steps(40);
        let context = self.next_context(number);
        let add = Encoder::client(t::CLIENT_ADD_INTEREST_MULTIPLE).u32(context).u16(id).doid(parent);
        let add = zones.iter().fold(add.u16(zones.len() as u16), |add, &zone| add.zone(zone));
        self.send_client(number, add);
    }

    fn pass_steps(&mut self, most: usize) {
        let steps = self.random.below(most);
        self.world.advance(steps);
    }

    pub fn change_interest(&mut self, number: usize) {
        let id = self.random.below(3) as u16;
        let (parent, zone) = self.settled_place();
        let other = self.zone();
        let (close, single) = (self.random.below(3) == 0, self.random.below(3) == 0);
        let interest = match (close, single) {
            (true, _) if !self.clients[number].interests.contains_key(&id) => return,
            (true, _) => None,
            (false, true) => Some((parent, [zone].into())),
            (false, false) => Some((parent, [zone, other].into())),
        };
        self.note_interest(number, id, interest);
        let context = self.next_context(number);
        let message = if close {
            Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(context).u16(id)
        } else if single {
            Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(id).doid(parent).zone(zone)
        } else {
            let message = Encoder::client(t::CLIENT_ADD_INTEREST_MULTIPLE).u32(context).u16(id).doid(parent);
            message.u16(2).zone(zone).zone(other)
        };
        self.send_client(number, message);
    }

    /// The context of what a client asks for next.
    fn next_context(&mut self, number: usize) -> u32 {
        let client = &mut self.clients[number];
        client.next_context += 1;
        client.asked.insert(client.next_context);
        client.next_context
    }

    /// Notes that an interest is opened, altered or closed.
    pub fn note_interest(&mut self, number: usize, id: u16, interest: Option<(Doid, BTreeSet<Zone>)>) {
        let interests = &mut self.clients[number].interests;
        match interest {
            Some(interest) => drop(interests.insert(id, interest)),
            None => drop(interests.remove(&id)),
        }
    }

    /// A client writes what everybody may, on something that it sees.
    pub fn write_shared(&mut self, number: usize) {
        let visible: Vec<Doid> = self.clients[number].view.visible.keys().copied().collect();
        if visible.is_empty() {
            return;
        }
        let doid = visible[self.random.below(visible.len())];
        let value = self.next_value(number);
        let set = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(doid).u16(contract::SHARED);
        self.send_client(number, contract::write(set, value));
    }

    fn next_value(&mut self, number: usize) -> Value {
        self.clients[number].written += 1;
        (1 + number as u32, self.clients[number].written)
    }

    /// A client writes on, or moves, what is surely its own.
    fn use_own(&mut self, number: usize) {
        let channel = self.clients[number].channel;
        let is_own =
            |doid: &Doid| self.things.get(doid).is_some_and(|thing| thing.owner == channel && !thing.owner_changed);
        let own: Vec<Doid> = self.clients[number].view.owned.keys().copied().filter(is_own).collect();
        if own.is_empty() {
            return;
        }
        let doid = own[self.random.below(own.len())];
        self.things.get_mut(&doid).expect("its own").used = true;
        // Parents are moved by their keeper: in a circle nobody would find them.
        if self.random.below(2) == 0 || !ORDINARY.contains(&doid) {
            let value = self.next_value(number);
            let set = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(doid).u16(contract::OWN);
            return self.send_client(number, contract::write(set, value));
        }
        let place = self.settled_place_on(&[self.things[&doid].server]);
        self.send_client(number, Encoder::client(t::CLIENT_OBJECT_LOCATION).doid(doid).doid(place.0).zone(place.1));
        self.things.get_mut(&doid).expect("its own").place = place;
        self.clients[number].view.moved.insert(doid);
    }
}
