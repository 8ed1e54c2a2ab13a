//! Many clients of one small game, from outside: who logs in, sees, moves, and how long it takes until others see it.
//!
//! [`Players`] is what may be asked for and the course of a run; [`cast`] the game's numbers, and what its AI does;
//! [`crowd`] the clients; [`sight`] judges what they are told; [`schedule`] is what is due when; [`strangers`] are
//! connections that come and go meanwhile; [`storm`] is the other course that a run may take: all come at once and vanish
//! at once.

mod cast;
pub(crate) mod counts;
mod crowd;
mod interest;
mod schedule;
mod sight;
mod storm;
mod strangers;
pub mod table;

use crate::daemon::{EXAMPLE_DC, Setup};
use crate::failure::{Failure, ensure};
use crate::net::{Input, Key, Network};
use crate::progress::Progress;
use crate::report::{Mark, Report, Spent, Times};
use crate::target::Target;
use crate::timeline::Timeline;
use crate::traffic::Traffic;
use cast::{CHAT_BYTES_MAX, CHAT_BYTES_MIN, Cast};
use clap::Args;
use counts::{Counts, Latencies};
use crowd::Crowd;
use schedule::Schedule;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
pub use storm::Storm;
use strangers::Strangers;

/// How long a run may go without any progress before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest wait for news.
const TURN: Duration = Duration::from_millis(20);

/// How many clients, and how many see each other.
#[derive(Clone, Copy, Debug, Args)]
pub struct Population {
    /// How many clients.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub clients: u32,
    /// How many of them stand in one zone and see each other; 0 lets them log in and have no avatar.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub zone_size: u32,
}

impl Population {
    fn zones(self) -> u32 {
        if self.zone_size == 0 { 0 } else { self.clients.div_ceil(self.zone_size) }
    }

    /// How many begin in a zone: the last may have fewer.
    fn of_zone(self, zone: u32) -> u32 {
        self.zone_size.min(self.clients - zone * self.zone_size)
    }
}

/// Clients of a game.
#[derive(Clone, Copy, Debug, Args)]
pub struct Players {
    #[command(flatten)]
    pub population: Population,
    /// Position updates of each client a second, spread evenly; 0 lets them stand. Latency counts from when an update was
    /// due.
    #[arg(long, value_name = "HZ", default_value_t = 1.0)]
    pub rate: f64,
    /// How often a second each client changes zone, with its avatar and its interest. Every entry and leaving is checked;
    /// latency counts from when the move was due.
    #[arg(long, value_name = "HZ", default_value_t = 0.0)]
    pub moves: f64,
    /// How often a second each client says something that all in its zone hear.
    #[arg(long, value_name = "HZ", default_value_t = 0.0)]
    pub chat: f64,
    /// Bytes of what is said.
    #[arg(long, value_name = "BYTES", default_value_t = 40, value_parser = clap::value_parser!(u32).range(i64::from(CHAT_BYTES_MIN)..=i64::from(CHAT_BYTES_MAX)))]
    pub chat_bytes: u32,
    /// So many clients a second break off their connection, every other one with a reset, and come back: login anew,
    /// avatar anew.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    pub reconnects: f64,
    /// Seconds between the heartbeats of a client; 0 switches them off, and the server's time-out for them.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub heartbeat: f64,
    /// Logins that are on their way at once.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub logins: u32,
    /// Further connections a second that come and break off at once, at different points of the handshake, while the
    /// others are measured.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    pub strangers: f64,
    /// The server gathers what it sends to a client for at most so many microseconds (`flush_delay_us`).
    #[arg(long, value_name = "US", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub flush_delay_us: u32,
    #[command(flatten)]
    pub times: Times,
}

impl Players {
    /// Clients that log in and stand.
    pub fn standing(population: Population) -> Self {
        Self {
            population,
            rate: 0.0,
            moves: 0.0,
            chat: 0.0,
            chat_bytes: 40,
            reconnects: 0.0,
            heartbeat: 10.0,
            logins: 100,
            strangers: 0.0,
            flush_delay_us: 0,
            times: Times { seconds: 0.0, warm_up: 0.0 },
        }
    }

    /// What the daemon's configuration must say for this load.
    pub fn configure(&self, setup: &mut Setup) {
        // Three heartbeats may be lost.
        let timeout_ms = (self.heartbeat * 4000.0) as u64;
        let keys =
            format!("relocate = true\nheartbeat_timeout_ms = {timeout_ms}\nflush_delay_us = {}", self.flush_delay_us);
        setup.replace.push(("relocate = true", keys));
    }

