//! The clients and their AI: how far each has come, what each is told, and whether it is what it should be told.

use super::Players;
use super::cast::{Cast, WELCOME};
use crate::failure::{Failure, ensure};
use crate::net::{Input, Key, Network};
use crate::report::latencies;
use donet::wire::{MessageType, Reader, message_type as t};
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::time::Instant;

/// A client by its number, or the AI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Ai,
    Client(u32),
}

#[derive(Debug)]
struct Client {
    key: Key,
    /// The number of its next update.
    next: u16,
}

/// What was asked for decides how many there are; see the module.
pub(super) struct Crowd {
    options: Players,
    cast: Cast,
    agent: SocketAddr,
    epoch: Instant,
    ai: Option<Key>,
    ai_is_ready: bool,
    clients: Vec<Client>,
    /// Who has a slot of the network, with the connection that it was given to.
    by_slot: Vec<Option<(Key, Who)>>,
    welcomed: u32,
    entered: u64,
    entries_due: u64,
    /// By client and place in its zone: the number of the next update of that neighbour, once one has come.
    awaited: Vec<u16>,
    updates: u64,
    deliveries: u64,
    deliveries_due: u64,
    received: u64,
    latencies: Histogram<u64>,
    failure: Option<Failure>,
}

impl Crowd {
    pub(super) fn new(options: &Players, cast: Cast, agent: SocketAddr) -> Self {
        // An avatar is a session object: its owner has no other view of it.
        let of_zone =
            |zone| u64::from(options.population.of_zone(zone)) * u64::from(options.population.of_zone(zone) - 1);
        let entries = (0..options.population.zones()).map(of_zone).sum();
        Self {
            options: *options,
            cast,
            agent,
            epoch: Instant::now(),
            ai: None,
            ai_is_ready: false,
            clients: Vec::with_capacity(options.population.clients as usize),
            by_slot: Vec::new(),
            welcomed: 0,
            entered: 0,
            entries_due: entries,
            awaited: vec![0; options.population.clients as usize * options.population.zone_size as usize],
            updates: 0,
            deliveries: 0,
            deliveries_due: 0,
            received: 0,
            latencies: latencies(),
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
        while (self.clients.len() as u32) < self.options.population.clients.min(self.welcomed + self.options.logins) {
            let client = self.clients.len() as u32;
            let key = self.connect(network, self.agent, Who::Client(client))?;
            network.send(key, &self.cast.hello());
            self.clients.push(Client { key, next: 0 });
        }
        Ok(())
    }

    pub(super) fn logged_in(&self) -> u32 {
        self.welcomed
    }

    pub(super) fn everybody_sees_everybody(&self) -> bool {
        self.welcomed == self.options.population.clients && self.entered == self.entries_due
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Updates sent and deliveries taken so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.updates, self.deliveries)
    }

    pub(super) fn everything_arrived(&self) -> bool {
        self.deliveries == self.deliveries_due
    }

    pub(super) fn begin_measuring(&mut self) {
        self.latencies.reset();
    }

    pub(super) fn latencies(&self) -> &Histogram<u64> {
        &self.latencies
    }

    pub(super) fn condition(&self) -> String {
        let Self { welcomed, entered, entries_due, updates, deliveries, deliveries_due, .. } = self;
        format!(
            "{welcomed} clients, {entered} of {entries_due} entries, {updates} updates, {deliveries} of \
             {deliveries_due} deliveries, p99 {:.1} ms",
            self.latencies.value_at_quantile(0.99) as f64 / 1e6
        )
    }

    /// Sends an update that was due at this moment.
    pub(super) fn update(&mut self, network: &mut Network, client: u32, due: Instant) {
        let stamp_us = due.saturating_duration_since(self.epoch).as_micros() as u32;
        let Client { key, next } = &mut self.clients[client as usize];
        network.send(*key, &self.cast.update(client, *next, stamp_us));
        *next = next.wrapping_add(1);
        self.updates += 1;
        self.deliveries_due +=
            u64::from(self.options.population.of_zone(client / self.options.population.zone_size) - 1);
    }

