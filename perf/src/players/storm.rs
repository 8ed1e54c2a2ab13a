//! Everybody comes at once, and everybody is gone at once: what a restart of a game, or the loss of a proxy, does.

use super::cast::Cast;
use super::crowd::Crowd;
use super::{Players, Population, Run, TURN};
use crate::daemon::Setup;
use crate::failure::{Failure, ensure};
use crate::net::Network;
use crate::progress::Progress;
use crate::report::{Mark, Report, Times};
use crate::target::Target;
use clap::Args;
use std::time::{Duration, Instant};

/// A server that has used less than this much processor time within [`QUIET`] has nothing left to do.
const IDLE_CPU: Duration = Duration::from_millis(2);
const QUIET: Duration = Duration::from_millis(400);
/// How long a server may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Storms of clients.
#[derive(Clone, Copy, Debug, Args)]
pub struct Storm {
    #[command(flatten)]
    pub population: Population,
    /// How often they come and vanish.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
}

impl Storm {
    fn players(&self) -> Players {
        Players {
            population: self.population,
            rate: 0.0,
            heartbeat: 30.0,
            logins: self.population.clients,
            strangers: 0.0,
            flush_delay_us: 0,
            times: Times { seconds: 0.0, warm_up: 0.0 },
        }
    }

    /// What the daemon's configuration must say for this load.
    pub fn configure(&self, setup: &mut Setup) {
        self.players().configure(setup);
    }

    /// Runs it. `each` gets the report of a storm when it is over.
    ///
    /// # Errors
    /// When somebody is ejected, or does not see everybody who is there.
    pub fn run(&self, target: &Target, mut each: impl FnMut(&Report)) -> Result<(), Failure> {
        let agent =
            target.client_agent.ok_or_else(|| Failure::new("a storm needs a server that this program starts"))?;
        let (mut network, cast, players) = (Network::new()?, Cast::new()?, self.players());
        let mut run = Run { crowd: Crowd::new(&players, cast, agent) };
        run.crowd.connect_ai(&mut network, target.address)?;
        run.turns(&mut network, "the AI's link", |run, _| Ok(run.crowd.ai_is_ready()))?;
        for round in 1..=self.rounds {
            let mut report = Report::new("storm", target);
            report.set("round", round);
            report.set("clients", self.population.clients);
            report.set("zone_size", self.population.zone_size);
            run.rest(&mut network, target)?;
            self.come(&mut run, &mut network, target, &mut report)?;
            self.vanish(&mut run, &mut network, target, &mut report)?;
            each(&report);
        }
        Ok(())
    }

    fn come(&self, run: &mut Run, network: &mut Network, target: &Target, report: &mut Report) -> Result<(), Failure> {
        let before = Mark::take(target)?;
        let mut progress = Progress::new("storm: login", self.population.clients.into());
        run.turns(network, "logins", |run, network| {
            run.crowd.log_in_more(network)?;
            let done = run.crowd.logged_in();
            progress.show(Instant::now(), done.into(), || format!("{done} clients"));
            Ok(run.crowd.everybody_sees_everybody())
        })?;
        drop(progress);
        let after = Mark::take(target)?;
        let spent = after.since(&before);
        report.set("login_seconds", spent.elapsed.as_secs_f64());
        report.set("logins_per_s", f64::from(self.population.clients) / spent.elapsed.as_secs_f64());
        report.set(
            "login_cpu_us",
            spent.server.map(|server| server.cpu.as_secs_f64() * 1e6 / f64::from(self.population.clients)),
        );
        report.set("resident_bytes_before", before.server_bytes());
        report.set("resident_bytes_logged_in", after.server_bytes());
        Ok(())
    }

    fn vanish(
        &self,
        run: &mut Run,
        network: &mut Network,
        target: &Target,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let before = Mark::take(target)?;
        run.crowd.vanish(network);
        run.rest(network, target)?;
        let after = Mark::take(target)?;
        let cpu = after
            .since(&before)
            .server
            .map(|server| server.cpu.as_secs_f64() * 1e6 / f64::from(self.population.clients));
        report.set("end_cpu_us", cpu);
        report.set("resident_bytes_after", after.server_bytes());
        Ok(())
    }
}

impl Run {
    /// Turns until the server has nothing left to do.
    fn rest(&mut self, network: &mut Network, target: &Target) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            let before = Mark::take(target)?;
            let until = Instant::now() + QUIET;
            while Instant::now() < until {
                self.turn(network, TURN)?;
            }
            match Mark::take(target)?.since(&before).server {
                Some(server) if server.cpu > IDLE_CPU => {}
                _ => return Ok(()),
            }
            ensure(begin.elapsed() < PATIENCE, || format!("the server has not come to rest within {PATIENCE:?}"))?;
        }
    }
}
