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
/// What an object can take in a client's connection: that it leaves and enters, with every field.
const ENTRY_BYTES_MAX: usize = 128;

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
        // What is asked anew after a lost link does not count.
        let anew = if self.breaks > 0 { self.things.len() * ENTRY_BYTES_MAX } else { 0 };
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let Phase::Stuck { rounds } = client.stage else { continue };
            let waiting = self.world.unsent_bytes(client.peer);
            if self.world.has_ended(client.peer) {
                self.client_ends(number);
            } else if waiting > self.write_budget + anew {
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
        // Who has stopped reading may be dropped while there is no link to say so by.
        let is_stuck = |client: &Client| matches!(client.stage, Phase::Stuck { .. });
        let stuck = (0..).zip(&self.clients).filter(|(_, client)| is_stuck(client)).map(|(number, _)| number);
        self.lost_farewells.extend(stuck);
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
        self.check_lost_upstream()?;
        self.change_unheard(below)?;
        note(|| format!("the link of daemon {below} upstream stands again"));
        self.tree.mend(below, &mut self.world);
        if self.is_unheard(below) {
            // Objects go on while the clients below ask anew.
            for _ in 0..self.random.below(8) {
                self.act_unheard(below)?;
            }
            self.rest()?;
            // What the clients asked before the new link stood.
            self.lost_upstream = self.count_lost_upstream();
        }
        self.check_at_rest()
    }

    /// Whether objects may change while the link of a daemon upstream is lost: they are above, with whoever changes them
    /// and watches them, and clients below are of that daemon itself. One still further down does not learn of the loss.
    fn is_unheard(&self, below: usize) -> bool {
        let is_above = |node: usize| !self.tree.way_up(node).contains(&below);
        let mut agents = self.tree.client_agents().into_iter();
        agents.all(|node| node == below || is_above(node))
            && (0..self.tree.servers()).all(|server| is_above(self.tree.node_of(server)))
            && is_above(self.recorder.node)
            && is_above(self.ais.node)
            && !self.keepers_above(below).is_empty()
    }

    fn keepers_above(&self, below: usize) -> Vec<usize> {
        (0..KEEPERS).filter(|&keeper| !self.tree.way_up(self.tree.keeper_home(keeper)).contains(&below)).collect()
    }

    fn act_unheard(&mut self, below: usize) -> Result<(), String> {
        let keepers = self.keepers_above(below);
        match self.random.below(4) {
            0 => {
                if let Some(number) = self.established() {
                    self.change_interest(number);
                }
            }
            _ => self.keeper_acts_unheard(&keepers),
        }
        let steps = self.random.below(60);
        self.world.advance(steps);
        self.hear()
    }

    /// Objects change, come and go while the clients below a lost link hear nothing of it, and open and close interests
    /// that nobody answers. When it stands again, they see what is there then.
    fn change_unheard(&mut self, below: usize) -> Result<(), String> {
        if !self.is_unheard(below) {
            return Ok(());
        }
        for client in self.clients.iter_mut().filter(|client| client.node == below) {
            client.view.visible.values_mut().for_each(|seen| seen.may_miss = true);
        }
        for _ in 0..1 + self.random.below(30) {
            self.act_unheard(below)?;
        }
        self.rest()?;
        self.changed_unheard += 1;
        // The questions of the clients below.
        self.lost_upstream = self.count_lost_upstream();
        Ok(())
    }
}
