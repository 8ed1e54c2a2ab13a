//! The clients and their AI: how far each has come, what each sends, and what it hears. Whether that is what it should
//! hear is for [`super::sight`] to say.

use super::Players;
use super::cast::{Cast, Field, Stamp, TOURIST, WELCOME};
use super::counts::{Counts, Latencies};
use super::sight::{Avatar, Drop, Sight};
use crate::failure::{Failure, ensure};
use crate::net::{End, Input, Key, Network};
use donet::wire::{MessageType, Reader, message_type as t};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Ai,
    Client(u32),
    /// A client has said goodbye on it; what comes is not for anybody.
    Nobody,
}

/// What a client does that takes some time, and when it was due.
#[derive(Clone, Copy, Debug)]
enum Task {
    Move(Instant),
    Reconnect(Instant),
}

#[derive(Debug, Default)]
struct Client {
    key: Option<Key>,
    welcomed: bool,
    avatar: Option<Avatar>,
    /// It has been told that the avatar is its own.
    owns: bool,
    /// Its interest is done.
    sees: bool,
    /// Of the interest that it waits for.
    context: Option<u32>,
    moves: u32,
    /// What it is at, besides its first login, and what comes then.
    doing: Option<Task>,
    waiting: VecDeque<Task>,
}

impl Client {
    fn is_present(&self) -> bool {
        self.welcomed && self.owns && self.sees
    }
}

/// Contexts of the clients' own interests; those of the server count from 1.
const FIRST_CONTEXT: u32 = 1 << 31;

/// What was asked for decides how many there are; see the module.
pub(super) struct Crowd {
    options: Players,
    cast: Cast,
    agent: SocketAddr,
    epoch: Instant,
    ai: Option<Key>,
    ai_is_ready: bool,
    clients: Vec<Client>,
    /// How many have connected.
    come: u32,
    /// Who has a slot of the network, with the connection that it was given to.
    by_slot: Vec<Option<(Key, Who)>>,
    welcomed: u32,
    sight: Sight,
    /// For the choice of zones.
    random: u64,
    dropped: u64,
    received: u64,
    counts: Counts,
    latencies: Latencies,
    failure: Option<Failure>,
}

impl Crowd {
    pub(super) fn new(options: &Players, cast: Cast, agent: SocketAddr) -> Self {
        let clients = options.population.clients;
        Self {
            options: *options,
            cast,
            agent,
            epoch: Instant::now(),
            ai: None,
            ai_is_ready: false,
            clients: (0..clients).map(|_| Client::default()).collect(),
            come: 0,
            by_slot: Vec::new(),
            welcomed: 0,
            sight: Sight::new(clients, options.population.zones()),
            random: 1,
            dropped: 0,
            received: 0,
            counts: Counts::default(),
            latencies: Latencies::default(),
            failure: None,
        }
    }

    fn connect(&mut self, network: &mut Network, address: SocketAddr, who: Who) -> Result<Key, Failure> {
        let key = network.connect(address)?;
        if self.by_slot.len() <= key.slot() {
            self.by_slot.resize(key.slot() + 1, None);
        }
        self.by_slot[key.slot()] = Some((key, who));
        Ok(key)
    }

    pub(super) fn connect_ai(&mut self, network: &mut Network, address: SocketAddr) -> Result<(), Failure> {
        let key = self.connect(network, address, Who::Ai)?;
        network.send(key, &self.cast.opening());
        self.ai = Some(key);
        Ok(())
    }

    /// Its subscriptions are in effect and its world is there: its question has been answered.
    pub(super) fn ai_is_ready(&self) -> bool {
        self.ai_is_ready
    }

    /// Lets as many clients connect as may be on their way at once.
    pub(super) fn log_in_more(&mut self, network: &mut Network) -> Result<(), Failure> {
        while self.come < self.options.population.clients.min(self.welcomed + self.options.logins) {
            self.log_in(network, self.come)?;
            self.come += 1;
        }
        Ok(())
    }

    fn log_in(&mut self, network: &mut Network, client: u32) -> Result<(), Failure> {
        let key = self.connect(network, self.agent, Who::Client(client))?;
        network.send(key, &self.cast.hello());
        self.clients[client as usize].key = Some(key);
        Ok(())
    }

    pub(super) fn logged_in(&self) -> u32 {
        self.welcomed
    }

    fn has_zones(&self) -> bool {
        self.options.population.zone_size > 0
    }

