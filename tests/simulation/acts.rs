//! What the cast does, drawn from the seed, written down in the model as it is done.

use crate::simulation::contract::{self, Value};
use crate::simulation::play::{
    AI_CHANNELS, BUS_CHANNELS, CONTROL_CHANNEL, KEEPERS, Play, ROOTS, SERVER_INTEREST, Thing, WANDERERS, ZONES,
};
use crate::simulation::view::Place;
use crate::simulation::wire::note;
use donet::wire::{Channel, Doid, Encoder, Zone, children_channel, message_type as t};

/// The interest that is opened where something is just going; other acts close it again, too.
const MEETING_INTEREST: u16 = 2;

impl Play {
    fn place(&mut self) -> Place {
        let parents = [ROOTS[0], ROOTS[1], WANDERERS[0], WANDERERS[1]];
        (parents[self.random.below(parents.len())], self.random.below(ZONES) as Zone)
    }

    pub fn create(&mut self, keeper: usize, doid: Doid, place: Place) {
        self.create_with(keeper, doid, place, None);
    }

    /// Creates an object; with a value for the field that is not required, where there is one.
    fn create_with(&mut self, keeper: usize, doid: Doid, place: Place, paired: Option<Value>) {
        let message_type = match paired {
            Some(_) => t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER,
            None => t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED,
        };
        let create = Self::tell(keeper, CONTROL_CHANNEL, message_type)
            .doid(doid)
            .doid(place.0)
            .zone(place.1)
            .u16(contract::CLASS)
            .u32(0)
            .u16(7);
        let create = match paired {
            Some(value) => contract::write(create.u16(1).u16(contract::PAIRED), value),
            None => create,
        };
        self.send(keeper, create);
        let thing = Thing {
            place,
            value: 0,
            secret: 7,
            paired,
            keeper,
            ai: None,
            owner: 0,
            owner_changed: false,
            used: false,
            is_session_object: false,
        };
        self.things.insert(doid, thing);
    }

    /// An object that keepers may do anything to.
    fn ordinary(&mut self) -> Option<Doid> {
        let all: Vec<Doid> = self.things.range(30_000..60_000).map(|(&doid, _)| doid).collect();
        (!all.is_empty()).then(|| all[self.random.below(all.len())])
    }