    /// Runs it.
    ///
    /// # Errors
    /// When somebody is ejected, is told of what it must not see or not told of what it must, or when an update or
    /// something said is lost, doubled or out of order.
    pub fn run(&self, target: &Target) -> Result<Report, Failure> {
        let mut run = Run::begin(self, target, EXAMPLE_DC)?;
        let mut report = Report::new("players", target);
        report.set("clients", self.population.clients);
        report.set("zone_size", self.population.zone_size);
        report.set("updates_per_client_per_s", self.rate);
        report.set("moves_per_client_per_s", self.moves);
        report.set("chats_per_client_per_s", self.chat);
        report.set("reconnects_wanted_per_s", self.reconnects);
        let login = run.log_in(target)?;
        report.set("logins_per_s", f64::from(self.population.clients) / login.spent.elapsed.as_secs_f64());
        report.set("login_cpu_us", login.cpu_us(self.population.clients));
        report.set("bytes_per_client", login.bytes_per_client(self.population.clients));
        let played = run.play(target)?;
        played.report(&mut report);
        Ok(report)
    }

    fn check(&self) -> Result<(), Failure> {
        for (option, value) in [
            ("rate", self.rate),
            ("moves", self.moves),
            ("chat", self.chat),
            ("reconnects", self.reconnects),
            ("heartbeat", self.heartbeat),
            ("strangers", self.strangers),
        ] {
            ensure(value.is_finite() && value >= 0.0, || format!("--{option} takes a number from 0 on, not {value}"))?;
        }
        ensure(self.moves == 0.0 || self.population.zones() > 1, || {
            "--moves needs more than one zone: more clients, or a smaller --zone-size".to_owned()
        })?;
        ensure(self.population.zone_size > 0 || self.moves + self.chat + self.reconnects == 0.0, || {
            "--moves, --chat and --reconnects need zones: a --zone-size above 0".to_owned()
        })
    }
}

/// All have logged in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) spent: Spent,
    /// How many did so when.
    pub(crate) coming: Timeline,
    /// Resident memory of the server, before and with all of them.
    pub(crate) bytes: Option<(u64, u64)>,
}

impl Login {
    /// The server's processor time of each.
    pub(crate) fn cpu_us(&self, clients: u32) -> Option<f64> {
        self.spent.server.map(|server| server.cpu.as_secs_f64() * 1e6 / f64::from(clients))
    }

    pub(crate) fn bytes_per_client(&self, clients: u32) -> Option<f64> {
        self.bytes.map(|(before, with)| with.saturating_sub(before) as f64 / f64::from(clients))
    }
}

/// What was measured while they played.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) spent: Spent,
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
    pub(crate) traffic: Traffic,
    /// Updates that the generator itself was too slow for.
    pub(crate) not_sent: u64,
    deliveries: Timeline,
    strangers: Option<(strangers::Counts, Option<u64>, Option<u64>)>,
}

impl Played {
    fn report(&self, report: &mut Report) {
        let Counts { updates, deliveries, chats, chat_deliveries, moves, entries, leavings, reconnects, of_absent } =
            self.counts;
        report.set_usage(&self.spent, &[("updates", updates), ("deliveries", deliveries)]);
        let server = self.spent.server;
        report.set(
            "server_cpu_s_per_s",
            server.map(|server| server.cpu.as_secs_f64() / self.spent.elapsed.as_secs_f64()),
        );
        report.set("bytes_to_clients_per_s", self.traffic.bytes_in as f64 / self.spent.elapsed.as_secs_f64());
        report.set("bytes_from_clients_per_s", self.traffic.bytes_out as f64 / self.spent.elapsed.as_secs_f64());
        report.set_latencies("latency_us", &self.latencies.updates);
        let others = [
            ("chats", chats, "chat_latency_us", &self.latencies.chats),
            ("moves", moves, "move_latency_us", &self.latencies.moves),
            ("reconnects", reconnects, "reconnect_latency_us", &self.latencies.reconnects),
            ("entries", entries, "entry_latency_us", &self.latencies.entries),
            ("leavings", leavings, "leaving_latency_us", &self.latencies.leavings),
        ];
        for (name, count, latency, histogram) in others {
            if count > 0 {
                report.set(name, count);
                report.set_latencies(latency, histogram);
            }
        }
        if chats > 0 {
            report.set("chat_deliveries", chat_deliveries);
        }
        report.set("updates_of_absent_clients", of_absent);
        report.set("all_updates_arrived_in_order", true);
        report.set("updates_not_sent", self.not_sent);
        report.set_rate("deliveries", &self.deliveries);
        if let Some((strangers, before, after)) = &self.strangers {
            strangers.report(report);
            report.set("resident_bytes_before_strangers", *before);
            report.set("resident_bytes_after_strangers", *after);
        }
    }
}

/// A run under way.
pub(crate) struct Run {
    options: Players,
    crowd: Crowd,
    network: Network,
    agent: SocketAddr,
    hello: Vec<u8>,
}

