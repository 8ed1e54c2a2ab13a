//! What keepers do, drawn from the seed, written down in the model as it is done.

use crate::simulation::cast::{
    CREWS, GROVES, KEEPERS, ORDINARY, ROOTS, SECRET, SERVER_INTEREST, SINGLE_AIS, Thing, WANDERERS, ZONES,
};
use crate::simulation::contract::{self, Value};
use crate::simulation::play::Play;
use crate::simulation::view::Place;
use crate::simulation::wire::Payload;
use donet::wire::{Channel, Doid, Zone, children_channel, message_type as t};
use std::collections::BTreeMap;

/// What OTHER of a creation says, and what of it the object has then.
type Other = (Vec<(u16, Vec<u8>)>, BTreeMap<u16, Value>);

/// More would leave no room for other things.
const GROVES_MAX: usize = 5;

impl Play {
    pub fn zone(&mut self) -> Zone {
        self.random.below(ZONES) as Zone
    }

    /// Parents that an object of one of these State Servers may have.
    fn parents_for(&self, servers: &[usize], groves: impl Fn(&Thing) -> bool) -> Vec<Doid> {
        let fits = |doid: &Doid| self.things.get(doid).is_none_or(|thing| servers.contains(&thing.server));
        let groves = self.things.range(GROVES).filter(|(_, thing)| groves(thing)).map(|(&doid, _)| doid);
        ROOTS.into_iter().chain(WANDERERS).chain(groves).filter(fits).collect()
    }

    fn place_of(&mut self, parents: Vec<Doid>) -> Place {
        (parents[self.random.below(parents.len())], self.zone())
    }

    /// Where something may be put: even where the parent is just being made.
    fn place(&mut self, servers: &[usize]) -> Place {
        let parents = self.parents_for(servers, |_| true);
        self.place_of(parents)
    }

    /// Where somebody may look, or take what is theirs: who asks a parent that is not there gets no answer.
    pub fn settled_place(&mut self) -> Place {
        let all: Vec<usize> = (0..self.tree.servers()).collect();
        self.settled_place_on(&all)
    }

    pub fn settled_place_on(&mut self, servers: &[usize]) -> Place {
        let parents = self.parents_for(servers, |thing| thing.is_settled);
        self.place_of(parents)
    }

    /// A place at a root.
    pub fn root_place(&mut self, servers: &[usize]) -> Place {
        let roots = self.parents_for(servers, |_| false).into_iter().filter(|doid| ROOTS.contains(doid)).collect();
        self.place_of(roots)
    }

    /// The State Server for what a keeper puts there: that of the parent.
    fn server_for(&mut self, keeper: usize, parent: Doid) -> usize {
        let servers = self.tree.servers_of(keeper);
        match self.things.get(&parent) {
            Some(thing) => thing.server,
            None => servers[self.random.below(servers.len())],
        }
    }

    pub fn create(&mut self, keeper: usize, doid: Doid, place: Place) {
        let server = self.server_for(keeper, place.0);
        self.create_on(server, keeper, doid, place);
    }

    pub fn create_on(&mut self, server: usize, keeper: usize, doid: Doid, place: Place) {
        self.create_with(server, keeper, doid, place, None);
    }

    fn create_with(&mut self, server: usize, keeper: usize, doid: Doid, place: Place, other: Option<Other>) {
        let message_type = match other {
            Some(_) => t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER,
            None => t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED,
        };
        let control = self.control(server);
        let create = Self::tell(keeper, control, message_type).doid(doid).doid(place.0).zone(place.1);
        let create = create.u16(contract::CLASS).u32(0).u16(SECRET);
        let (pairs, set) = other.clone().unwrap_or_default();
        let create = if other.is_some() { create.u16(pairs.len() as u16) } else { create };
        let create = pairs.iter().fold(create, |create, (field, value)| create.u16(*field).bytes(value));
        self.send(keeper, create);
        let thing = Thing { place, set, keeper, server, ..Thing::default() };
        self.things.insert(doid, thing);
    }