    /// Everybody is in, and sees everybody in its zone, with all that they have sent.
    pub(super) fn everything_is_there(&mut self) -> bool {
        let is_busy = |client: &Client| client.doing.is_some() || !client.waiting.is_empty();
        self.welcomed == self.options.population.clients
            && (!self.has_zones() || (self.sight.missing().is_none() && !self.clients.iter().any(is_busy)))
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn begin_measuring(&mut self) {
        self.latencies.reset();
    }

    pub(super) fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    pub(super) fn condition(&self) -> String {
        let Counts { updates, deliveries, moves, chats, reconnects, .. } = self.counts;
        format!(
            "{} clients, {updates} updates, {deliveries} deliveries, {chats} chats, {moves} moves, {reconnects} \
             reconnects, p99 {:.1} ms",
            self.welcomed,
            self.latencies.updates.value_at_quantile(0.99) as f64 / 1e6
        )
    }

    /// What a run that does not come to its end waits for.
    pub(super) fn missing(&mut self) -> String {
        let missing = if self.has_zones() { self.sight.missing() } else { None };
        missing.unwrap_or_else(|| "some are busy".to_owned())
    }

    fn us_of(&self, at: Instant) -> u32 {
        at.saturating_duration_since(self.epoch).as_micros() as u32
    }

    /// Sends an update that was due at this moment. Who is just coming back has nothing to send it for.
    pub(super) fn update(&mut self, network: &mut Network, client: u32, due: Instant) {
        let due_us = self.us_of(due);
        let Client { key: Some(key), avatar: Some(avatar), owns: true, .. } = self.clients[client as usize] else {
            self.counts.of_absent += 1;
            return;
        };
        let number = self.sight.updates(client);
        network.send(key, &self.cast.update(avatar, Stamp { number, due_us }));
        self.counts.updates += 1;
    }

    /// Says something that was due at this moment.
    pub(super) fn chat(&mut self, network: &mut Network, client: u32, due: Instant) {
        let due_us = self.us_of(due);
        let Client { key: Some(key), avatar: Some(avatar), owns: true, .. } = self.clients[client as usize] else {
            self.counts.of_absent += 1;
            return;
        };
        let number = self.sight.says(client);
        network.send(key, &self.cast.chat(avatar, Stamp { number, due_us }, self.options.chat_bytes));
        self.counts.chats += 1;
    }

    pub(super) fn heartbeat(&mut self, network: &mut Network, client: u32) {
        let Client { key: Some(key), welcomed: true, .. } = self.clients[client as usize] else { return };
        network.send(key, &Cast::heartbeat());
    }

    /// Of everybody who is there by now.
    pub(super) fn all_heartbeats(&mut self, network: &mut Network) {
        (0..self.come).for_each(|client| self.heartbeat(network, client));
    }

    /// A client is to go to another zone: now, or when it has done what it is at.
    pub(super) fn move_away(&mut self, network: &mut Network, client: u32, due: Instant) {
        self.clients[client as usize].waiting.push_back(Task::Move(due));
        self.next_task(network, client);
    }

    /// A client is to break off and come back: now, or when it has done what it is at.
    pub(super) fn reconnect(&mut self, network: &mut Network, client: u32, due: Instant) {
        self.clients[client as usize].waiting.push_back(Task::Reconnect(due));
        self.next_task(network, client);
    }

    fn next_task(&mut self, network: &mut Network, client: u32) {
        let state = &mut self.clients[client as usize];
        if state.doing.is_some() || !state.is_present() {
            return;
        }
        state.doing = state.waiting.pop_front();
        let outcome = match state.doing {
            None => Ok(()),
            Some(Task::Move(due)) => {
                self.begin_move(network, client, due);
                Ok(())
            }
            Some(Task::Reconnect(due)) => {
                // In turns, so that both ends are seen.
                let how = if self.dropped.is_multiple_of(2) { Drop::Polite } else { Drop::Reset };
                self.dropped += 1;
                self.counts.reconnects += 1;
                self.drop_connection(network, client, how, due);
                self.log_in(network, client)
            }
        };
        self.note(outcome);
    }

    fn begin_move(&mut self, network: &mut Network, client: u32, due: Instant) {
        let Some(zone) = self.sight.zone_of(client).map(|zone| self.another_zone(zone)) else { return };
        let due_us = self.us_of(due);
        let number = self.sight.moves(client, zone, due);
        let state = &mut self.clients[client as usize];
        let (Some(key), Some(avatar)) = (state.key, state.avatar) else { return };
        let context = FIRST_CONTEXT + state.moves;
        state.moves = (state.moves + 1) % FIRST_CONTEXT;
        (state.sees, state.context) = (false, Some(context));
        network.send(key, &self.cast.move_to(avatar, zone, context));
        // Who arrives says where it is.
        network.send(key, &self.cast.update(avatar, Stamp { number, due_us }));
        self.counts.updates += 1;
        self.counts.moves += 1;
    }

    /// Of two other zones the emptier one: so all stay about as full as they were.
    fn another_zone(&mut self, zone: u32) -> u32 {
        let zones = self.options.population.zones();
        let mut choose = || {
            // An xorshift: the same choices in every run.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (zone + 1 + (self.random % u64::from(zones.max(2) - 1)) as u32) % zones
        };
        let (one, other) = (choose(), choose());
        if self.sight.population(other) < self.sight.population(one) { other } else { one }
    }

    /// Ends a client's connection; it is as it was before it came.
    fn drop_connection(&mut self, network: &mut Network, client: u32, how: Drop, due: Instant) {
        self.sight.drops(client, how, due);
        let state = &mut self.clients[client as usize];
        if state.welcomed {
            self.welcomed -= 1;
        }
        let (key, kept) = (state.key, std::mem::take(state));
        (state.doing, state.waiting) = (kept.doing, kept.waiting);
        let Some(key) = key else { return };
        match how {
            Drop::Polite => {
                self.by_slot[key.slot()] = Some((key, Who::Nobody));
                network.finish(key);
            }
            Drop::Reset => {
                self.by_slot[key.slot()] = None;
                network.reset(key);
            }
        }
    }

    /// All clients are gone without a word; the next ones are new.
    pub(super) fn vanish(&mut self, network: &mut Network) {
        let now = Instant::now();
        (0..self.come).for_each(|client| self.drop_connection(network, client, Drop::Reset, now));
        self.come = 0;
    }

    fn note(&mut self, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            self.failure.get_or_insert(failure);
        }
    }

