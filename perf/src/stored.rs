//! Stored objects, from outside: what it costs a database to make, read, change and delete them, and how long it takes.
//!
//! A creation and a read have an answer. A change and a deletion are complete when the database has announced them on the
//! object's channel, which it does when they are as durable as it is set to make them.

use crate::calls::{CALLER, Caller, Course, Heard, Outcome, put};
use crate::contract::{FieldId, Names};
use crate::daemon::{Setup, numbers};
use crate::failure::{Failure, ensure};
use crate::md::Arrivals;
use crate::objects::CONTRACT;
use crate::report::Report;
use crate::target::Target;
use clap::{Args, ValueEnum};
use donet::wire::{Channel, Doid, Encoder, MessageType, database_broadcast_channel, message_type as t};
use std::collections::HashMap;

/// When a change counts as stored (`durability` of the daemon).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// On disk before the answer.
    Sync,
    /// On disk some milliseconds after it.
    Interval,
    /// Whenever the system writes it.
    Os,
}

/// How many objects, and how fast.
#[derive(Clone, Copy, Debug, Args)]
pub struct Stored {
    /// How many objects.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    pub objects: u32,
    /// How often objects are read, and how often they are changed.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// Closed loop: operations on their way at once.
    #[arg(long, value_name = "N", default_value_t = 64, conflicts_with = "rate", value_parser = clap::value_parser!(u64).range(1..))]
    pub window: u64,
    /// Open loop: operations for each second, whatever comes back. Latency counts from when one was due.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// How durable, in a daemon that this program starts.
    #[arg(long, value_name = "HOW", default_value = "sync")]
    pub durability: Durability,
}

/// The contract's numbers, and what is said to a database about a stored object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chest {
    class: u16,
    gold: FieldId,
}

fn to_database(from: Channel, message_type: MessageType) -> Encoder {
    Encoder::internal(&[numbers::DATABASE], from, message_type)
}

impl Chest {
    pub(crate) fn new(names: &Names) -> Result<Self, Failure> {
        Ok(Self { class: names.class("Chest")?, gold: names.field("Chest", "setGold")? })
    }

    /// What lets a link hear of every change of a stored object.
    pub(crate) fn hear_all() -> Encoder {
        let all = Encoder::control(t::CONTROL_ADD_RANGE).channel(database_broadcast_channel(0));
        all.channel(database_broadcast_channel(Doid::MAX))
    }

    pub(crate) fn create(self, from: Channel, context: u32, gold: u32) -> Encoder {
        let create = to_database(from, t::DBSERVER_CREATE_OBJECT).u32(context).u16(self.class);
        create.u16(1).u16(self.gold.0).u32(gold)
    }

    /// The answer to [`Chest::create`]: its context, and the new object.
    pub(crate) fn created(mut heard: Heard<'_>) -> Result<(u32, Doid), Failure> {
        let (context, doid) = (heard.payload.u32()?, heard.payload.doid()?);
        ensure(heard.message_type == t::DBSERVER_CREATE_OBJECT_RESP && doid != 0, || {
            format!("creation {context} was answered {}, doid {doid}", heard.message_type)
        })?;
        Ok((context, doid))
    }

    pub(crate) fn get(self, from: Channel, context: u32, doid: Doid) -> Encoder {
        to_database(from, t::DBSERVER_OBJECT_GET_FIELD).u32(context).doid(doid).u16(self.gold.0)
    }

    /// The answer to [`Chest::get`]: its context, and the value.
    pub(crate) fn got(self, heard: Heard<'_>) -> Result<(u32, u32), Failure> {
        let Heard { mut payload, .. } = expect(heard, t::DBSERVER_OBJECT_GET_FIELD_RESP)?;
        let (context, found) = (payload.u32()?, payload.u8()?);
        ensure(found == 1 && payload.u16()? == self.gold.0, || format!("read {context} was answered with no value"))?;
        Ok((context, payload.u32()?))
    }

    pub(crate) fn set(self, from: Channel, doid: Doid, gold: u32) -> Encoder {
        to_database(from, t::DBSERVER_OBJECT_SET_FIELD).doid(doid).u16(self.gold.0).u32(gold)
    }

    /// What the database says when a change is as durable as it is to be: the object, and the value.
    pub(crate) fn was_set(heard: Heard<'_>) -> Result<(Doid, u32), Failure> {
        let Heard { mut payload, .. } = expect(heard, t::DBSERVER_OBJECT_SET_FIELD)?;
        let doid = payload.doid()?;
        payload.u16()?;
        Ok((doid, payload.u32()?))
    }
}

impl Stored {
    /// What the daemon must be for this load.
    pub fn configure(&self, setup: &mut Setup) {
        CONTRACT.clone_into(&mut setup.contract);
        setup.replace.push(("class = \"LoginManager\"", "class = \"Root\"".to_owned()));
        let name = self.durability.to_possible_value().expect("none is hidden");
        setup.replace.push(("durability = \"sync\"", format!("durability = \"{}\"", name.get_name())));
    }

