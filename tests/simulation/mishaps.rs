//! What goes wrong beneath the roles: connections that break, peers that stop reading for good, a daemon that crashes and
//! is started again, a link between daemons that is lost for a while.
//!
//! The model knows of each what must have arrived and what must not; what may be either is left open until the next rest,
//! and only that.

use crate::simulation::cast::{Client, FAREWELL_KEEPER, KEEPERS, Phase};
use crate::simulation::play::Play;
use crate::simulation::wire::note;
use donet::wire::{Encoder, message_type as t};

/// A client that does not read falls silent, too: three times this is passed, and it must have been ejected.
const PATIENCE: u32 = 4;

impl Play {
    /// A link ends: in order, or by a reset, which loses what is on its way.
    pub fn end_link(&mut self, who: usize) {
        let link = self.links[who].take().expect("alive");
        if self.random.below(2) == 0 {
            self.world.disconnect(link.peer);
            note(|| format!("link {who} goes"));
        } else {
            let lost = self.world.reset(link.peer);
            self.bus.lose(who, link.sent_bytes - lost);
            note(|| format!("link {who} is reset; {lost} bytes of it never arrived"));
        }
        self.bus.leave(who);
    }

    /// A client's connection ends: in order, or by a reset where nobody relies on what may be lost.
    pub fn end_client(&mut self, number: usize) {
        let Self { clients, things, .. } = self;
        let client = &clients[number];
        let is_relied_on = things.values().any(|thing| thing.used && thing.owner == client.channel);
        if !is_relied_on && self.random.below(2) == 0 {
            self.world.reset(self.clients[number].peer);
            note(|| format!("client {number} is reset"));
        } else {
            if self.random.below(2) == 0 {
                self.send_client(number, Encoder::client(t::CLIENT_DISCONNECT));
            }
            self.world.disconnect(self.clients[number].peer);
            note(|| format!("client {number} goes"));
        }
        self.client_ends(number);
    }

    /// A client stops reading, for good.
    pub fn stop_reading(&mut self, number: usize) {
        note(|| format!("client {number} reads no more"));
        self.world.stall(self.clients[number].peer, true);
        self.clients[number].stage = Phase::Stuck { rounds: 0 };
        self.farewells.insert(number as u32, 0);
    }

    /// Those who have stopped reading are dropped: when more than their budget waits for them, or for their silence.
    pub fn look_after_the_stuck(&mut self) -> Result<(), String> {
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let Phase::Stuck { rounds } = client.stage else { continue };
            let waiting = self.world.unsent_bytes(client.peer);
            if self.world.has_ended(client.peer) {
                self.client_ends(number);
            } else if waiting > self.write_budget {
                return Err(format!("{waiting} bytes wait for client {number}, which does not read (G8)"));
            } else if rounds > PATIENCE {
                return Err(format!("client {number} neither reads nor says anything, and is not ejected"));
            }
        }
        Ok(())
    }

    /// Everybody goes on, but nobody ends, nor relies on what a client of a daemon does that may crash.
    fn traffic(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.random.below(10) {
            match self.random.below(7) {
                6 => self.archivist_acts(),
                0 => self.keeper_acts(),
                1 => self.fool_acts(),
                2 => {
                    if let Some(number) = self.established() {
                        self.change_interest(number);
                        self.write_shared(number);
                    }
                }
                _ => self.chatter(),
            }
            let steps = self.random.below(60);
            self.world.advance(steps);
            self.hear()?;
        }
        Ok(())
    }

    /// A link publishes something.
    fn chatter(&mut self) {
        let who = self.some_link();
        self.publish(who);
    }

    /// A daemon with clients and links, but no objects, crashes in the middle of everything, and is started again. What it
    /// had registered for its end is sent by the daemon above; the objects of its sessions stay.
    pub fn crash(&mut self) -> Result<(), String> {
        let Some(node) = self.tree.frail() else { return Ok(()) };
        self.check_at_rest()?;
        self.traffic()?;
        note(|| format!("daemon {node} crashes"));
        self.tree.crash(node, &mut self.world);
        self.crashes += 1;
        for who in KEEPERS..self.links.len() {
            if self.links[who].as_ref().is_some_and(|link| link.node == node) {
                self.links[who] = None;
                self.bus.crash(who);
            }
        }
        for number in 0..self.clients.len() {
            if self.clients[number].node == node && self.clients[number].stage != Phase::Gone {
                let is_established = self.clients[number].stage != Phase::Greeting;
                self.clients[number].stage = Phase::Gone;
                if is_established {
                    self.farewells.entry(number as u32).or_insert(0);
                    self.things.get_mut(&Self::session_object(number)).expect("it lives on").is_session_object = false;
                }
            }
        }
        self.traffic()?;
        self.rest()?;
        // What the daemon had counted is lost with it.
        self.lost_upstream = self.count_lost_upstream();
        self.check_at_rest()?;
        note(|| format!("daemon {node} is started again"));
        self.tree.restart(node, &mut self.world);
        self.lost_upstream = self.count_lost_upstream();
        self.check_at_rest()
    }

    /// A link between daemons breaks, and stands again. What is published meanwhile crosses it in neither direction, and
    /// nothing else is missing afterwards.
    pub fn break_upstream(&mut self) -> Result<(), String> {
        if self.tree.nodes.len() < 2 {
            return Ok(());
        }
        self.check_at_rest()?;
        let below = 1 + self.random.below(self.tree.nodes.len() - 1);
        for _ in 0..self.random.below(8) {
            self.chatter();
        }
        let steps = self.random.below(200);
        self.world.advance(steps);
        self.hear()?;
        note(|| format!("the link of daemon {below} upstream breaks"));
        self.tree.cut(below, &mut self.world);
        self.breaks += 1;
        self.bus.cut(below);
        let is_below = |play: &Self, node: usize| play.tree.way_up(node).contains(&below);
        if !is_below(self, self.tree.keeper_home(FAREWELL_KEEPER)) {
            // The daemon above takes it for the end of everybody below.
            for number in 0..self.clients.len() {
                let Client { stage, node, .. } = self.clients[number];
                if stage.has_farewell() && is_below(self, node) {
                    self.early_farewells.insert(number as u32);
                }
            }
        }
        self.rest()?;
        self.bus.is_cut();
        self.lost_upstream = self.count_lost_upstream();
        for _ in 0..self.random.below(30) {
            let who = self.some_link();
            match self.random.below(2) {
                0 => self.publish(who),
                _ => self.link_changes(who),
            }
            let steps = self.random.below(60);
            self.world.advance(steps);
            self.hear()?;
        }
        self.rest()?;
        self.lost_upstream += self.bus.heal();
        note(|| format!("the link of daemon {below} upstream stands again"));
        self.tree.mend(below, &mut self.world);
        self.check_at_rest()
    }
}
