//! Many clients of one small game, from outside: who logs in, sees, moves, and how long it takes until others see it.
//!
//! [`Players`] is what may be asked for and the course of a run; [`cast`] the game's numbers, and what its AI does;
//! [`crowd`] the clients; [`schedule`] what is due when; [`strangers`] connections that come and go meanwhile; [`storm`] is
//! the other course that a run may take: all come at once and vanish at once.

mod cast;
mod crowd;
mod schedule;
mod storm;
mod strangers;

use crate::daemon::Setup;
use crate::failure::{Failure, ensure};
use crate::net::{Input, Key, Network};
use crate::progress::Progress;
use crate::report::{Mark, Report, Times};
use crate::target::Target;
use cast::Cast;
use clap::Args;
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

    /// How many stand in a zone: the last may have fewer.
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
    /// When somebody is ejected, or an update is lost, doubled or out of order.
    pub fn run(&self, target: &Target) -> Result<Report, Failure> {
        let agent =
            target.client_agent.ok_or_else(|| Failure::new("players need a server that this program starts"))?;
        let (mut network, cast) = (Network::new()?, Cast::new()?);
        let hello = cast.hello();
        let mut run = Run { crowd: Crowd::new(self, cast, agent) };
        run.crowd.connect_ai(&mut network, target.address)?;
        run.turns(&mut network, "the AI's link", |run, _| Ok(run.crowd.ai_is_ready()))?;

        let mut report = Report::new("players", target);
        report.set("clients", self.population.clients);
        report.set("zone_size", self.population.zone_size);
        report.set("updates_per_client_per_s", self.rate);
        let before = Mark::take(target)?;
        let mut beaten = Instant::now();
        let mut progress = Progress::new("players: login", self.population.clients.into());
        run.turns(&mut network, "logins", |run, network| {
            run.crowd.log_in_more(network)?;
            if self.heartbeat > 0.0 && beaten.elapsed().as_secs_f64() > self.heartbeat {
                beaten = Instant::now();
                run.crowd.all_heartbeats(network);
            }
            let done = run.crowd.logged_in();
            progress.show(Instant::now(), done.into(), || format!("{done} clients"));
            Ok(run.crowd.everybody_sees_everybody())
        })?;
        drop(progress);
        let logged_in = Mark::take(target)?;
        let spent = logged_in.since(&before);
        report.set("logins_per_s", f64::from(self.population.clients) / spent.elapsed.as_secs_f64());
        if let Some(server) = spent.server {
            report.set("login_cpu_us", server.cpu.as_secs_f64() * 1e6 / f64::from(self.population.clients));
        }
        if let Some((now, then)) = logged_in.server_bytes().zip(before.server_bytes()) {
            report.set("bytes_per_client", now.saturating_sub(then) as f64 / f64::from(self.population.clients));
        }
        run.measure(&mut network, (self, agent, hello), target, &mut report)?;
        Ok(report)
    }
}

/// A run under way.
struct Run {
    crowd: Crowd,
}

impl Run {
    fn turn(&mut self, network: &mut Network, timeout: Duration) -> Result<(), Failure> {
        network.turn(Some(timeout), &mut |network: &mut Network, key: Key, input: Input<'_>| {
            self.crowd.on_input(network, key, input);
        })?;
        self.crowd.check()
    }

    /// Turns until `done` says so; it may take as long as there is progress.
    fn turns(
        &mut self,
        network: &mut Network,
        what: &str,
        mut done: impl FnMut(&mut Self, &mut Network) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let (mut last, mut at) = (self.crowd.received(), Instant::now());
        while !done(self, network)? {
            self.turn(network, TURN)?;
            if last != self.crowd.received() {
                (last, at) = (self.crowd.received(), Instant::now());
            }
            ensure(at.elapsed() < PATIENCE, || {
                format!("waited in vain for {what} for {PATIENCE:?}: {}", self.crowd.condition())
            })?;
        }
        Ok(())
    }

    fn measure(
        &mut self,
        network: &mut Network,
        (options, agent, hello): (&Players, SocketAddr, Vec<u8>),
        target: &Target,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let begin = Instant::now();
        let mut schedule = Schedule::new(options, begin);
        let end = begin + options.times.warm_up() + options.times.measured();
        let mut progress = Progress::new("players: play", (end - begin).as_millis() as u64);
        let (mut mark, mut strangers) = (None, None);
        loop {
            let now = Instant::now();
            if mark.is_none() && now >= begin + options.times.warm_up() {
                self.crowd.begin_measuring();
                if options.strangers > 0.0 {
                    strangers = Some(Strangers::begin(agent, options.strangers, hello.clone())?);
                }
                mark = Some((Mark::take(target)?, self.crowd.counts()));
            }
            if now >= end {
                break;
            }
            schedule.send_due(&mut self.crowd, network, now);
            let wait = schedule.wait(Instant::now()).min(TURN);
            self.turn(network, wait)?;
            progress.show(now, (now - begin).as_millis() as u64, || self.crowd.condition());
        }
        drop(progress);
        let (mark, before) = mark.expect("the measured time begins before it ends");
        let spent = Mark::take(target)?.since(&mark);
        let (updates, deliveries) = self.crowd.counts();
        // Nothing may be missing, however late.
        self.turns(network, "the last updates", |run, _| Ok(run.crowd.everything_arrived()))?;
        let counts = [("updates", updates - before.0), ("deliveries", deliveries - before.1)];
        report.set_usage(&spent, &counts);
        if let Some(server) = spent.server {
            report.set("server_cpu_s_per_s", server.cpu.as_secs_f64() / spent.elapsed.as_secs_f64());
        }
        report.set_latencies("latency_us", self.crowd.latencies());
        report.set("all_updates_arrived_in_order", true);
        // What the generator itself was too slow for.
        report.set("updates_not_sent", schedule.due(end).saturating_sub(updates));
        if let Some(strangers) = strangers {
            strangers.end()?.report(report);
            report.set("resident_bytes_before_strangers", mark.server_bytes());
            report.set("resident_bytes_after_strangers", Mark::take(target)?.server_bytes());
        }
        Ok(())
    }
}
