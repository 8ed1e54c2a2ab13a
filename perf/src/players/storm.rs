//! Everybody comes at once, and everybody is gone at once: what a restart of a game, or the loss of a proxy, does.

use super::{Players, Population, Run, TURN};
use crate::daemon::{EXAMPLE_DC, Setup};
use crate::failure::{Failure, ensure};
use crate::report::{Mark, Report};
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
        Players { heartbeat: 30.0, logins: self.population.clients, ..Players::standing(self.population) }
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
        let mut run = Run::begin(&self.players(), target, EXAMPLE_DC)?;
        for round in 1..=self.rounds {
            let mut report = Report::new("storm", target);
            report.set("round", round);
            report.set("clients", self.population.clients);
            report.set("zone_size", self.population.zone_size);
            run.rest(target)?;
            self.come(round, &mut run, target, &mut report)?;
            self.vanish(&mut run, target, &mut report)?;
            each(&report);
        }
        Ok(())
    }

    fn come(&self, round: u32, run: &mut Run, target: &Target, report: &mut Report) -> Result<(), Failure> {
        let login = run.log_in(target)?;
        report.set("login_seconds", login.spent.elapsed.as_secs_f64());
        report.set("logins_per_s", f64::from(self.population.clients) / login.spent.elapsed.as_secs_f64());
        report.set("login_cpu_us", login.cpu_us(self.population.clients));
        report.set_rate(&format!("logins, round {round}"), &login.coming);
        report.set("resident_bytes_before", login.bytes.map(|(before, _)| before));
        report.set("resident_bytes_logged_in", login.bytes.map(|(_, with)| with));
        Ok(())
    }

    fn vanish(&self, run: &mut Run, target: &Target, report: &mut Report) -> Result<(), Failure> {
        let before = Mark::take(target)?;
        run.crowd.vanish(&mut run.network);
        run.rest(target)?;
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
    pub(super) fn rest(&mut self, target: &Target) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            let before = Mark::take(target)?;
            let until = Instant::now() + QUIET;
            while Instant::now() < until {
                self.turn(TURN)?;
            }
            match Mark::take(target)?.since(&before).server {
                Some(server) if server.cpu > IDLE_CPU => {}
                _ => return Ok(()),
            }
            ensure(begin.elapsed() < PATIENCE, || format!("the server has not come to rest within {PATIENCE:?}"))?;
        }
    }
}
