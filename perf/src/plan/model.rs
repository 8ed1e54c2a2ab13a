//! What a player costs, from a grid of measurements; what a machine can carry by that; and how far off it is.
//!
//! Costs are straight lines over their causes ([`super::fit`]). One measurement is held back and predicted.

use super::fit::{Fit, Observation};
use super::game::Game;
use super::machine::Machine;
use super::measure::{Causes, Point, Resource, Sample, Share};
use crate::failure::Failure;

/// More players than anybody will have: where a resource is not used at all.
const PLAYERS_MAX: f64 = 1e9;

/// A quantity that was fitted.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    pub fit: Fit,
    /// Of the measurement that was held back.
    pub predicted: f64,
    pub measured: f64,
}

impl Cost {
    /// How far the prediction was off, of what was measured.
    pub(super) fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }

    /// What an extrapolation may be off by, at least: whichever is larger, the prediction's error or the fit's.
    pub(super) fn margin(&self) -> f64 {
        self.error().abs().max(self.fit.residual)
    }
}

/// All that is known of a game on a server.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub cpu: Cost,
    pub memory: Cost,
    pub bytes_out: Cost,
    pub bytes_in: Cost,
    /// How much of its processor an executor uses at the highest number of players that held.
    pub utilisation: f64,
    /// What that number was limited by.
    pub limited_by: Resource,
    /// Processor time with more than one executor, of that with one for the same load; and how many. None if not measured.
    pub executors: Option<(usize, f64)>,
}

/// What a machine carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Capacity {
    pub by_cpu: f64,
    pub by_memory: f64,
    pub by_network: f64,
}

impl Capacity {
    /// What runs out first, and how many players there are then.
    pub(super) fn first(&self) -> (Resource, f64) {
        let all =
            [(Resource::Cpu, self.by_cpu), (Resource::Memory, self.by_memory), (Resource::Network, self.by_network)];
        all.into_iter().min_by(|one, other| one.1.total_cmp(&other.1)).expect("there are three")
    }
}

/// What memory is for.
pub(super) const MEMORY_CAUSES: [&str; 5] =
    ["the server itself", "a connected player", "a neighbour in a player's view", "a live object", "a stored object"];

fn memory_causes(causes: &Causes, neighbours: f64, live: f64, stored: f64) -> Vec<f64> {
    vec![1.0, causes.players, causes.players * neighbours, live, stored]
}

/// What goes over the wire does not depend on the server, its AI or its database.
fn wire_causes(causes: &Causes) -> Vec<f64> {
    let list = Causes { objects: 0.0, database: 0.0, ..*causes }.list();
    list[1..].to_vec()
}

fn neighbours(point: &Point) -> f64 {
    f64::from(point.density) - 1.0
}

impl Model {
    /// Fits the costs to samples, and predicts the one that was held back.
    pub(super) fn of(
        game: &Game,
        samples: &[Sample],
        held_back: &Sample,
        utilisation: f64,
        limited_by: Resource,
    ) -> Result<Self, Failure> {
        let fit = |what: &str, causes: &dyn Fn(&Sample) -> Vec<f64>, cost: &dyn Fn(&Sample) -> f64| {
            let observe = |sample: &Sample| Observation { causes: causes(sample), cost: cost(sample) };
            // Who stands still is sent nothing: of nothing there is no relative error.
            let observations: Vec<Observation> = samples.iter().map(observe).filter(|it| it.cost > 0.0).collect();
            let fit = Fit::of(&observations).ok_or_else(|| {
                Failure::new(format!("{} measurements are too few to say what {what} is made of", observations.len()))
            })?;
            // By the description alone, as a machine is that nobody has measured.
            let foretold = Sample { causes: Causes::expected(game, &held_back.point), ..held_back.clone() };
            let predicted = fit.predict(&causes(&foretold));
            Ok::<_, Failure>(Cost { fit, predicted, measured: cost(held_back) })
        };
        let memory = |sample: &Sample| {
            memory_causes(&sample.causes, neighbours(&sample.point), sample.live.into(), sample.stored.into())
        };
        Ok(Self {
            cpu: fit("processor time", &|sample| sample.causes.list(), &|sample| sample.cpu)?,
            memory: fit("memory", &memory, &|sample| sample.memory_bytes)?,
            bytes_out: fit("what is sent", &|sample| wire_causes(&sample.causes), &|sample| sample.bytes_out)?,
            bytes_in: fit("what is received", &|sample| wire_causes(&sample.causes), &|sample| sample.bytes_in)?,
            utilisation,
            limited_by,
            executors: None,
        })
    }