impl Run {
    /// Connects the AI. `contract` begins with that of the game.
    pub(crate) fn begin(options: &Players, target: &Target, contract: &str) -> Result<Self, Failure> {
        options.check()?;
        let agent =
            target.client_agent.ok_or_else(|| Failure::new("players need a server that this program starts"))?;
        let cast = Cast::new(contract)?;
        let hello = cast.hello();
        let crowd = Crowd::new(options, cast, agent);
        let mut run = Self { options: *options, crowd, network: Network::new()?, agent, hello };
        run.crowd.connect_ai(&mut run.network, target.address)?;
        run.turns("the AI's link", |run| Ok(run.crowd.ai_is_ready()))?;
        Ok(run)
    }

    /// Lets all clients come, until everybody sees everybody.
    pub(crate) fn log_in(&mut self, target: &Target) -> Result<Login, Failure> {
        let before = Mark::take(target)?;
        let mut beaten = Instant::now();
        let (mut coming, mut counted) = (Timeline::new(beaten), self.crowd.logged_in());
        let mut progress = Progress::new("players: login", self.options.population.clients.into());
        self.turns("logins", |run| {
            run.crowd.log_in_more(&mut run.network)?;
            if run.options.heartbeat > 0.0 && beaten.elapsed().as_secs_f64() > run.options.heartbeat {
                beaten = Instant::now();
                run.crowd.all_heartbeats(&mut run.network);
            }
            let (now, done) = (Instant::now(), run.crowd.logged_in());
            coming.add(now, done.saturating_sub(counted));
            counted = done;
            progress.show(now, done.into(), || format!("{done} clients"));
            Ok(run.crowd.everything_is_there())
        })?;
        let after = Mark::take(target)?;
        let bytes = before.server_bytes().zip(after.server_bytes());
        Ok(Login { spent: after.since(&before), bytes, coming })
    }

    fn turn(&mut self, timeout: Duration) -> Result<(), Failure> {
        let Self { crowd, network, .. } = self;
        network.turn(Some(timeout), &mut |network: &mut Network, key: Key, input: Input<'_>| {
            crowd.on_input(network, key, input);
        })?;
        self.crowd.check()
    }

    /// Turns until `done` says so; it may take as long as there is progress.
    fn turns(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Result<bool, Failure>) -> Result<(), Failure> {
        let (mut last, mut at) = (self.crowd.received(), Instant::now());
        while !done(self)? {
            self.turn(TURN)?;
            if last != self.crowd.received() {
                (last, at) = (self.crowd.received(), Instant::now());
            }
            if at.elapsed() > PATIENCE {
                let (condition, missing) = (self.crowd.condition(), self.crowd.missing());
                return Err(Failure::new(format!(
                    "waited in vain for {what} for {PATIENCE:?}: {condition}; {missing}"
                )));
            }
        }
        Ok(())
    }

    /// Plays for as long as was asked for, and then until everything has arrived.
    pub(crate) fn play(&mut self, target: &Target) -> Result<Played, Failure> {
        let begin = Instant::now();
        let mut schedule = Schedule::new(&self.options, begin);
        let end = begin + self.options.times.warm_up() + self.options.times.measured();
        let mut progress = Progress::new("players: play", (end - begin).as_millis() as u64);
        let (mut mark, mut strangers) = (None, None);
        let (mut deliveries, mut counted) = (Timeline::new(begin), self.crowd.counts().deliveries);
        loop {
            let now = Instant::now();
            if mark.is_none() && now >= begin + self.options.times.warm_up() {
                self.crowd.begin_measuring();
                if self.options.strangers > 0.0 {
                    strangers = Some(Strangers::begin(self.agent, self.options.strangers, self.hello.clone())?);
                }
                mark = Some((Mark::take(target)?, self.crowd.counts(), self.network.traffic()));
            }
            if now >= end {
                break;
            }
            schedule.send_due(&mut self.crowd, &mut self.network, now);
            let wait = schedule.wait(Instant::now()).min(TURN);
            self.turn(wait)?;
            let delivered = self.crowd.counts().deliveries;
            deliveries.add(self.network.now(), (delivered - counted) as u32);
            counted = delivered;
            progress.show(now, (now - begin).as_millis() as u64, || self.crowd.condition());
        }
        drop(progress);
        let (mark, counts, traffic) = mark.expect("the measured time begins before it ends");
        let spent = Mark::take(target)?.since(&mark);
        let (counts, traffic) = (self.crowd.counts() - counts, self.network.traffic() - traffic);
        let strangers = match strangers {
            Some(strangers) => Some((strangers.end()?, mark.server_bytes(), Mark::take(target)?.server_bytes())),
            None => None,
        };
        // Nothing may be missing, however late.
        self.turns("the last updates", |run| Ok(run.crowd.everything_is_there()))?;
        let (latencies, not_sent) = (self.crowd.latencies().clone(), schedule.not_sent(end));
        Ok(Played { spent, counts, latencies, traffic, not_sent, deliveries, strangers })
    }
}