    /// Some of it is not for the class, or not kept: what can be is.
    fn other(&mut self, keeper: usize) -> Option<Other> {
        let (one, two) = (self.next_kept(keeper), self.next_kept(keeper));
        let bytes = |value: Value| Payload::new().value(value).0;
        let paired = (contract::PAIRED, bytes(one));
        let (pairs, set) = match self.random.below(12) {
            0 | 1 => (vec![paired], vec![(contract::PAIRED, one)]),
            2 => (vec![(contract::PING, bytes(two)), paired], vec![(contract::PAIRED, one)]),
            3 => (vec![paired, (999, bytes(two)), (contract::HEAD, bytes(two))], vec![(contract::PAIRED, one)]),
            4 => (vec![paired, (contract::PAIRED, bytes(two))], vec![(contract::PAIRED, two)]),
            5 => {
                let whole = [bytes(one), bytes(two)].concat();
                (vec![(contract::WHOLE, whole)], vec![(contract::HEAD, one), (contract::TAIL, two)])
            }
            6 => (vec![], vec![]),
            _ => return None,
        };
        Some((pairs, set.into_iter().collect()))
    }

    /// An object that keepers may do anything to.
    pub fn ordinary(&mut self) -> Option<Doid> {
        let all: Vec<Doid> = self.things.range(ORDINARY).map(|(&doid, _)| doid).collect();
        (!all.is_empty()).then(|| all[self.random.below(all.len())])
    }

    pub fn set_value(&mut self, doid: Doid) {
        let Some(thing) = self.things.get(&doid) else { return };
        // All children of its parent get it, and it is for one: as good as sent to that, once it is there for good.
        let is_there = thing.owner == 0 && !thing.owner_changed && thing.place.0 != 0;
        let siblings = children_channel(thing.place.0);
        let recipient = if is_there && self.random.below(6) == 0 { siblings } else { doid.into() };
        self.set_value_by(doid, recipient);
    }

    /// Sets the value, and perhaps more in the same message, some of it in vain.
    pub fn set_value_by(&mut self, doid: Doid, recipient: Channel) {
        let Some(thing) = self.things.get_mut(&doid) else { return };
        thing.value += 1;
        let (keeper, value) = (thing.keeper, thing.value);
        if self.random.below(3) != 0 {
            let set = Self::tell(keeper, recipient, t::STATESERVER_OBJECT_SET_FIELD);
            return self.send(keeper, set.doid(doid).u16(contract::VALUE).u32(value));
        }
        let paired = self.next_kept(keeper);
        let set = Self::tell(keeper, recipient, t::STATESERVER_OBJECT_SET_FIELDS).doid(doid);
        if self.random.below(4) == 0 {
            // What comes before the bad value is done, what comes after it is not.
            self.refused += 1;
            let set = set.u16(3).u16(contract::VALUE).u32(value);
            let set = set.u16(contract::SECRET).u16(contract::SECRET_MAX + 1).u16(contract::PAIRED);
            return self.send(keeper, contract::write(set, paired));
        }
        self.things.get_mut(&doid).expect("looked up").set.insert(contract::PAIRED, paired);
        let set = set.u16(2).u16(contract::VALUE).u32(value).u16(contract::PAIRED);
        self.send(keeper, contract::write(set, paired));
    }

    fn next_kept(&mut self, keeper: usize) -> Value {
        self.written += 1;
        (1000 + keeper as u32, self.written)
    }