    fn point(game: &Game, players: f64) -> Point {
        let players = players.clamp(1.0, f64::from(u32::MAX)) as u32;
        Point { players, density: game.zones.density(players), share: Share::ALL, executors: 1 }
    }

    /// Processor seconds a second of so many players.
    pub(super) fn cpu_of(&self, game: &Game, players: f64) -> f64 {
        let overhead = self.executors.map_or(1.0, |(_, ratio)| ratio.max(1.0));
        self.cpu.fit.predict(&Causes::expected(game, &Self::point(game, players)).list()) * overhead
    }

    /// Bytes of memory.
    pub(super) fn memory_of(&self, game: &Game, players: f64) -> f64 {
        let point = Self::point(game, players);
        let live = f64::from(game.objects.live) * game.objects.per.times(players);
        let stored = f64::from(game.database.stored) * game.database.per.times(players);
        self.memory.fit.predict(&memory_causes(&Causes::expected(game, &point), neighbours(&point), live, stored))
    }

    /// Bytes a second in the busier direction.
    pub(super) fn network_of(&self, game: &Game, players: f64) -> f64 {
        let causes = wire_causes(&Causes::expected(game, &Self::point(game, players)));
        self.bytes_out.fit.predict(&causes).max(self.bytes_in.fit.predict(&causes))
    }

    /// What a machine carries: each resource by itself.
    pub(super) fn capacity(&self, game: &Game, machine: &Machine) -> Capacity {
        let processors = machine.cores * machine.core_speed * self.utilisation;
        Capacity {
            by_cpu: most(processors, |players| self.cpu_of(game, players)),
            by_memory: most(machine.memory_gb * 1e9, |players| self.memory_of(game, players)),
            by_network: most(machine.network_gbit * 1e9 / 8.0, |players| self.network_of(game, players)),
        }
    }

    /// The margin of what limits a machine.
    pub(super) fn margin(&self, resource: Resource) -> f64 {
        match resource {
            Resource::Memory => self.memory.margin(),
            Resource::Network => self.bytes_out.margin().max(self.bytes_in.margin()),
            _ => self.cpu.margin(),
        }
    }
}