    /// The first thing that was wrong.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(super) fn on_input(&mut self, network: &mut Network, key: Key, input: Input<'_>) {
        let Some((_, who)) = self.by_slot.get(key.slot()).copied().flatten().filter(|(of, _)| *of == key) else {
            return;
        };
        let outcome = match (who, input) {
            (_, Input::Connected) | (Who::Nobody, Input::Frame(_)) => Ok(()),
            (Who::Nobody, Input::Ended(End::EndOfFile | End::Error(_) | End::InsideFrame { .. })) => {
                self.by_slot[key.slot()] = None;
                Ok(())
            }
            (_, Input::Ended(end)) => Err(Failure::new(format!("the server has ended {who:?}: {end:?}"))),
            (Who::Ai, Input::Frame(body)) => {
                self.received += 1;
                self.ai_hears(network, key, body)
            }
            (Who::Client(client), Input::Frame(body)) => {
                self.received += 1;
                self.client_hears(network, client, body)
            }
        };
        self.note(outcome);
    }

    fn ai_hears(&mut self, network: &mut Network, key: Key, body: &[u8]) -> Result<(), Failure> {
        self.ai_is_ready = true;
        let who = self.cast.who_logs_in(body).filter(|&(_, client)| client != TOURIST);
        let Some((session, client)) = who else { return Ok(()) };
        let state = self.clients.get_mut(client as usize);
        let state = state.ok_or_else(|| Failure::new(format!("client {client} logs in, who never was")))?;
        let mut place = None;
        if let Some(first) = client.checked_div(self.options.population.zone_size) {
            // Where it was, or where it begins.
            let zone = self.sight.last_zone_of(client).unwrap_or(first);
            let due = match state.doing {
                Some(Task::Reconnect(due)) => due,
                _ => network.now(),
            };
            let avatar = self.sight.appears(client, zone, due)?;
            state.avatar = Some(avatar);
            place = Some((avatar, zone));
        } else {
            (state.owns, state.sees) = (true, true);
        }
        network.send(key, &self.cast.let_in(session, place, self.options.moves > 0.0));
        Ok(())
    }

    fn client_hears(&mut self, network: &mut Network, client: u32, body: &[u8]) -> Result<(), Failure> {
        let mut reader = Reader::new(body);
        let message_type = MessageType(reader.u16()?);
        let state = &mut self.clients[client as usize];
        match message_type {
            t::CLIENT_OBJECT_SET_FIELD => return self.told(network, client, reader),
            t::CLIENT_ENTER_OBJECT_REQUIRED => return self.entered(network, client, reader, false),
            t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER => return self.entered(network, client, reader, true),
            t::CLIENT_OBJECT_LEAVING => {
                let avatar = Cast::avatar(reader.doid()?)?;
                self.counts.leavings += 1;
                if let Some(due) = self.sight.left(client, avatar)? {
                    Latencies::record(&mut self.latencies.leavings, network.now(), due);
                }
            }
            t::CLIENT_HELLO_RESP => {
                let login = self.cast.login(client);
                if let Some(key) = state.key {
                    network.send(key, &login);
                }
            }
            WELCOME => {
                ensure(!std::mem::replace(&mut state.welcomed, true), || format!("client {client} is welcomed twice"))?;
                self.welcomed += 1;
                self.perhaps_present(network, client);
            }
            t::CLIENT_ENTER_OBJECT_REQUIRED_OWNER | t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER_OWNER => {
                let avatar = Cast::avatar(reader.doid()?)?;
                ensure(state.avatar == Some(avatar) && !state.owns, || {
                    format!("client {client} is given {avatar}, or is given it twice")
                })?;
                state.owns = true;
                self.perhaps_present(network, client);
            }
            t::CLIENT_ADD_INTEREST => {
                let context = reader.u32()?;
                ensure(state.context.replace(context).is_none(), || {
                    format!("client {client} is told of an interest while another is under way")
                })?;
            }
            t::CLIENT_DONE_INTEREST_RESP => {
                let context = reader.u32()?;
                ensure(state.context.take() == Some(context), || {
                    format!("client {client} is told that interest {context} is done, for which it does not wait")
                })?;
                state.sees = true;
                self.sight.done(client)?;
                self.perhaps_present(network, client);
            }
            t::CLIENT_EJECT => {
                let (code, text) = (reader.u16()?, reader.blob()?);
                let text = String::from_utf8_lossy(text);
                return Err(Failure::new(format!("client {client} was ejected with {code}: {text}")));
            }
            // Nothing else is for a client that plays this game.
            other => return Err(Failure::new(format!("client {client} was told {other}"))),
        }
        Ok(())
    }

    /// When a client has everything again that it waited for, what it was at is over.
    fn perhaps_present(&mut self, network: &mut Network, client: u32) {
        let state = &mut self.clients[client as usize];
        if !state.is_present() {
            return;
        }
        match state.doing.take() {
            Some(Task::Move(due)) => Latencies::record(&mut self.latencies.moves, network.now(), due),
            Some(Task::Reconnect(due)) => Latencies::record(&mut self.latencies.reconnects, network.now(), due),
            None => {}
        }
        self.next_task(network, client);
    }

    fn entered(&mut self, network: &Network, client: u32, reader: Reader<'_>, has_other: bool) -> Result<(), Failure> {
        let (avatar, zone, last) = self.cast.entry(reader, has_other)?;
        self.counts.entries += 1;
        if let Some(due) = self.sight.entered(client, avatar, zone, last)? {
            Latencies::record(&mut self.latencies.entries, network.now(), due);
        }
        Ok(())
    }

    /// An update, or something said.
    fn told(&mut self, network: &Network, client: u32, mut reader: Reader<'_>) -> Result<(), Failure> {
        let avatar = Cast::avatar(reader.doid()?)?;
        let field = self.cast.field(reader.u16()?);
        let field = field.ok_or_else(|| Failure::new(format!("client {client} is told of a field of {avatar}")))?;
        let Stamp { number, due_us } = Cast::stamp(&field, &mut reader)?;
        // Ahead of its stamp it cannot be; around the end of 32 bits it may look so.
        let late_us = self.us_of(network.now()).wrapping_sub(due_us);
        let late_us = if late_us > u32::MAX / 2 { 0 } else { late_us };
        let nanoseconds = (u64::from(late_us) * 1000).max(1);
        match field {
            Field::Position => {
                self.sight.updated(client, avatar, number)?;
                self.counts.deliveries += 1;
                self.latencies.updates.saturating_record(nanoseconds);
            }
            Field::Chat => {
                self.sight.said(client, avatar, number)?;
                self.counts.chat_deliveries += 1;
                self.latencies.chats.saturating_record(nanoseconds);
            }
        }
        Ok(())
    }
}