    /// Runs it. `each` gets the report of an operation when it is over.
    ///
    /// # Errors
    /// When the server ends a link, does not answer, or answers what is not so.
    pub fn run(&self, target: &Target, mut each: impl FnMut(&Report)) -> Result<(), Failure> {
        ensure(self.rate.is_none_or(|rate| rate.is_finite() && rate >= 0.001), || {
            format!("--rate takes a number of operations for each second, not {:?}", self.rate)
        })?;
        let chest = Chest::new(&Names::parse("objects.dc", CONTRACT)?)?;
        let mut caller = Caller::connect(target.with_roles()?, CALLER)?;
        caller.tell(0, Chest::hear_all());

        let mut doids: Vec<Doid> = vec![0; self.objects as usize];
        let outcome = self.calls(
            &mut caller,
            target,
            "db create",
            self.objects.into(),
            &mut |call, out| put(out, chest.create(CALLER, call as u32, call as u32)),
            &mut |heard| {
                let (call, doid) = Chest::created(heard)?;
                doids[call as usize] = doid;
                Ok(Some(call.into()))
            },
        )?;
        each(&self.report(target, "db create", self.objects.into(), &outcome));
        let numbers: HashMap<Doid, u32> = doids.iter().zip(0..).map(|(&doid, number)| (doid, number)).collect();
        ensure(numbers.len() == doids.len(), || "the database gave a doid away twice".to_owned())?;

        let outcome = self.read(&mut caller, target, &chest, &doids, self.count, |number| number)?;
        each(&self.report(target, "db get", self.count, &outcome));

        // Object by object, so that the last value of each is known.
        let outcome = self.calls(
            &mut caller,
            target,
            "db set",
            self.count,
            &mut |call, out| put(out, chest.set(CALLER, doids[call as usize % doids.len()], call as u32)),
            &mut |heard| Ok(Some(Chest::was_set(heard)?.1.into())),
        )?;
        each(&self.report(target, "db set", self.count, &outcome));
        // What was announced is there.
        let last = |number: u32| {
            let (number, objects) = (u64::from(number), u64::from(self.objects));
            if number >= self.count {
                number as u32
            } else {
                (number + (self.count - 1 - number) / objects * objects) as u32
            }
        };
        self.read(&mut caller, target, &chest, &doids, self.objects.into(), last)?;

        let outcome = self.calls(
            &mut caller,
            target,
            "db delete",
            self.objects.into(),
            &mut |call, out| {
                put(out, to_database(CALLER, t::DBSERVER_OBJECT_DELETE).doid(doids[call as usize]));
            },
            &mut |heard| {
                let doid = expect(heard, t::DBSERVER_OBJECT_DELETE)?.payload.doid()?;
                let number = numbers.get(&doid).ok_or_else(|| Failure::new(format!("{doid} was never made")))?;
                Ok(Some((*number).into()))
            },
        )?;
        each(&self.report(target, "db delete", self.objects.into(), &outcome));
        Ok(())
    }

    /// Reads so many objects; each must have the value that `expected` says for its number.
    fn read(
        &self,
        caller: &mut Caller,
        target: &Target,
        chest: &Chest,
        doids: &[Doid],
        count: u64,
        expected: impl Fn(u32) -> u32,
    ) -> Result<Outcome, Failure> {
        // In no order that a disk likes.
        let chosen = |call: u64| (call.wrapping_mul(7_919) % doids.len() as u64) as u32;
        self.calls(
            caller,
            target,
            "db get",
            count,
            &mut |call, out| put(out, chest.get(CALLER, call as u32, doids[chosen(call) as usize])),
            &mut |heard| {
                let (call, value) = chest.got(heard)?;
                ensure(value == expected(chosen(call.into())), || format!("read {call} was answered with {value}"))?;
                Ok(Some(call.into()))
            },
        )
    }

    fn calls(
        &self,
        caller: &mut Caller,
        target: &Target,
        title: &str,
        calls: u64,
        ask: &mut dyn FnMut(u64, &mut Vec<u8>),
        hear: &mut dyn FnMut(Heard<'_>) -> Result<Option<u64>, Failure>,
    ) -> Result<Outcome, Failure> {
        let arrivals = self.rate.map_or(Arrivals::Window(self.window), Arrivals::PerSecond);
        caller.run(target, Course { title, calls, arrivals }, ask, hear)
    }

    fn report(&self, target: &Target, operation: &str, count: u64, outcome: &Outcome) -> Report {
        let mut report = Report::new(operation, target);
        report.set("objects", self.objects);
        match self.rate {
            None => report.set("window", self.window),
            Some(rate) => report.set("rate_per_s", rate),
        }
        report.set("durability", format!("{:?}", self.durability).to_lowercase());
        report.set_usage(&outcome.spent, &[("operations", count)]);
        report.set_latencies("latency_us", &outcome.latencies);
        report.set_rate("operations", &outcome.complete);
        report
    }
}

fn expect(heard: Heard<'_>, message_type: MessageType) -> Result<Heard<'_>, Failure> {
    ensure(heard.message_type == message_type, || format!("{CALLER} heard {}", heard.message_type))?;
    Ok(heard)
}