/// The highest number of players whose need does not go beyond what there is; needs grow with the players.
fn most(available: f64, need: impl Fn(f64) -> f64) -> f64 {
    if need(1.0) > available {
        return 0.0;
    }
    let (mut low, mut high) = (1.0, PLAYERS_MAX);
    if need(high) <= available {
        return high;
    }
    while high - low > low * 1e-4 {
        let middle = (low * high).sqrt().max(low + (high - low) * 1e-3);
        if need(middle) <= available { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::grid;
    use super::*;
    use crate::report::latencies;

    pub(in super::super) fn game() -> Game {
        let text = "name = \"modelled\"\n[zones]\nplayers = 20\n[players]\nupdates_per_second = 2\nmoves_per_minute = 1\n\
                    chats_per_minute = 2\nreconnects_per_hour = 6\n[objects]\nlive = 100\nsets_per_second = 50\n\
                    [database]\nstored = 200\nsets_per_second = 20\n";
        Game::parse(text).unwrap()
    }

    /// A server whose costs are known: those that a sample of it has.
    pub(in super::super) fn sample(game: &Game, point: &Point, error: f64) -> Sample {
        let causes = Causes::expected(game, point);
        let (live, stored) = (f64::from(point.players) * 0.1, f64::from(point.players) * 0.2);
        let (live, stored) = (live * point.share.objects, stored * point.share.database);
        let costs = [0.005, 10e-6, 20e-6, 3e-6, 50e-6, 300e-6, 15e-6, 30e-6];
        let cpu: f64 = causes.list().iter().zip(costs).map(|(cause, cost)| cause * cost).sum();
        let memory = memory_causes(&causes, neighbours(point), live.floor(), stored.floor());
        let memory: f64 = memory.iter().zip([20e6, 4000.0, 150.0, 300.0, 50.0]).map(|(cause, cost)| cause * cost).sum();
        let mut updates = latencies();
        updates.saturating_record_n((cpu * 10e6) as u64 + 1, 1000);
        Sample {
            point: *point,
            causes,
            live: live as u32,
            stored: stored as u32,
            cpu: cpu * (1.0 + error),
            memory_bytes: memory * (1.0 + error),
            bytes_out: (causes.players + causes.deliveries * 60.0) * (1.0 + error),
            bytes_in: (causes.players + causes.messages * 80.0) * (1.0 + error),
            updates,
            moves: latencies(),
            objects: None,
            database: None,
            behind: 0.0,
            generator_cpu: cpu / 2.0,
        }
    }

    fn model(error: impl Fn(usize) -> f64) -> (Game, Model) {
        let game = game();
        let points = grid::points(&game, 2000);
        let samples: Vec<Sample> =
            points.iter().enumerate().map(|(number, point)| sample(&game, point, error(number))).collect();
        let held_back = sample(&game, &grid::held_back(&game, 2000), 0.0);
        let model = Model::of(&game, &samples, &held_back, 0.8, Resource::Cpu).unwrap();
        (game, model)
    }

    #[test]
    fn a_known_server_is_predicted_and_its_capacity_is_where_it_should_be() {
        let (game, model) = model(|_| 0.0);
        for cost in [&model.cpu, &model.memory, &model.bytes_out, &model.bytes_in] {
            assert!(cost.error().abs() < 1e-3 && cost.fit.residual < 1e-3, "{cost:?}");
        }
        let machine = Machine { cores: 8.0, memory_gb: 16.0, network_gbit: 100.0, core_speed: 0.5 };
        let capacity = model.capacity(&game, &machine);
        let at = |players: f64| sample(&game, &Model::point(&game, players), 0.0);
        assert!((at(capacity.by_cpu).cpu / (8.0 * 0.5 * 0.8) - 1.0).abs() < 0.01, "{capacity:?}");
        assert!((at(capacity.by_memory).memory_bytes / 16e9 - 1.0).abs() < 0.01, "{capacity:?}");
        assert!((at(capacity.by_network).bytes_out / 12.5e9 - 1.0).abs() < 0.01, "{capacity:?}");
        assert_eq!(capacity.first(), (Resource::Cpu, capacity.by_cpu));
        let starved = model.capacity(&game, &Machine { network_gbit: 0.01, ..machine });
        assert_eq!(starved.first().0, Resource::Network);
        let forgetful = model.capacity(&game, &Machine { memory_gb: 0.03, ..machine });
        assert_eq!(forgetful.first().0, Resource::Memory);
        assert_eq!(model.capacity(&game, &Machine { memory_gb: 0.001, ..machine }).by_memory, 0.0);
    }

    #[test]
    fn the_margin_is_as_large_as_the_errors_were() {
        let (_, model) = model(|number| if number.is_multiple_of(2) { 0.1 } else { -0.1 });
        assert!((0.03..0.15).contains(&model.cpu.margin()), "{model:?}");
        assert!(model.margin(Resource::Cpu) >= model.cpu.error().abs());
    }

    #[test]
    fn executors_that_cost_more_carry_less() {
        let (game, mut model) = model(|_| 0.0);
        let machine = Machine { cores: 8.0, ..Machine::UNIT };
        let before = model.capacity(&game, &machine).by_cpu;
        model.executors = Some((2, 1.25));
        let after = model.capacity(&game, &machine).by_cpu;
        assert!((before / after - 1.25).abs() < 0.02, "{before} {after}");
    }
}
