//! One measurement: a server of its own, so many players of the game and everything else that it has, for some seconds.

use super::game::{Game, Goals};
use super::mix::{Amount, Mix, Mixed};
use crate::contract::Names;
use crate::daemon::EXAMPLE_DC;
use crate::failure::Failure;
use crate::objects;
use crate::players::{Played, Players, Population, Run};
use crate::report::Times;
use crate::target::{Target, TargetArguments};
use hdrhistogram::Histogram;

/// What is measured: players, how many share a zone, and how much of what the game has they do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub players: u32,
    pub density: u32,
    pub share: Share,
    pub executors: usize,
}

/// Multiples of what the game has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Updates and chat.
    pub talk: f64,
    /// Moves to another zone.
    pub walk: f64,
    /// Reconnects.
    pub login: f64,
    /// The AI's objects.
    pub objects: f64,
    pub database: f64,
}

impl Share {
    pub(super) const ALL: Self = Self { talk: 1.0, walk: 1.0, login: 1.0, objects: 1.0, database: 1.0 };
    pub(super) const NONE: Self = Self { talk: 0.0, walk: 0.0, login: 0.0, objects: 0.0, database: 0.0 };
}

/// What costs something, in the order of [`Causes::NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Causes {
    pub players: f64,
    /// What clients send, a second.
    pub messages: f64,
    /// What viewers are told, a second: updates, chat, entries, leavings.
    pub deliveries: f64,
    pub moves: f64,
    pub logins: f64,
    /// Of the AI and of the database, a second.
    pub objects: f64,
    pub database: f64,
}

impl Causes {
    pub(super) const NAMES: [&'static str; 8] = [
        "the server itself",
        "a connected player",
        "a message from a client",
        "a delivery to a client",
        "a change of zone",
        "a login",
        "an operation of the AI",
        "an operation of the database",
    ];

    pub(super) fn list(&self) -> Vec<f64> {
        let Self { players, messages, deliveries, moves, logins, objects, database } = *self;
        vec![1.0, players, messages, deliveries, moves, logins, objects, database]
    }

    /// What a point should bring about, by the game's description alone.
    pub(super) fn expected(game: &Game, point: &Point) -> Self {
        let players = f64::from(point.players);
        let talk = game.players.updates_per_second + game.players.chats_per_minute / 60.0;
        // One zone only: there is nowhere to go.
        let walk = if point.players.div_ceil(point.density) > 1 { point.share.walk } else { 0.0 };
        let moves = players * game.players.moves_per_minute / 60.0 * walk;
        let logins = players * game.players.reconnects_per_hour / 3600.0 * point.share.login;
        let messages = players * talk * point.share.talk + moves;
        let neighbours = neighbours(point.players, point.density);
        Self {
            players,
            messages,
            // Each mover leaves and enters the views of others, and has others leave and enter its own.
            deliveries: (messages + 4.0 * moves + 3.0 * logins) * neighbours,
            moves,
            logins,
            objects: game.objects.per_second() * game.objects.per.times(players) * point.share.objects,
            database: game.database.per_second() * game.database.per.times(players) * point.share.database,
        }
    }
}

/// How many others a player sees, on average.
fn neighbours(players: u32, density: u32) -> f64 {
    let (zones, rest) = (f64::from(players / density), f64::from(players % density));
    let full = f64::from(density);
    (zones * full * (full - 1.0) + rest * (rest - 1.0).max(0.0)) / f64::from(players.max(1))
}

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub point: Point,
    pub causes: Causes,
    /// Objects that were there.
    pub live: u32,
    pub stored: u32,
    /// Processor seconds of the server a second.
    pub cpu: f64,
    pub memory_bytes: f64,
    /// A second, to and from clients, headers of segments included; see [`wire_bytes`].
    pub bytes_out: f64,
    pub bytes_in: f64,
    pub updates: Histogram<u64>,
    pub moves: Histogram<u64>,
    pub objects: Option<Histogram<u64>>,
    pub database: Option<Histogram<u64>>,
    /// Seconds of updates that were due and not sent when the time was over, and the generator's own processor seconds a
    /// second.
    pub behind: f64,
    pub generator_cpu: f64,
}

/// How a measurement went.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Measured(Box<Sample>),
    /// Somebody was ejected, or something was lost, doubled, disordered or never came.
    Broken(String),
}

/// A generator that is so many seconds behind, or uses so much of the one processor that its players have, measures itself.
const BEHIND_MAX: f64 = 0.25;
const GENERATOR_CPU_MAX: f64 = 0.95;