    pub(super) fn heartbeat(&mut self, network: &mut Network, client: u32) {
        network.send(self.clients[client as usize].key, &Cast::heartbeat());
    }

    /// Of everybody who is there by now.
    pub(super) fn all_heartbeats(&mut self, network: &mut Network) {
        for client in &self.clients {
            network.send(client.key, &Cast::heartbeat());
        }
    }

    /// All clients are gone without a word; the next ones are new.
    pub(super) fn vanish(&mut self, network: &mut Network) {
        for client in std::mem::take(&mut self.clients) {
            self.by_slot[client.key.slot()] = None;
            network.reset(client.key);
        }
        (self.welcomed, self.entered) = (0, 0);
        self.awaited.fill(0);
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
            (_, Input::Connected) => Ok(()),
            (_, Input::Ended(end)) => Err(Failure::new(format!("the server has ended {who:?}: {end:?}"))),
            (Who::Ai, Input::Frame(body)) => {
                self.received += 1;
                self.ai_hears(network, key, body);
                Ok(())
            }
            (Who::Client(client), Input::Frame(body)) => {
                self.received += 1;
                self.client_hears(network, client, body)
            }
        };
        if let Err(failure) = outcome {
            self.failure.get_or_insert(failure);
        }
    }

    fn ai_hears(&mut self, network: &mut Network, key: Key, body: &[u8]) {
        self.ai_is_ready = true;
        if let Some((session, client)) = self.cast.who_logs_in(body) {
            let zone = (self.options.population.zone_size > 0).then(|| client / self.options.population.zone_size);
            network.send(key, &self.cast.let_in(session, client, zone));
        }
    }

    fn client_hears(&mut self, network: &mut Network, client: u32, body: &[u8]) -> Result<(), Failure> {
        let mut reader = Reader::new(body);
        let message_type = MessageType(reader.u16()?);
        match message_type {
            t::CLIENT_OBJECT_SET_FIELD => return self.delivered(network, client, reader),
            t::CLIENT_HELLO_RESP => network.send(self.clients[client as usize].key, &self.cast.login(client)),
            WELCOME => self.welcomed += 1,
            t::CLIENT_ENTER_OBJECT_REQUIRED | t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER => self.entered += 1,
            t::CLIENT_EJECT => {
                let (code, text) = (reader.u16()?, reader.blob()?);
                let text = String::from_utf8_lossy(text);
                return Err(Failure::new(format!("client {client} was ejected with {code}: {text}")));
            }
            t::CLIENT_OBJECT_LEAVING => return Err(Failure::new(format!("somebody left the view of client {client}"))),
            _ => {}
        }
        Ok(())
    }

    fn delivered(&mut self, network: &Network, client: u32, mut reader: Reader<'_>) -> Result<(), Failure> {
        let (avatar, field) = (reader.doid()?, reader.u16()?);
        let (number, stamp_us) = (reader.u16()?, reader.u32()?);
        let size = self.options.population.zone_size;
        let is_neighbour = |&other: &u32| {
            size > 0 && field == self.cast.position.0 && other != client && other / size == client / size
        };
        let neighbour = Cast::client_of(avatar).filter(is_neighbour);
        let neighbour = neighbour.ok_or_else(|| Failure::new(format!("client {client} was told of {avatar}")))?;
        let awaited = &mut self.awaited[client as usize * size as usize + (neighbour % size) as usize];
        ensure(*awaited == number, || {
            format!("client {client} got update {number} of {neighbour} where {awaited} was awaited")
        })?;
        *awaited = awaited.wrapping_add(1);
        self.deliveries += 1;
        let now_us = network.now().saturating_duration_since(self.epoch).as_micros() as u32;
        // Ahead of its stamp it cannot be; around the end of 32 bits it may look so.
        let late_us = now_us.wrapping_sub(stamp_us);
        let late_us = if late_us > u32::MAX / 2 { 0 } else { late_us };
        self.latencies.saturating_record((u64::from(late_us) * 1000).max(1));
        Ok(())
    }
}
