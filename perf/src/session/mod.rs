//! A whole game session over real sockets: an AI that plays the UberDOG too, an observer, three players, and the
//! claims of a first light, numbered as in its issue. Every claim is strict: exact messages, exact sets, exact order,
//! each once, nothing else; barriers and not pauses separate the phases.

mod cast;
mod endings;
mod events;
mod login;
mod objects;
mod storage;
mod view;
mod world;

use crate::contract::Names;
use crate::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use crate::failure::Failure;
use cast::Cast;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use world::{Endpoints, World};

/// Whom to play with.
#[derive(Clone, Debug)]
pub enum Target {
    /// A daemon of the session's own, with so many executors: all steps.
    Own { donetd: PathBuf, shards: usize },
    /// A daemon that runs already. It is not killed, and its event log is its own business, so those claims are left
    /// out. The session removes what it has created.
    Running { message_director: SocketAddr, client_agent: SocketAddr, version: String },
}

/// One claim, played.
#[derive(Clone, Debug)]
pub struct Step {
    pub number: u8,
    pub claim: &'static str,
    /// What of the claim could not be tried, and why.
    pub left_out: Option<&'static str>,
    pub took: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ok  {} ({} ms)", self.number, self.claim, self.took.as_millis())?;
        self.left_out.map_or(Ok(()), |what| write!(formatter, "; left out: {what}"))
    }
}

/// What held.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub steps: Vec<Step>,
}

const CLAIMS: [&str; 7] = [
    "the AI creates a district and 100 objects in one burst with their updates, and all arrive in order",
    "clients are refused or log in through the UberDOG, and get their avatars out of the database",
    "interests hold exactly what is there, moves arrive once and in order, an avatar leaves the view and comes back",
    "a client that sets what it may not is ejected with 118, and the others see it gone",
    "what was stored is read back, survives SIGKILL, and is made live again",
    "the AI's connection is cut: its post-removes fire, and nothing else",
    "the event log holds every connect, eject and departure as JSON lines",
];

/// Plays the session.
///
/// # Errors
/// At the first claim that does not hold; the text names the step.
pub fn run(target: &Target, progress: &mut dyn FnMut(&Step)) -> Result<Report, Failure> {
    let mut stage = Stage::open(target)?;
    let played = stage.play(progress);
    match (played, stage.daemon.take()) {
        (Ok(report), Some(daemon)) => daemon.stop().map(|()| report),
        (Ok(report), None) => Ok(report),
        (Err(failure), Some(daemon)) => {
            Err(Failure::new(format!("{failure}\n  the daemon's log ends so:\n{}", daemon.log_end())))
        }
        (Err(failure), None) => Err(failure),
    }
}

/// What a session runs on.
struct Stage {
    setup: Option<(Setup, PathBuf)>,
    daemon: Option<Daemon>,
    endpoints: Endpoints,
    version: String,
    /// Where clients were served, over all lives of the daemon.
    agents: Vec<SocketAddr>,
    steps: Vec<Step>,
}

impl Stage {
    fn open(target: &Target) -> Result<Self, Failure> {
        match target {
            Target::Own { donetd, shards } => {
                let setup = Setup::new(*shards)?;
                let daemon = setup.start(donetd)?;
                let endpoints = endpoints_of(&daemon)?;
                Ok(Self {
                    setup: Some((setup, donetd.clone())),
                    daemon: Some(daemon),
                    endpoints,
                    version: numbers::VERSION.to_owned(),
                    agents: vec![endpoints.client_agent],
                    steps: Vec::new(),
                })
            }
            Target::Running { message_director, client_agent, version } => Ok(Self {
                setup: None,
                daemon: None,
                endpoints: Endpoints { message_director: *message_director, client_agent: *client_agent },
                version: version.clone(),
                agents: vec![*client_agent],
                steps: Vec::new(),
            }),
        }
    }

    fn play(&mut self, progress: &mut dyn FnMut(&Step)) -> Result<Report, Failure> {
        let names = Names::parse("example.dc", EXAMPLE_DC)?;
        let mut world = World::new(Cast::new(names)?, self.endpoints)?;
        let version = self.version.clone();
        let mut events = Vec::new();
        let is_own = self.setup.is_some();
        self.step(1, progress, None, |_| objects::play(&mut world))?;
        self.step(2, progress, None, |_| login::play(&mut world, &version, &mut events))?;
        let left_out = (!is_own).then_some("walks led by the client, because not every daemon lets clients relocate");
        self.step(3, progress, left_out, |_| view::play(&mut world, is_own))?;
        self.step(4, progress, None, |_| view::play_eject(&mut world, &mut events))?;
        let left_out = (!is_own).then_some("SIGKILL and restart, because the daemon is not the session's own");
        self.step(5, progress, left_out, |stage| {
            storage::play(&mut world)?;
            if is_own {
                stage.mark(&world, "before the kill")?;
                let endpoints = stage.restart()?;
                storage::play_after_restart(&mut world, endpoints)?;
            }
            Ok(())
        })?;
        self.step(6, progress, None, |_| endings::play_cut(&mut world))?;
        let left_out = (!is_own).then_some("the log itself, because the daemon is not the session's own");
        self.step(7, progress, left_out, |stage| {
            endings::play_departures(&mut world, &version, &mut events)?;
            if is_own {
                let lines = stage.mark(&world, "at the end")?;
                events::compare(&lines, &events, &stage.agents, 2)?;
            }
            Ok(())
        })?;
        if !is_own {
            world.clean_up()?;
        }
        Ok(Report { steps: std::mem::take(&mut self.steps) })
    }

    fn step(
        &mut self,
        number: u8,
        progress: &mut dyn FnMut(&Step),
        left_out: Option<&'static str>,
        play: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let claim = CLAIMS[usize::from(number) - 1];
        let start = Instant::now();
        play(self).map_err(|failure| failure.within(&format!("step {number} ({claim})")))?;
        let step = Step { number, claim, left_out, took: start.elapsed() };
        progress(&step);
        self.steps.push(step);
        Ok(())
    }

    /// Waits for a marker in the event log of the session's own daemon; all lines of the log.
    fn mark(&self, world: &World, marker: &str) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, Failure> {
        let (setup, _) = self.setup.as_ref().ok_or_else(|| Failure::new("the event log belongs to somebody else"))?;
        events::mark(&world.ai, &setup.events_path(), marker)
    }

    /// SIGKILL, and a new life with the same folder.
    fn restart(&mut self) -> Result<Endpoints, Failure> {
        let nobody = || Failure::new("there is no daemon of the session's own");
        self.daemon.take().ok_or_else(nobody)?.kill()?;
        let (setup, donetd) = self.setup.as_ref().ok_or_else(nobody)?;
        let daemon = setup.start(donetd)?;
        self.endpoints = endpoints_of(&daemon)?;
        self.daemon = Some(daemon);
        self.agents.push(self.endpoints.client_agent);
        Ok(self.endpoints)
    }
}

fn endpoints_of(daemon: &Daemon) -> Result<Endpoints, Failure> {
    Ok(Endpoints {
        message_director: daemon.address("message_director")?,
        client_agent: daemon.address("client_agent")?,
    })
}
