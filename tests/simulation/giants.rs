//! Objects with a value so large that no message can show them whole: whoever asks for all of it gets nothing, nobody is
//! told of them anew, and everything else about them goes on (SS-48).

use crate::simulation::cast::{BACKSTAGE, GIANTS, ROOTS, Thing};
use crate::simulation::contract;
use crate::simulation::play::Play;
use crate::simulation::refusals::Fool;
use crate::simulation::view::Place;
use crate::simulation::wire::Payload;
use donet::wire::{Doid, Encoder, MessageType, message_type as t};

/// It fits a SET_FIELD, but no message that shows the whole object.
const BANNER_BYTES: usize = 65_500;
const GIANTS_MAX: usize = 2;

pub struct Giant {
    pub place: Place,
    pub value: u32,
}

impl Play {
    pub fn giant_acts(&mut self) {
        let doids: Vec<_> = self.giants.keys().copied().collect();
        if doids.len() < GIANTS_MAX && self.random.below(3) == 0 && self.next_giant < GIANTS.end {
            return self.raise_giant();
        }
        if doids.is_empty() {
            return;
        }
        let doid = doids[self.random.below(doids.len())];
        let place = self.place_of_giant();
        let to = |message_type: MessageType| Self::tell(0, doid, message_type);
        let giant = self.giants.get_mut(&doid).expect("drawn");
        match self.random.below(8) {
            0 | 1 => {
                giant.value += 1;
                let value = giant.value;
                let set = to(t::STATESERVER_OBJECT_SET_FIELD).doid(doid).u16(contract::VALUE).u32(value);
                self.send(0, set);
            }
            2 => {
                giant.place = place;
                self.send(0, to(t::STATESERVER_OBJECT_SET_LOCATION).doid(place.0).zone(place.1));
            }
            3 => {
                // Too large for the new owner; that it is not the owner any more, it hears.
                self.send(0, to(t::STATESERVER_OBJECT_SET_OWNER).channel(Fool::CHANNEL));
                self.send(0, to(t::STATESERVER_OBJECT_SET_OWNER).channel(0));
                let notice = Payload::new().u32(doid).u64(0).u64(Fool::CHANNEL);
                self.fool.link.expected.push((t::STATESERVER_OBJECT_CHANGING_OWNER, notice.0));
            }
            4 if place != giant.place => {
                // Without its banner it can be shown: where it goes, everybody is told.
                let Giant { value, .. } = self.giants.remove(&doid).expect("drawn");
                self.send(0, to(t::STATESERVER_OBJECT_DELETE_FIELD_RAM).doid(doid).u16(contract::BANNER));
                let server = self.backstage_server();
                self.things.insert(doid, Thing { value, server, ..Thing::default() });
                self.move_to(0, doid, place);
            }
            5 => {
                self.giants.remove(&doid);
                self.send(0, to(t::STATESERVER_OBJECT_DELETE_RAM).doid(doid));
            }
            _ => self.ask_giant(doid),
        }
    }

    fn backstage_server(&self) -> usize {
        self.things[&BACKSTAGE.0].server
    }

    /// A root of its own State Server's: another one would count it, as it counts whatever is not its own, though it cannot
    /// answer.
    fn place_of_giant(&mut self) -> Place {
        let server = self.backstage_server();
        let roots: Vec<Doid> = ROOTS.into_iter().filter(|root| self.things[root].server == server).collect();
        (roots[self.random.below(roots.len())], self.zone())
    }

    /// It grows where nobody looks, and goes where somebody may.
    fn raise_giant(&mut self) {
        let server = self.backstage_server();
        let (doid, place) = (self.next_giant, self.place_of_giant());
        self.next_giant += 1;
        self.create_on(server, 0, doid, BACKSTAGE);
        self.things.remove(&doid);
        let banner = vec![b'!'; BANNER_BYTES];
        let set = Self::tell(0, doid, t::STATESERVER_OBJECT_SET_FIELD).doid(doid).u16(contract::BANNER);
        self.send(0, set.blob(&banner));
        self.send(0, Self::tell(0, doid, t::STATESERVER_OBJECT_SET_LOCATION).doid(place.0).zone(place.1));
        self.giants.insert(doid, Giant { place, value: 0 });
    }

    fn ask_giant(&mut self, doid: u32) {
        self.next_question += 1;
        let (context, value) = (self.next_question, self.giants[&doid].value);
        let ask = |message_type| -> Encoder { Self::tell(0, doid, message_type).u32(context).doid(doid) };
        let (question, fits) = match self.random.below(3) {
            0 => (ask(t::STATESERVER_OBJECT_GET_ALL), false),
            1 => (ask(t::STATESERVER_OBJECT_GET_FIELDS).u16(2).u16(contract::BANNER).u16(contract::VALUE), false),
            _ => (ask(t::STATESERVER_OBJECT_GET_FIELDS).u16(1).u16(contract::VALUE), true),
        };
        self.send(0, question);
        if fits {
            let answer = Payload::new().u32(context).u8(1).u16(1).u16(contract::VALUE).u32(value);
            let keeper = self.links[0].as_mut().expect("keepers stay");
            keeper.expected.push((t::STATESERVER_OBJECT_GET_FIELDS_RESP, answer.0));
        }
    }
}