    /// Both parts of a molecular field, or what is not kept at all.
    fn set_whole_or_ping(&mut self, doid: Doid) {
        let keeper = self.things[&doid].keeper;
        let (one, two) = (self.next_kept(keeper), self.next_kept(keeper));
        let set = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_FIELD).doid(doid);
        if self.random.below(3) == 0 {
            return self.send(keeper, contract::write(set.u16(contract::PING), one));
        }
        self.send(keeper, contract::write(contract::write(set.u16(contract::WHOLE), one), two));
        let thing = self.things.get_mut(&doid).expect("lives");
        thing.set.extend([(contract::HEAD, one), (contract::TAIL, two)]);
    }

    /// The keeper takes back what it wrote beside the value; required fields stay.
    fn unset(&mut self, doid: Doid) {
        let keeper = self.things[&doid].keeper;
        let one = || Self::tell(keeper, doid, t::STATESERVER_OBJECT_DELETE_FIELD_RAM).doid(doid);
        let many = || Self::tell(keeper, doid, t::STATESERVER_OBJECT_DELETE_FIELDS_RAM).doid(doid).u16(3);
        let (delete, fields) = match self.random.below(4) {
            0 => (one().u16(contract::PAIRED), &[contract::PAIRED][..]),
            1 => (one().u16(contract::WHOLE), &[contract::HEAD, contract::TAIL][..]),
            2 => (
                many().u16(contract::SHARED).u16(contract::SECRET).u16(contract::PAIRED),
                &[contract::PAIRED, contract::SHARED][..],
            ),
            _ => {
                self.refused += 1;
                (many().u16(contract::TAIL).u16(999).u16(contract::PAIRED), &[contract::TAIL][..])
            }
        };
        self.send(keeper, delete);
        let thing = self.things.get_mut(&doid).expect("lives");
        thing.set.retain(|field, _| !fields.contains(field));
    }

    pub fn keeper_acts(&mut self) {
        let Some(doid) = self.ordinary() else { return self.create_one() };
        let thing = self.things[&doid].clone();
        let keeper = thing.keeper;
        match self.random.below(25) {
            0..=2 => self.create_one(),
            3..=5 => self.set_value(doid),
            6 => {
                let secret = self.random.below(contract::SECRET_MAX.into()) as u16;
                let set = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_FIELD);
                self.send(keeper, set.doid(doid).u16(contract::SECRET).u16(secret));
                self.things.get_mut(&doid).expect("drawn").secret = secret;
            }
            7..=9 => {
                // What is a client's is moved by the client; what just was may still be on its way.
                #[allow(clippy::collapsible_match, reason = "the arm is the operation, the condition its own")]
                if thing.owner == 0 && !thing.owner_changed {
                    let place = self.place(&[thing.server]);
                    self.move_to(keeper, doid, place);
                }
            }
            10 => self.move_a_parent(),
            11 => self.end(doid),
            // What its owner has sent must find it the owner still.
            12 if !thing.used => {
                let owner = match self.random.below(3) {
                    0 => 0,
                    _ => self.established().map_or(0, |client| self.clients[client].channel),
                };
                self.send(keeper, Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_OWNER).channel(owner));
                self.note_owner(doid, owner);
            }
            13 => {
                let target = if self.random.below(2) == 0 { self.some_parent() } else { doid };
                self.set_ai(target);
            }
            14 => self.change_server_interest(),
            15 => self.unset(doid),
            16..=18 => self.set_ai_to(doid, CREWS + keeper as Channel),
            19 if self.random.below(2) == 0 => self.disband(keeper),
            20 | 21 => self.ask_own(doid),
            22 => self.set_whole_or_ping(doid),
            23 => self.plant(),
            24 => self.giant_acts(),
            _ => {}
        }
    }

    pub fn note_owner(&mut self, doid: Doid, owner: Channel) {
        let thing = self.things.get_mut(&doid).expect("lives");
        thing.owner_changed |= thing.owner != owner;
        thing.owner = owner;
    }

    fn create_one(&mut self) {
        let keeper = self.random.below(KEEPERS);
        self.create_one_by(keeper);
    }

    /// What a keeper may do although some clients do not hear of it: nobody owns it.
    pub fn keeper_acts_unheard(&mut self, keepers: &[usize]) {
        let is_free = |doid: &Doid| {
            let thing = &self.things[doid];
            keepers.contains(&thing.keeper) && thing.owner == 0 && !thing.owner_changed
        };
        let free: Vec<Doid> = self.things.range(ORDINARY).map(|(&doid, _)| doid).filter(is_free).collect();
        if free.is_empty() || self.random.below(4) == 0 {
            let keeper = keepers[self.random.below(keepers.len())];
            return self.create_one_by(keeper);
        }
        let doid = free[self.random.below(free.len())];
        match self.random.below(8) {
            0..=2 => self.set_value(doid),
            3 | 4 => {
                let Thing { keeper, server, .. } = self.things[&doid];
                let place = self.settled_place_on(&[server]);
                self.move_to(keeper, doid, place);
            }
            5 => self.unset(doid),
            6 => self.set_whole_or_ping(doid),
            _ => self.end(doid),
        }
    }

    fn create_one_by(&mut self, keeper: usize) {
        let servers = self.tree.servers_of(keeper);
        let (doid, place) = (self.next_doid, self.place(&servers));
        self.next_doid += 1;
        let server = self.server_for(keeper, place.0);
        self.create_anew(server, keeper, doid, place);
    }

    pub fn create_at_a_root(&mut self) {
        let keeper = self.random.below(KEEPERS);
        let servers = self.tree.servers_of(keeper);
        let (doid, place) = (self.next_doid, self.root_place(&servers));
        self.next_doid += 1;
        let server = self.server_for(keeper, place.0);
        self.create_anew(server, keeper, doid, place);
    }

    pub fn create_anew(&mut self, server: usize, keeper: usize, doid: Doid, place: Place) {
        let other = self.other(keeper);
        self.create_with(server, keeper, doid, place, other);
        if self.random.below(2) == 0 {
            self.set_value(doid); // In the same burst: it must find the object.
        }
    }

    /// A wanderer, or an object that is a parent while it lives. The first keeper's, all of them.
    pub fn some_parent(&mut self) -> Doid {
        let groves = self.things.range(GROVES).map(|(&doid, _)| doid);
        let parents: Vec<Doid> = WANDERERS.into_iter().chain(groves).collect();
        parents[self.random.below(parents.len())]
    }

    fn move_a_parent(&mut self) {
        let parent = self.some_parent();
        let server = self.things[&parent].server;
        let is_higher = |doid: &Doid| ROOTS.contains(doid) || (GROVES.contains(&parent) && WANDERERS.contains(doid));
        let higher = self.parents_for(&[server], |_| false).into_iter().filter(is_higher).collect();
        let place = self.place_of(higher);
        self.move_to(0, parent, place);
        self.set_value(parent);
    }

    fn plant(&mut self) {
        if self.things.range(GROVES).count() < GROVES_MAX {
            let servers = self.tree.servers_of(0);
            let (doid, place) = (self.next_grove, self.settled_place_on(&servers));
            self.next_grove += 1;
            self.create(0, doid, place);
        }
    }

    pub fn move_to(&mut self, keeper: usize, doid: Doid, place: Place) {
        let moved = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_LOCATION).doid(place.0).zone(place.1);
        self.send(keeper, moved);
        self.things.get_mut(&doid).expect("lives").place = place;
    }

    /// An AI of its own, never one that it could have inherited: the value that an object has already pins nothing. Or,
    /// where it has one of its own, none.
    fn set_ai(&mut self, doid: Doid) {
        let has_own = self.things[&doid].ai.is_some_and(|ai| ai != 0);
        if has_own && self.random.below(4) == 0 {
            return self.set_ai_to(doid, 0);
        }
        let ai = SINGLE_AIS + self.single_ais.len() as Channel;
        self.single_ais.push((doid, false));
        self.set_ai_to(doid, ai);
    }

    fn set_ai_to(&mut self, doid: Doid, ai: Channel) {
        let thing = self.things.get_mut(&doid).expect("lives");
        thing.ai = Some(ai);
        let keeper = thing.keeper;
        self.send(keeper, Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_AI).channel(ai));
    }

    /// The keeper ends an object of its own, and perhaps makes another one of the same doid.
    fn end(&mut self, doid: Doid) {
        let Thing { keeper, ai, is_pinned, .. } = self.things[&doid];
        if is_pinned {
            return;
        }
        let message = match ai {
            Some(ai) if ai != 0 && self.random.below(2) == 0 => {
                Self::tell(keeper, doid, t::STATESERVER_DELETE_AI_OBJECTS).channel(ai)
            }
            _ => Self::tell(keeper, doid, t::STATESERVER_OBJECT_DELETE_RAM).doid(doid),
        };
        self.send(keeper, message);
        self.has_ended(doid);
    }

    /// All objects that a keeper has given to its crew end: those that it has given by now, and no others.
    fn disband(&mut self, keeper: usize) {
        let crew = CREWS + keeper as Channel;
        let its = self.things.iter().filter(|(_, thing)| thing.ai == Some(crew));
        let (members, pins): (Vec<Doid>, Vec<bool>) = its.map(|(&doid, thing)| (doid, thing.is_pinned)).unzip();
        if pins.contains(&true) {
            return;
        }
        let control = self.control_of_all();
        self.send(keeper, Self::tell(keeper, control, t::STATESERVER_DELETE_AI_OBJECTS).channel(crew));
        for doid in members {
            self.has_ended(doid);
        }
    }

    fn has_ended(&mut self, doid: Doid) {
        let Some(thing) = self.things.remove(&doid) else { return };
        // What a client says as the owner of the one must not reach the other.
        if thing.owner == 0 && !thing.owner_changed && self.random.below(3) == 0 {
            let place = self.place(&[thing.server]);
            self.create_anew(thing.server, thing.keeper, doid, place);
        }
    }

    fn change_server_interest(&mut self) {
        let Some(number) = self.established() else { return };
        let (parent, zone) = self.settled_place();
        let other = self.zone();
        let channel = self.clients[number].channel;
        let is_open = self.clients[number].interests.contains_key(&SERVER_INTEREST);
        let interest = (!is_open || self.random.below(2) == 0).then(|| (parent, [zone, other].into()));
        self.note_interest(number, SERVER_INTEREST, interest.clone());
        if interest.is_none() {
            self.send(0, Self::tell(0, channel, t::CLIENTAGENT_REMOVE_INTEREST).u16(SERVER_INTEREST));
        } else {
            let add = Self::tell(0, channel, t::CLIENTAGENT_ADD_INTEREST_MULTIPLE).u16(SERVER_INTEREST).doid(parent);
            self.send(0, add.u16(2).zone(zone).zone(other));
        }
        self.server_interests.0 += 1;
    }

    /// The keeper asks for what only it can have written last: it reads what it wrote (G1).
    pub fn ask_own(&mut self, doid: Doid) {
        let thing = self.things[&doid].clone();
        let keeper = thing.keeper;
        self.next_question += 1;
        let context = self.next_question;
        let field = |field: u16, values: &[Option<Value>]| {
            let question = Self::tell(keeper, doid, t::STATESERVER_OBJECT_GET_FIELD).u32(context).doid(doid).u16(field);
            let answer = Payload::new().u32(context);
            let answer = match values.iter().copied().collect::<Option<Vec<Value>>>() {
                Some(values) => values.into_iter().fold(answer.u8(1).u16(field), Payload::value),
                None => answer.u8(0),
            };
            (question, t::STATESERVER_OBJECT_GET_FIELD_RESP, answer)
        };
        let set = |field: u16| thing.set.get(&field).copied();
        let ask = |message_type| Self::tell(keeper, doid, message_type).u32(context);
        let head = || Payload::new().u32(context).u32(doid);
        let (question, response, answer) = match self.random.below(8) {
            0 => field(contract::PAIRED, &[set(contract::PAIRED)]),
            1 => field(contract::WHOLE, &[set(contract::HEAD), set(contract::TAIL)]),
            2 => {
                let answer = Payload::new().u32(context).u8(1).u16(2).u16(contract::VALUE).u32(thing.value);
                (
                    ask(t::STATESERVER_OBJECT_GET_FIELDS).doid(doid).u16(2).u16(contract::SECRET).u16(contract::VALUE),
                    t::STATESERVER_OBJECT_GET_FIELDS_RESP,
                    answer.u16(contract::SECRET).u16(thing.secret),
                )
            }
            3 => (ask(t::STATESERVER_OBJECT_GET_OWNER), t::STATESERVER_OBJECT_GET_OWNER_RESP, head().u64(thing.owner)),
            4 if thing.owner == 0 && !thing.owner_changed => (
                ask(t::STATESERVER_OBJECT_GET_LOCATION),
                t::STATESERVER_OBJECT_GET_LOCATION_RESP,
                head().u32(thing.place.0).u32(thing.place.1),
            ),
            5 | 6 if thing.ai.is_some() => (
                ask(t::STATESERVER_OBJECT_GET_AI),
                t::STATESERVER_OBJECT_GET_AI_RESP,
                head().u64(thing.ai.unwrap_or_default()),
            ),
            _ => (
                ask(t::STATESERVER_OBJECT_GET_FIELD).doid(doid).u16(contract::VALUE),
                t::STATESERVER_OBJECT_GET_FIELD_RESP,
                Payload::new().u32(context).u8(1).u16(contract::VALUE).u32(thing.value),
            ),
        };
        self.links[keeper].as_mut().expect("keepers stay").expected.push((response, answer.0));
        self.send(keeper, question);
    }
}
