//! Live objects, from outside: what it costs a State Server to make, read, change, move, show and delete them.
//!
//! One link plays an AI with many objects in zones below one parent. What has no answer is followed, after so many
//! operations, by a question to a *probe*, an object that stays; the answer says that the operations before it have been
//! served by the probe's executor. There are enough probes for every executor to have some.

pub(crate) mod world;

use crate::calls::{CALLER, Caller, Course, Outcome, put};
use crate::contract::Names;
use crate::daemon::Setup;
use crate::failure::{Failure, ensure};
use crate::md::Arrivals;
use crate::report::{Mark, Report};
use crate::target::Target;
use clap::{Args, ValueEnum};
use donet::wire::{Doid, Encoder, message_type as t};
use world::{PROBES, World};

/// The contract of the objects.
pub const CONTRACT: &str = include_str!("../../contracts/objects.dc");

/// As many objects of a zone take turns in being updated.
const BROADCASTERS: u32 = 64;
/// Operations without an answer between two questions to a probe.
const BETWEEN_PROBES: u64 = 32;

/// What is done to the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Operation {
    /// Read one field.
    Get,
    /// Set one field that is kept, while nobody listens.
    Set,
    /// Set one field that several links see.
    Broadcast,
    /// Move to another zone of the parent.
    Move,
    /// Ask for everything in a zone.
    Zone,
}

impl Operation {
    /// In the order in which they are done: what is read has not been set yet.
    const ALL: [Self; 5] = [Self::Get, Self::Set, Self::Broadcast, Self::Move, Self::Zone];

    const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Broadcast => "broadcast",
            Self::Move => "move",
            Self::Zone => "zone",
        }
    }
}

/// How many objects, and what is done to them between their creation and their deletion.
#[derive(Clone, Debug, Args)]
pub struct Objects {
    /// How many objects, below one parent.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub objects: u32,
    /// How many of them in a zone.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub zone_size: u32,
    /// How often each operation is done.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// Which operations; without it all of them.
    #[arg(long, value_name = "OPERATION", value_delimiter = ',')]
    pub operations: Vec<Operation>,
    /// Links that see a broadcast.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub listeners: u32,
    /// Operations on their way at once. Of zone queries there is one at a time.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    pub window: u64,
}

impl Objects {
    /// What the daemon must be for this load.
    pub fn configure(&self, setup: &mut Setup) {
        CONTRACT.clone_into(&mut setup.contract);
        setup.replace.push(("class = \"LoginManager\"", "class = \"Root\"".to_owned()));
    }

    /// Runs it. `each` gets the report of an operation when it is over.
    ///
    /// # Errors
    /// When the server ends a link, does not answer, or answers what is not so.
    pub fn run(&self, target: &Target, mut each: impl FnMut(&Report)) -> Result<(), Failure> {
        let mut caller = Caller::connect(target.with_roles()?, CALLER)?;
        let names = Names::parse("objects.dc", CONTRACT)?;
        let world = World::new(&names, CALLER, self.objects, self.zone_size)?;
        // The parent and the probes; then memory and time are the objects'.
        caller.tell(0, world.create_root());
        (0..PROBES).for_each(|probe| caller.tell(0, world.create(World::probe(probe), 0)));
        self.settle(&mut caller, target, &world)?;

        let before = Mark::take(target)?;
        let outcome = self.without_answers(&mut caller, target, &world, "create", self.objects.into(), |number| {
            let doid = World::object(number as u32);
            world.create(doid, world.home(doid))
        })?;
        let bytes = Mark::take(target)?.server_bytes().zip(before.server_bytes());
        let bytes = bytes.map(|(now, then)| now.saturating_sub(then) as f64 / f64::from(self.objects));
        let mut report = self.report(target, "create", self.objects.into(), &outcome);
        report.set("bytes_per_object", bytes);
        each(&report);
        self.expect_in_first_zone(&mut caller, target, &world, self.zone_size.min(self.objects))?;

        for operation in Operation::ALL {
            if !self.operations.is_empty() && !self.operations.contains(&operation) {
                continue;
            }
            each(&self.operate(operation, &mut caller, target, &world)?);
        }

        let outcome = self.without_answers(&mut caller, target, &world, "delete", self.objects.into(), |number| {
            world.delete(World::object(number as u32))
        })?;
        each(&self.report(target, "delete", self.objects.into(), &outcome));
        self.expect_in_first_zone(&mut caller, target, &world, 0)
    }