/// What is wanted, and what was measured of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    pub goal: String,
    pub measured: String,
    pub holds: bool,
    pub resource: Resource,
}

/// What runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Latency,
    Cpu,
    Memory,
    Network,
    /// The tool, not the server.
    Generator,
    /// The server has failed.
    Server,
}

/// Bytes of Ethernet, IP and TCP headers with each segment, the gap between frames included.
const SEGMENT_HEADERS: f64 = 14.0 + 20.0 + 32.0 + 24.0;
/// The largest segment that an ordinary network takes.
const SEGMENT_BYTES: f64 = 1448.0;

/// Bytes on a wire: the payload, and headers for each segment, of which there are as many as there were reads or writes,
/// or as the payload needs.
pub(super) fn wire_bytes(payload: f64, transfers: f64) -> f64 {
    payload + SEGMENT_HEADERS * transfers.max(payload / SEGMENT_BYTES)
}

/// What measures.
#[derive(Clone, Debug)]
pub(super) struct Bench<'a> {
    pub game: &'a Game,
    pub target: TargetArguments,
    pub times: Times,
}

impl Bench<'_> {
    fn players(&self, point: &Point) -> Players {
        let of = self.game.players;
        let has_other_zones = point.players.div_ceil(point.density) > 1;
        Players {
            population: Population { clients: point.players, zone_size: point.density },
            rate: of.updates_per_second * point.share.talk,
            moves: if has_other_zones { of.moves_per_minute / 60.0 * point.share.walk } else { 0.0 },
            chat: of.chats_per_minute / 60.0 * point.share.talk,
            chat_bytes: of.chat_bytes,
            reconnects: f64::from(point.players) * of.reconnects_per_hour / 3600.0 * point.share.login,
            heartbeat: of.heartbeat_seconds,
            logins: 200,
            strangers: 0.0,
            flush_delay_us: 0,
            times: self.times,
        }
    }

    /// What the AI and the database do at a point.
    fn amount(&self, point: &Point) -> Amount {
        let (objects, database) = (self.game.objects, self.game.database);
        let causes = Causes::expected(self.game, point);
        let players = f64::from(point.players);
        let of = |per: super::game::Per, count: u32, share: f64| {
            // Who does nothing has nothing.
            if share > 0.0 { ((f64::from(count) * per.times(players)).ceil() as u32).max(count.min(1)) } else { 0 }
        };
        Amount {
            objects,
            database,
            live: of(objects.per, objects.live, point.share.objects),
            stored: of(database.per, database.stored, point.share.database),
            objects_per_second: causes.objects,
            database_per_second: causes.database,
        }
    }

    /// Measures a point.
    ///
    /// # Errors
    /// When no server can be started; that it does not do what it should is an outcome.
    pub(super) fn measure(&self, point: &Point) -> Result<Outcome, Failure> {
        let (players, amount) = (self.players(point), self.amount(point));
        let contract = format!("{EXAMPLE_DC}\n{}", objects::CONTRACT);
        let arguments = TargetArguments { shards: point.executors, ..self.target.clone() };
        let target = Target::start_with(&arguments, 0, |setup| {
            players.configure(setup);
            setup.contract.clone_from(&contract);
        })?;
        let names = Names::parse("game.dc", &contract)?;
        let play = || -> Result<(Played, Mixed), Failure> {
            let mut run = Run::begin(&players, &target, &contract)?;
            run.log_in(&target)?;
            let mix = Mix::begin(target.address, &names, &amount)?;
            let played = run.play(&target);
            // The mix's own failure comes first where both have one: it is what the players' silence follows from.
            let mixed = mix.end()?;
            Ok((played?, mixed))
        };
        Ok(match play() {
            Ok((played, mixed)) => Outcome::Measured(Box::new(self.sample(point, &amount, played, mixed)?)),
            Err(failure) => Outcome::Broken(failure.to_string()),
        })
    }

    fn sample(&self, point: &Point, amount: &Amount, played: Played, mixed: Mixed) -> Result<Sample, Failure> {
        let seconds = played.spent.elapsed.as_secs_f64();
        let server = played.spent.server.ok_or_else(|| Failure::new("nothing is known of the server's process"))?;
        let per_second = |count: u64| count as f64 / seconds;
        let counts = played.counts;
        let told = counts.deliveries + counts.chat_deliveries + counts.entries + counts.leavings;
        let due_per_second = f64::from(point.players) * self.game.players.updates_per_second * point.share.talk;
        Ok(Sample {
            point: *point,
            causes: Causes {
                players: point.players.into(),
                messages: per_second(counts.updates + counts.chats),
                deliveries: per_second(told),
                moves: per_second(counts.moves),
                logins: per_second(counts.reconnects),
                objects: amount.objects_per_second,
                database: amount.database_per_second,
            },
            live: amount.live,
            stored: amount.stored,
            cpu: server.cpu.as_secs_f64() / seconds,
            memory_bytes: server.resident_bytes as f64,
            bytes_out: wire_bytes(per_second(played.traffic.bytes_in), per_second(played.traffic.reads)),
            bytes_in: wire_bytes(per_second(played.traffic.bytes_out), per_second(played.traffic.writes)),
            updates: played.latencies.updates,
            moves: played.latencies.moves,
            objects: mixed.objects,
            database: mixed.database,
            behind: if due_per_second > 0.0 { played.not_sent as f64 / due_per_second } else { 0.0 },
            generator_cpu: played.spent.generator.cpu.as_secs_f64() / seconds,
        })
    }
}

