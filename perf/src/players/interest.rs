//! What it costs to look at a zone: one more client, without an avatar, opens zone after zone of a crowd that stands still.

use super::cast::{Cast, TOURIST, WELCOME};
use super::{PATIENCE, Players, Population, Run, TURN};
use crate::daemon::{EXAMPLE_DC, Setup};
use crate::failure::{Failure, ensure};
use crate::net::{Input, Key, Network};
use crate::report::{Mark, Report, Times, latencies};
use crate::target::Target;
use donet::wire::{MessageType, Reader, message_type as t};
use std::time::{Duration, Instant};

/// As many zones are open at once; an agent allows more.
const OPEN_MAX: u32 = 100;

/// Zones that are opened, one at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interest {
    pub(super) population: Population,
    pub(super) rounds: u32,
}

impl Interest {
    fn players(&self) -> Players {
        Players {
            rate: 0.0,
            heartbeat: 0.0,
            times: Times { seconds: 0.0, warm_up: 0.0 },
            ..Players::standing(self.population)
        }
    }

    pub(super) fn configure(&self, setup: &mut Setup) {
        self.players().configure(setup);
    }

    /// Runs it: processor time of each opening, with everybody in the zone told, and how long one took.
    ///
    /// # Errors
    /// When a zone does not show everybody who stands there, once.
    pub(super) fn run(&self, target: &Target) -> Result<Report, Failure> {
        let mut run = Run::begin(&self.players(), target, EXAMPLE_DC)?;
        run.log_in(target)?;
        run.rest(target)?;
        let mut tourist = Tourist::arrive(&mut run, target)?;
        let open = self.population.zones().min(OPEN_MAX);
        let (mut histogram, mut cpu) = (latencies(), Duration::ZERO);
        let mut opened = 0;
        for _ in 0..self.rounds {
            let before = Mark::take(target)?;
            for zone in 0..open {
                let begin = Instant::now();
                tourist.open(&mut run, zone, self.population.of_zone(zone))?;
                histogram.saturating_record(begin.elapsed().as_nanos() as u64);
                opened += 1;
            }
            cpu += Mark::take(target)?.since(&before).server.map_or(Duration::ZERO, |server| server.cpu);
            (0..open).try_for_each(|zone| tourist.close(&mut run, zone, self.population.of_zone(zone)))?;
        }
        let mut report = Report::new("players interest", target);
        report.set("clients", self.population.clients);
        report.set("zone_size", self.population.zone_size);
        report.set("interests", opened);
        report.set("interest_cpu_us", cpu.as_secs_f64() * 1e6 / f64::from(opened.max(1)));
        report.set_latencies("latency_us", &histogram);
        Ok(report)
    }
}

/// One more client, with an AI link of its own that lets it in.
struct Tourist {
    network: Network,
    ai: Key,
    client: Key,
    cast: Cast,
    heard: Heard,
}

/// What came to it since somebody looked.
#[derive(Default)]
struct Heard {
    ai_is_ready: bool,
    session: Option<u64>,
    greeted: bool,
    welcomed: bool,
    entries: u32,
    leavings: u32,
    done: u32,
    failure: Option<Failure>,
}

impl Tourist {
    fn arrive(run: &mut Run, target: &Target) -> Result<Self, Failure> {
        let (mut network, cast) = (Network::new()?, Cast::new(EXAMPLE_DC)?);
        let ai = network.connect(target.address)?;
        network.send(ai, &cast.guide());
        let client = network.connect(run.agent)?;
        let mut tourist = Self { network, ai, client, cast, heard: Heard::default() };
        tourist.until(run, "the tourist's guide", |heard| heard.ai_is_ready)?;
        let hello = tourist.cast.hello();
        tourist.network.send(client, &hello);
        tourist.until(run, "the greeting", |heard| heard.greeted)?;
        let login = tourist.cast.login(TOURIST);
        tourist.network.send(client, &login);
        tourist.until(run, "the tourist's login", |heard| heard.session.is_some())?;
        if let Some(session) = tourist.heard.session {
            let let_in = tourist.cast.let_in(session, None, true);
            tourist.network.send(ai, &let_in);
        }
        tourist.until(run, "the tourist's welcome", |heard| heard.welcomed)?;
        Ok(tourist)
    }

    /// Opens a zone, and waits until everybody in it has been shown.
    fn open(&mut self, run: &mut Run, zone: u32, people: u32) -> Result<(), Failure> {
        let message = self.cast.look(zone);
        self.network.send(self.client, &message);
        (self.heard.entries, self.heard.done) = (0, 0);
        self.until(run, "an interest", |heard| heard.done > 0)?;
        let entries = self.heard.entries;
        ensure(entries == people, || format!("zone {zone} has shown {entries} of {people}"))
    }

    fn close(&mut self, run: &mut Run, zone: u32, people: u32) -> Result<(), Failure> {
        let message = self.cast.look_away(zone);
        self.network.send(self.client, &message);
        (self.heard.leavings, self.heard.done) = (0, 0);
        self.until(run, "the end of an interest", |heard| heard.done > 0)?;
        let leavings = self.heard.leavings;
        ensure(leavings == people, || format!("of zone {zone}, {leavings} of {people} have left"))
    }

    fn until(&mut self, run: &mut Run, what: &str, is_so: impl Fn(&Heard) -> bool) -> Result<(), Failure> {
        let begin = Instant::now();
        while !is_so(&self.heard) {
            let Self { network, ai, cast, heard, .. } = self;
            network.turn(Some(TURN), &mut |_, key, input| {
                if let Err(failure) = heard.note(cast, key == *ai, input) {
                    heard.failure.get_or_insert(failure);
                }
            })?;
            // The crowd hears what it hears; nobody there waits for anything.
            run.turn(Duration::ZERO)?;
            if let Some(failure) = heard.failure.take() {
                return Err(failure);
            }
            ensure(begin.elapsed() < PATIENCE, || format!("waited in vain for {what} for {PATIENCE:?}"))?;
        }
        Ok(())
    }
}

impl Heard {
    fn note(&mut self, cast: &Cast, is_ai: bool, input: Input<'_>) -> Result<(), Failure> {
        let body = match input {
            Input::Frame(body) => body,
            Input::Connected => return Ok(()),
            Input::Ended(end) => return Err(Failure::new(format!("the server has ended the tourist: {end:?}"))),
        };
        if is_ai {
            self.ai_is_ready = true;
            if let Some((session, TOURIST)) = cast.who_logs_in(body) {
                self.session = Some(session);
            }
            return Ok(());
        }
        let mut reader = Reader::new(body);
        match MessageType(reader.u16()?) {
            t::CLIENT_HELLO_RESP => self.greeted = true,
            WELCOME => self.welcomed = true,
            t::CLIENT_ENTER_OBJECT_REQUIRED | t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER => self.entries += 1,
            t::CLIENT_OBJECT_LEAVING => self.leavings += 1,
            t::CLIENT_DONE_INTEREST_RESP => self.done += 1,
            other => return Err(Failure::new(format!("the tourist was told {other}"))),
        }
        Ok(())
    }
}