    fn operate(
        &self,
        operation: Operation,
        caller: &mut Caller,
        target: &Target,
        world: &World,
    ) -> Result<Report, Failure> {
        let (name, count) = (operation.name(), self.count);
        match operation {
            Operation::Get => {
                let title = format!("objects {name}");
                let course = Course { title: &title, calls: count, arrivals: Arrivals::Window(self.window) };
                let ask = |call: u64, out: &mut Vec<u8>| put(out, world.get(world.scattered(call), call as u32));
                let outcome = caller.run(target, course, ask, |heard| world.answer(heard))?;
                let mut report = self.report(target, name, count, &outcome);
                report.set_latencies("latency_us", &outcome.latencies);
                report.set_rate("operations", &outcome.complete);
                Ok(report)
            }
            Operation::Set => {
                let outcome = self.without_answers(caller, target, world, name, count, |number| {
                    world.set(world.scattered(number), number as u32)
                })?;
                Ok(self.report(target, name, count, &outcome))
            }
            Operation::Move => {
                let outcome = self.without_answers(caller, target, world, name, count, |number| {
                    // There on every odd round through the objects, and back on every even one.
                    let doid = World::object((number % u64::from(self.objects)) as u32);
                    let away = number / u64::from(self.objects) % 2 == 0;
                    world.set_location(doid, world.home(doid) + if away { world.zones() } else { 0 })
                })?;
                let report = self.report(target, name, count, &outcome);
                // Those that are away come home, unmeasured.
                let home = |number: u64| {
                    let doid = World::object(number as u32);
                    world.set_location(doid, world.home(doid))
                };
                self.without_answers(caller, target, world, "move home", self.objects.into(), home)?;
                Ok(report)
            }
            Operation::Zone => self.zone_queries(caller, target, world),
            Operation::Broadcast => self.broadcasts(caller, target, world),
        }
    }

    /// Zone after zone, one at a time.
    fn zone_queries(&self, caller: &mut Caller, target: &Target, world: &World) -> Result<Report, Failure> {
        let queries = (self.count / u64::from(self.zone_size)).max(1);
        let course = Course { title: "objects zone", calls: queries, arrivals: Arrivals::Window(1) };
        let (mut expected, mut entered) = (None, 0);
        let outcome = caller.run(
            target,
            course,
            |call, out| put(out, world.zone_query((call % u64::from(world.zones())) as u32 + 1, call as u32)),
            |mut heard| {
                let context = heard.payload.u32()?;
                match heard.message_type {
                    t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP => expected = Some(heard.payload.u32()?),
                    t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED => entered += 1,
                    other => return Err(Failure::new(format!("a zone query was answered by {other}"))),
                }
                let complete = expected == Some(entered);
                if complete {
                    (expected, entered) = (None, 0);
                }
                Ok(complete.then_some(context.into()))
            },
        )?;
        let mut report = self.report(target, "zone", queries, &outcome);
        report.set_latencies("latency_us", &outcome.latencies);
        report.set_rate("operations", &outcome.complete);
        Ok(report)
    }