/// What of the goals holds.
pub(super) fn checks(game: &Game, outcome: &Outcome) -> Vec<Check> {
    let goals: &Goals = &game.goals;
    let whole = "nobody ejected, nothing lost, doubled or disordered".to_owned();
    let sample = match outcome {
        Outcome::Measured(sample) => sample,
        Outcome::Broken(why) => {
            let measured = why.lines().next().unwrap_or_default().to_owned();
            return vec![Check { goal: whole, measured, holds: false, resource: Resource::Server }];
        }
    };
    let mut checks =
        vec![Check { goal: whole, measured: "so it was".to_owned(), holds: true, resource: Resource::Server }];
    let mut within = |what: &str, limit: Option<f64>, histogram: Option<&Histogram<u64>>| {
        let Some((limit_ms, histogram)) = limit.zip(histogram.filter(|histogram| !histogram.is_empty())) else {
            return;
        };
        // What lies within is up to the limit; a histogram counts values that are equivalent to it with it.
        let share = histogram.percent_within((limit_ms * 1e6) as u64);
        checks.push(Check {
            goal: format!("{} % of the {what} within {limit_ms} ms", goals.share_percent),
            measured: format!("{share:.2} %, p99 {:.1} ms", histogram.value_at_quantile(0.99) as f64 / 1e6),
            holds: share >= goals.share_percent,
            resource: Resource::Latency,
        });
    };
    within("updates", Some(goals.updates_within_ms), Some(&sample.updates));
    within("moves", goals.moves_within_ms, Some(&sample.moves));
    within("AI's operations", goals.objects_within_ms, sample.objects.as_ref());
    within("database's operations", goals.database_within_ms, sample.database.as_ref());
    // A game in which players see each other is not held by so few that they do not.
    let is_lonely = game.zones.players != Some(1) && game.players.updates_per_second > 0.0 && sample.updates.is_empty();
    if is_lonely {
        checks.push(Check {
            goal: format!("{} % of the updates within {} ms", goals.share_percent, goals.updates_within_ms),
            measured: "nobody saw any".to_owned(),
            holds: false,
            resource: Resource::Latency,
        });
    }
    let of_each = sample.cpu * 100.0 / sample.point.executors as f64;
    checks.push(Check {
        goal: format!("processor below {} % of each executor's", goals.cpu_percent),
        measured: format!("{of_each:.0} %"),
        holds: of_each < goals.cpu_percent,
        resource: Resource::Cpu,
    });
    checks.push(Check {
        goal: "the load generator itself keeps up".to_owned(),
        measured: format!(
            "{:.0} ms behind, {:.0} % of a processor",
            sample.behind * 1000.0,
            sample.generator_cpu * 100.0
        ),
        holds: sample.behind < BEHIND_MAX && sample.generator_cpu < GENERATOR_CPU_MAX,
        resource: Resource::Generator,
    });
    checks
}

/// Whether all of them hold.
pub(super) fn all_hold(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.holds)
}

trait PercentWithin {
    /// The share of values up to a limit, of a hundred.
    fn percent_within(&self, limit: u64) -> f64;
}

impl PercentWithin for Histogram<u64> {
    fn percent_within(&self, limit: u64) -> f64 {
        if self.is_empty() { 100.0 } else { self.count_between(0, limit) as f64 * 100.0 / self.len() as f64 }
    }
}
