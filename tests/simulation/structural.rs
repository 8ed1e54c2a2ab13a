//! What concerns many objects at once: deletions of families, trees and crews, and orders to all children of a parent.
//!
//! What a parent knows of its children is settled only at rest, and there these begin. While they are under way, slice by
//! slice, everything else goes on, but for what would change whom they concern.

use crate::simulation::cast::{CREWS, GROVES, KEEPERS, ORDINARY, PRESS, ROOTS, Thing};
use crate::simulation::contract;
use crate::simulation::play::Play;
use donet::wire::{Channel, Doid, Encoder, MessageType, children_channel, message_type as t};
use std::collections::BTreeSet;

/// Whom something is about that is under way.
#[derive(Default)]
struct Concerned {
    /// They end. Their keepers do not know yet.
    doomed: Vec<(Doid, Thing)>,
    /// Something of theirs changes.
    changed: BTreeSet<Doid>,
}

impl Play {
    pub fn structural(&mut self) -> Result<(), String> {
        let parent = self.some_parent();
        let (zone, other) = (self.zone(), self.zone());
        let concerned = match self.random.below(10) {
            0 => {
                self.send(0, Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_ZONE).doid(parent).zone(zone));
                self.doom(self.children_in(parent, &[zone]))
            }
            1 => {
                let delete = Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_ZONES).doid(parent).u16(2);
                self.send(0, delete.zone(zone).zone(other));
                self.doom(self.children_in(parent, &[zone, other]))
            }
            2 => {
                self.send(0, Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_CHILDREN).doid(parent));
                self.doom(self.children(parent))
            }
            3 => self.fell(),
            4 | 5 => self.end_an_ai(),
            6 => self.order_family(parent, t::STATESERVER_OBJECT_SET_AI),
            7 => self.order_family(parent, t::STATESERVER_OBJECT_SET_OWNER),
            _ => self.order_family(parent, t::STATESERVER_OBJECT_SET_LOCATION),
        };
        self.meanwhile(concerned)?;
        self.check_at_rest()
    }

    fn doom(&mut self, doids: Vec<Doid>) -> Concerned {
        let all = self.with_descendants(doids);
        let doomed = all.into_iter().filter_map(|doid| Some((doid, self.things.remove(&doid)?))).collect();
        Concerned { doomed, changed: BTreeSet::new() }
    }

    /// A parent ends, and all below it; or its children first, by an order that it does not hear of.
    fn fell(&mut self) -> Concerned {
        let groves: Vec<Doid> = self.things.range(GROVES).map(|(&doid, _)| doid).collect();
        if groves.is_empty() {
            return Concerned::default();
        }
        let grove = groves[self.random.below(groves.len())];
        if self.random.below(2) == 0 {
            let children = Self::tell(0, children_channel(grove), t::STATESERVER_OBJECT_DELETE_CHILDREN);
            self.send(0, children.doid(grove));
        }
        self.send(0, Self::tell(0, grove, t::STATESERVER_OBJECT_DELETE_RAM).doid(grove));
        self.doom(vec![grove])
    }

    /// Everything that was given an AI ends with it: a single object's, a crew's, or whoever was pressed.
    fn end_an_ai(&mut self) -> Concerned {
        let ai = match self.random.below(3) {
            0 => self.ordinary().and_then(|doid| self.things[&doid].ai).unwrap_or(PRESS),
            1 => PRESS,
            _ => CREWS + self.random.below(KEEPERS) as Channel,
        };
        let control = self.control_of_all();
        self.send(0, Self::tell(0, control, t::STATESERVER_DELETE_AI_OBJECTS).channel(ai));
        let its = self.things.iter().filter(|(_, thing)| ai != 0 && thing.ai == Some(ai));
        let doids = its.map(|(&doid, _)| doid).collect();
        self.doom(doids)
    }

    /// One message to all children of a parent: another AI, owner or place for each of them.
    fn order_family(&mut self, parent: Doid, message_type: MessageType) -> Concerned {
        let family = self.children(parent);
        let order = Self::tell(0, children_channel(parent), message_type);
        match message_type {
            t::STATESERVER_OBJECT_SET_AI => {
                self.send(0, order.channel(PRESS));
                // The value that an object has already pins nothing.
                let others = family.iter().filter(|&&doid| self.ai_of(doid) != PRESS).copied();
                for doid in others.collect::<Vec<_>>() {
                    self.things.get_mut(&doid).expect("a child").ai = Some(PRESS);
                }
            }
            t::STATESERVER_OBJECT_SET_OWNER => {
                let owner = self.established().map_or(0, |client| self.clients[client].channel);
                self.send(0, order.channel(owner));
                family.iter().for_each(|&doid| self.note_owner(doid, owner));
            }
            _ => {
                let place = self.root_place(&[self.things[&parent].server]);
                self.send(0, order.doid(place.0).zone(place.1));
                family.iter().for_each(|doid| self.things.get_mut(doid).expect("a child").place = place);
            }
        }
        let changed = self.with_descendants(family).into_iter().collect();
        Concerned { doomed: Vec::new(), changed }
    }

    fn meanwhile(&mut self, mut concerned: Concerned) -> Result<(), String> {
        for _ in 0..2 + self.random.below(10) {
            match self.random.below(9) {
                8 => self.archivist_acts(),
                0 => self.look_elsewhere(),
                1 => self.write_something(),
                2 => self.write_in_vain(&mut concerned.doomed),
                3 => self.fool_acts(),
                4 => self.link_acts(),
                5 => self.create_at_a_root(),
                _ => self.survivor_acts(&concerned.changed),
            }
            if self.random.below(2) == 0 {
                let steps = self.random.below(60);
                self.world.advance(steps);
                self.hear()?;
            }
        }
        Ok(())
    }

    fn look_elsewhere(&mut self) {
        if let Some(number) = self.established() {
            self.change_interest(number);
        }
    }

    fn write_something(&mut self) {
        if let Some(number) = self.established() {
            self.write_shared(number);
        }
    }

    /// A keeper that does not know yet: what it says comes before the end, or to nobody.
    fn write_in_vain(&mut self, doomed: &mut [(Doid, Thing)]) {
        if doomed.is_empty() {
            return;
        }
        let (doid, thing) = &mut doomed[self.random.below(doomed.len())];
        thing.value += 1;
        let set: Encoder = Self::tell(thing.keeper, *doid, t::STATESERVER_OBJECT_SET_FIELD);
        self.send(thing.keeper, set.doid(*doid).u16(contract::VALUE).u32(thing.value));
    }

    /// Somebody whom it does not concern, at a root, where nothing ends.
    fn survivor_acts(&mut self, changed: &BTreeSet<Doid>) {
        let is_apart = |doid: &Doid, thing: &Thing| {
            thing.is_settled && thing.owner == 0 && ROOTS.contains(&thing.place.0) && !changed.contains(doid)
        };
        let apart = self.things.range(ORDINARY).filter(|(doid, thing)| is_apart(doid, thing));
        let apart: Vec<Doid> = apart.map(|(&doid, _)| doid).collect();
        if apart.is_empty() {
            return;
        }
        let doid = apart[self.random.below(apart.len())];
        match self.random.below(3) {
            0 => self.ask_own(doid),
            1 => self.set_value(doid),
            _ => {
                let place = self.root_place(&[self.things[&doid].server]);
                self.move_to(self.things[&doid].keeper, doid, place);
            }
        }
    }
}