    fn set_value(&mut self, doid: Doid) {
        let Some(thing) = self.things.get_mut(&doid) else { return };
        thing.value += 1;
        let (keeper, value) = (thing.keeper, thing.value);
        // All children of its parent get it, and it is for one: as good as sent to that, once it is there for good.
        let is_settled = thing.owner == 0 && !thing.owner_changed && thing.place.0 != 0;
        let siblings = children_channel(thing.place.0);
        if self.random.below(3) != 0 {
            let recipient = if is_settled && self.random.below(4) == 0 { siblings } else { doid.into() };
            let set = Self::tell(keeper, recipient, t::STATESERVER_OBJECT_SET_FIELD);
            return self.send(keeper, set.doid(doid).u16(contract::VALUE).u32(value));
        }
        let paired = self.next_paired(keeper);
        self.things.get_mut(&doid).expect("looked up").paired = Some(paired);
        let set = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_FIELDS).doid(doid).u16(2);
        let set = set.u16(contract::VALUE).u32(value).u16(contract::PAIRED);
        self.send(keeper, contract::write(set, paired));
    }

    fn next_paired(&mut self, keeper: usize) -> Value {
        self.written += 1;
        (1000 + keeper as u32, self.written)
    }

    /// The keeper takes back what it wrote beside the value; the fields that have a default stay.
    fn unset(&mut self, doid: Doid) {
        let Some(thing) = self.things.get_mut(&doid) else { return };
        thing.paired = None;
        let keeper = thing.keeper;
        if self.random.below(2) == 0 {
            let delete = Self::tell(keeper, doid, t::STATESERVER_OBJECT_DELETE_FIELD_RAM);
            return self.send(keeper, delete.doid(doid).u16(contract::PAIRED));
        }
        let delete = Self::tell(keeper, doid, t::STATESERVER_OBJECT_DELETE_FIELDS_RAM).doid(doid).u16(3);
        self.send(keeper, delete.u16(contract::SHARED).u16(contract::SECRET).u16(contract::PAIRED));
    }

    pub fn keeper_acts(&mut self) {
        let Some(doid) = self.ordinary() else { return self.create_one() };
        let thing = self.things[&doid].clone();
        let keeper = thing.keeper;
        match self.random.below(15) {
            0 | 1 => self.create_one(),
            2..=4 => self.set_value(doid),
            5 => {
                let secret = self.random.below(60_000) as u16;
                let set = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_FIELD);
                self.send(keeper, set.doid(doid).u16(contract::SECRET).u16(secret));
                self.things.get_mut(&doid).expect("drawn").secret = secret;
            }
            6..=8 => {
                // What is a client's is moved by the client; what just was may still be on its way.
                #[allow(clippy::collapsible_match, reason = "the arm is the operation, the condition its own")]
                if thing.owner == 0 && !thing.owner_changed {
                    let place = self.place();
                    self.move_to(keeper, doid, place);
                }
            }
            9 => {
                let wanderer = WANDERERS[self.random.below(2)];
                let place = (ROOTS[self.random.below(2)], self.random.below(ZONES) as Zone);
                self.move_to(0, wanderer, place);
                self.set_value(wanderer);
            }
            10 => {
                let delete = Self::tell(keeper, doid, t::STATESERVER_OBJECT_DELETE_RAM);
                self.send(keeper, delete.doid(doid));
                self.things.remove(&doid);
            }
            // What its owner has sent must find it the owner still.
            11 if !thing.used => {
                let owner = match self.random.below(3) {
                    0 => 0,
                    _ => self.established().map_or(0, |client| self.clients[client].channel),
                };
                self.send(keeper, Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_OWNER).channel(owner));
                let thing = self.things.get_mut(&doid).expect("drawn");
                thing.owner_changed |= thing.owner != owner;
                thing.owner = owner;
            }
            12 => {
                // Never one that it could have inherited: the value that an object has already pins nothing.
                let (target, keeper) =
                    if self.random.below(4) == 0 { (WANDERERS[self.random.below(2)], 0) } else { (doid, keeper) };
                let ai = AI_CHANNELS + Channel::from(target) * 2 + self.random.below(2) as u64;
                self.send(keeper, Self::tell(keeper, target, t::STATESERVER_OBJECT_SET_AI).channel(ai));
                self.things.get_mut(&target).expect("lives").ai = Some(ai);
            }
            13 => self.change_server_interest(),
            14 => self.unset(doid),
            _ => {}
        }
    }

    fn create_one(&mut self) {
        let (doid, place) = (self.next_doid, self.place());
        self.next_doid += 1;
        let keeper = self.random.below(KEEPERS);
        let paired = (self.random.below(3) == 0).then(|| self.next_paired(keeper));
        self.create_with(keeper, doid, place, paired);
        if self.random.below(2) == 0 {
            self.set_value(doid); // In the same burst: it must find the object.
        }
    }

    fn move_to(&mut self, keeper: usize, doid: Doid, place: Place) {
        let moved = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_LOCATION).doid(place.0).zone(place.1);
        self.send(keeper, moved);
        self.things.get_mut(&doid).expect("lives").place = place;
    }

    fn change_server_interest(&mut self) {
        let Some(number) = self.established() else { return };
        let (parent, zone) = self.place();
        let other = self.random.below(ZONES) as Zone;
        let channel = self.clients[number].channel;
        if self.clients[number].interests.remove(&SERVER_INTEREST).is_some() && self.random.below(2) == 0 {
            self.send(0, Self::tell(0, channel, t::CLIENTAGENT_REMOVE_INTEREST).u16(SERVER_INTEREST));
        } else {
            let add = Self::tell(0, channel, t::CLIENTAGENT_ADD_INTEREST_MULTIPLE).u16(SERVER_INTEREST).doid(parent);
            self.send(0, add.u16(2).zone(zone).zone(other));
            self.clients[number].interests.insert(SERVER_INTEREST, (parent, [zone, other].into()));
        }
        self.server_interests.0 += 1;
    }

    pub fn client_acts(&mut self) {
        let Some(number) = self.established() else { return };
        match self.random.below(12) {
            0..=2 => self.change_interest(number),
            3 | 4 => self.meet(number),
            5..=7 => self.write_shared(number),
            8 | 9 => self.use_own(number),
            10 => self.send_client(number, Encoder::client(t::CLIENT_HEARTBEAT)),
            _ if self.random.below(6) == 0 => {
                if self.random.below(2) == 0 {
                    self.send_client(number, Encoder::client(t::CLIENT_DISCONNECT));
                }
                self.world.disconnect(self.clients[number].peer);
                note(|| format!("client {number} goes"));
                self.client_ends(number);
            }
            _ => {}
        }
    }

    /// Something that a client sees goes to a zone that the client is just opening, and changes there: an update between
    /// the two must not be missed.
    fn meet(&mut self, number: usize) {
        let can_go = |doid: &&Doid| {
            let thing = self.things.get(*doid).filter(|_| (30_000..60_000).contains(*doid));
            thing.is_some_and(|thing| thing.owner == 0 && !thing.owner_changed)
        };
        let candidates: Vec<Doid> = self.clients[number].view.visible.keys().filter(can_go).copied().collect();
        if candidates.is_empty() {
            return self.change_interest(number);
        }
        let doid = candidates[self.random.below(candidates.len())];
        let keeper = self.things[&doid].keeper;
        let (parent, zone) = self.place();
        let client = &mut self.clients[number];
        client.next_context += 1;
        let context = client.next_context;
        client.asked.insert(context);
        client.interests.insert(MEETING_INTEREST, (parent, [zone].into()));
        let add = Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(MEETING_INTEREST).doid(parent).zone(zone);
        self.send_client(number, add);
        self.move_to(keeper, doid, (parent, zone));
        for _ in 0..1 + self.random.below(3) {
            self.set_value(doid);
        }
    }

    fn change_interest(&mut self, number: usize) {
        let id = self.random.below(3) as u16;
        let (parent, zone) = self.place();
        let other = self.random.below(ZONES) as Zone;
        let (close, single) = (self.random.below(3) == 0, self.random.below(3) == 0);
        let client = &mut self.clients[number];
        client.next_context += 1;
        let context = client.next_context;
        let message = if close {
            if client.interests.remove(&id).is_none() {
                return;
            }
            Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(context).u16(id)
        } else if single {
            client.interests.insert(id, (parent, [zone].into()));
            Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(id).doid(parent).zone(zone)
        } else {
            client.interests.insert(id, (parent, [zone, other].into()));
            let message = Encoder::client(t::CLIENT_ADD_INTEREST_MULTIPLE).u32(context).u16(id).doid(parent);
            message.u16(2).zone(zone).zone(other)
        };
        client.asked.insert(context);
        self.send_client(number, message);
    }

    /// A client writes what everybody may, on something that it sees.
    fn write_shared(&mut self, number: usize) {
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
        if self.random.below(2) == 0 {
            let value = self.next_value(number);
            let set = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(doid).u16(contract::OWN);
            return self.send_client(number, contract::write(set, value));
        }
        let place = self.place();
        self.send_client(number, Encoder::client(t::CLIENT_OBJECT_LOCATION).doid(doid).doid(place.0).zone(place.1));
        self.things.get_mut(&doid).expect("its own").place = place;
        self.clients[number].view.moved.insert(doid);
    }

    pub fn link_acts(&mut self) {
        let alive: Vec<usize> = (0..self.links.len()).filter(|&link| self.links[link].is_some()).collect();
        let who = alive[self.random.below(alive.len())];
        let channel = BUS_CHANNELS + self.random.below(20) as u64;
        let end = channel + 1 + self.random.below(6) as u64;
        match self.random.below(20) {
            0..=8 => self.publish(who),
            9..=11 => {
                self.send(who, Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel));
                self.bus.subscribe(who, channel);
            }
            12 => {
                self.send(who, Encoder::control(t::CONTROL_REMOVE_CHANNEL).channel(channel));
                self.bus.unsubscribe(who, channel);
            }
            13 => {
                self.send(who, Encoder::control(t::CONTROL_ADD_RANGE).channel(channel).channel(end));
                self.bus.subscribe_range(who, channel, end);
            }
            14 => {
                self.send(who, Encoder::control(t::CONTROL_REMOVE_RANGE).channel(channel).channel(end));
                self.bus.unsubscribe_range(who, channel, end);
            }
            15 | 16 => {
                let key = self.random.below(2) as u64;
                let recipients = self.recipients();
                let body = self.bus.add_post_remove(who, key, recipients);
                self.send(who, Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(key).blob(&body));
            }
            17 => {
                let key = self.random.below(2) as u64;
                self.bus.clear_post_removes(who, key);
                self.send(who, Encoder::control(t::CONTROL_CLEAR_POST_REMOVES).channel(key));
            }
            18 if self.bus.has_room_for(self.links.len()) => {
                self.add_link();
                note(|| "a link comes".to_owned());
            }
            19 if who >= KEEPERS => {
                let link = self.links[who].take().expect("alive");
                self.world.disconnect(link.peer);
                self.bus.leave(who);
                note(|| format!("link {who} goes"));
            }
            _ => {}
        }
    }

    fn recipients(&mut self) -> Vec<Channel> {
        (0..1 + self.random.below(4)).map(|_| BUS_CHANNELS + self.random.below(26) as u64).collect()
    }

    pub fn publish(&mut self, who: usize) {
        let recipients = self.recipients();
        let message = self.bus.publish(who, recipients);
        self.send(who, message);
    }

    /// Deletions of many at once: what a parent knows of its children is settled only at rest.
    pub fn structural(&mut self) -> Result<(), String> {
        let parent = WANDERERS[self.random.below(2)];
        let zone = self.random.below(ZONES) as Zone;
        let other = self.random.below(ZONES) as Zone;
        let doomed = match self.random.below(6) {
            0 => {
                self.send(0, Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_ZONE).doid(parent).zone(zone));
                self.children_in(parent, &[zone])
            }
            1 => {
                let delete = Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_ZONES).doid(parent).u16(2);
                self.send(0, delete.zone(zone).zone(other));
                self.children_in(parent, &[zone, other])
            }
            2 => {
                self.send(0, Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_CHILDREN).doid(parent));
                let all: Vec<Zone> = (0..ZONES as Zone).collect();
                self.children_in(parent, &all)
            }
            3 | 4 => {
                let Some(ai) = self.ordinary().and_then(|doid| self.things[&doid].ai) else { return Ok(()) };
                let delete = Self::tell(0, CONTROL_CHANNEL, t::STATESERVER_DELETE_AI_OBJECTS).channel(ai);
                self.send(0, delete);
                let its = self.things.iter().filter(|(_, thing)| thing.ai == Some(ai));
                its.map(|(&doid, _)| doid).collect()
            }
            _ => return Ok(()),
        };
        for doid in doomed {
            self.things.remove(&doid);
        }
        // Meanwhile clients look elsewhere and write, but move nothing in or out.
        for _ in 0..4 {
            let Some(number) = self.established() else { break };
            match self.random.below(2) {
                0 => self.change_interest(number),
                _ => self.write_shared(number),
            }
        }
        self.check_at_rest()
    }
}