    /// Updates of the objects of one zone, which so many further links see: per delivery.
    fn broadcasts(&self, caller: &mut Caller, target: &Target, world: &World) -> Result<Report, Failure> {
        let listeners = u64::from(self.listeners);
        for link in 1..=listeners as usize {
            caller.listen(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(world.first_location()))?;
            // Its answer comes to the caller, and says that the subscription before it is in effect.
            caller.tell(link, world.get(World::probe(link as u32 % PROBES), link as u32 - 1));
        }
        let nothing = |_: u64, _: &mut Vec<u8>| ();
        let open = Course { title: "objects listeners", calls: listeners, arrivals: Arrivals::Window(listeners) };
        caller.run(target, open, nothing, |heard| world.answer(heard))?;
        let updates = (self.count / listeners).max(1);
        let in_turn = self.zone_size.min(self.objects).min(BROADCASTERS);
        let mut seen = vec![0; updates as usize];
        // By link and object: the last update that it has got. Updates of different objects have no order.
        let mut last = vec![None; (listeners * u64::from(in_turn)) as usize];
        let window = Arrivals::Window(self.window.div_ceil(listeners));
        let course = Course { title: "objects broadcast", calls: updates, arrivals: window };
        let outcome = caller.run(
            target,
            course,
            |call, out| put(out, world.set(World::object((call % u64::from(in_turn)) as u32), call as u32)),
            |mut heard| {
                ensure(heard.link > 0 && heard.message_type == t::STATESERVER_OBJECT_SET_FIELD, || {
                    format!("link {} got {}", heard.link, heard.message_type)
                })?;
                let number = World::number(heard.payload.doid()?).filter(|&number| number < in_turn);
                heard.payload.u16()?;
                let call = u64::from(heard.payload.u32()?);
                let number = number.ok_or_else(|| Failure::new("an object that nobody has set was updated"))?;
                let last = &mut last[(heard.link - 1) * in_turn as usize + number as usize];
                let awaited = last.map_or(u64::from(number), |last| last + u64::from(in_turn));
                ensure(call == awaited, || {
                    format!("link {} got update {call} of an object where {awaited} was awaited", heard.link)
                })?;
                *last = Some(call);
                let seen = seen.get_mut(call as usize).ok_or_else(|| Failure::new("an update was never sent"))?;
                *seen += 1;
                Ok((*seen == listeners).then_some(call))
            },
        )?;
        caller.close_listeners();
        let mut report = self.report(target, "broadcast", updates, &outcome);
        report.set("listeners", listeners);
        report.set_usage(&outcome.spent, &[("operations", updates), ("deliveries", updates * listeners)]);
        report.set_latencies("latency_us", &outcome.latencies);
        report.set_rate("operations", &outcome.complete);
        Ok(report)
    }

    /// Operations that nobody answers, with questions to probes between them and at the end.
    fn without_answers(
        &self,
        caller: &mut Caller,
        target: &Target,
        world: &World,
        name: &str,
        count: u64,
        operation: impl Fn(u64) -> Encoder,
    ) -> Result<Outcome, Failure> {
        let batches = count.div_ceil(BETWEEN_PROBES);
        let window = Arrivals::Window(self.window.div_ceil(BETWEEN_PROBES));
        let ask = |call: u64, out: &mut Vec<u8>| {
            let first = call * BETWEEN_PROBES;
            (first..count.min(first + BETWEEN_PROBES)).for_each(|number| put(out, operation(number)));
            put(out, world.get(World::probe((call % u64::from(PROBES)) as u32), call as u32));
        };
        let before = Mark::take(target)?;
        let title = format!("objects {name}");
        let course = Course { title: &title, calls: batches, arrivals: window };
        let mut outcome = caller.run(target, course, ask, |heard| world.answer(heard))?;
        self.settle(caller, target, world)?;
        outcome.spent = Mark::take(target)?.since(&before);
        Ok(outcome)
    }

    /// Waits until every executor has served what was sent.
    fn settle(&self, caller: &mut Caller, target: &Target, world: &World) -> Result<(), Failure> {
        let all = u64::from(PROBES);
        let course = Course { title: "objects settle", calls: all, arrivals: Arrivals::Window(all) };
        let ask = |call: u64, out: &mut Vec<u8>| put(out, world.get(World::probe(call as u32), call as u32));
        caller.run(target, course, ask, |heard| world.answer(heard)).map(drop)
    }

    fn expect_in_first_zone(
        &self,
        caller: &mut Caller,
        target: &Target,
        world: &World,
        expected: u32,
    ) -> Result<(), Failure> {
        let course = Course { title: "objects check", calls: 1, arrivals: Arrivals::Window(1) };
        let mut found: Vec<Doid> = Vec::new();
        let mut count = None;
        caller.run(
            target,
            course,
            |_, out| put(out, world.zone_query(1, 0)),
            |mut heard| {
                heard.payload.u32()?;
                match heard.message_type {
                    t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP => count = Some(heard.payload.u32()?),
                    _ => found.push(heard.payload.doid()?),
                }
                Ok((count == Some(found.len() as u32)).then_some(0))
            },
        )?;
        found.sort_unstable();
        found.dedup();
        ensure(found.len() as u32 == expected, || {
            format!("the first zone has {} different objects, not {expected}", found.len())
        })
    }

    fn report(&self, target: &Target, operation: &str, count: u64, outcome: &Outcome) -> Report {
        let mut report = Report::new(&format!("objects {operation}"), target);
        report.set("objects", self.objects);
        report.set("zone_size", self.zone_size);
        report.set("window", self.window);
        report.set_usage(&outcome.spent, &[("operations", count)]);
        report
    }
}
