//! What an AI and the database have to do while players play: so many operations a second, from a thread and a link
//! each. Every answer is checked.

use super::game::{Database, Objects};
use crate::calls::{Caller, Course, Heard, Made, put};
use crate::contract::Names;
use crate::failure::{Failure, ensure};
use crate::md::Arrivals;
use crate::objects::world::World;
use crate::stored::Chest;
use donet::wire::{Channel, Doid};
use hashbrown::HashMap;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

const AI: Channel = 3_000_002;
const DATABASE_USER: Channel = 3_000_003;
/// Calls on their way while the world is being made.
const WINDOW: u64 = 256;
/// Values that are set have this bit, and the number of the call; those of creation do not.
const SET: u32 = 1 << 31;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    Set,
    Create,
}

/// Which of a thousand calls do what, spread evenly.
fn pattern(gets: f64, sets: f64, creates: f64) -> Vec<Kind> {
    let sum = (gets + sets + creates).max(f64::MIN_POSITIVE);
    let mut owed = [(Kind::Get, gets, 0.0), (Kind::Set, sets, 0.0), (Kind::Create, creates, 0.0)];
    let next = |_| {
        owed.iter_mut().for_each(|(_, rate, owed)| *owed += *rate / sum);
        let most = owed.iter_mut().max_by(|one, other| one.2.total_cmp(&other.2)).expect("there are three");
        most.2 -= 1.0;
        most.0
    };
    (0..1000).map(next).collect()
}

/// A thread at work.
type Working = JoinHandle<Result<Made, Failure>>;

/// Starts a thread, and waits until it says that it is ready.
fn begin(
    name: &str,
    work: impl FnOnce(&dyn Fn()) -> Result<Made, Failure> + Send + 'static,
) -> Result<Working, Failure> {
    let (ready, is_ready) = channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        work(&|| {
            // Whoever started it is waiting.
            let _ = ready.send(());
        })
    })?;
    match is_ready.recv() {
        Ok(()) => Ok(thread),
        Err(_) => Err(join(thread).err().unwrap_or_else(|| Failure::new(format!("{name} has ended at once")))),
    }
}

fn join(thread: Working) -> Result<Made, Failure> {
    thread.join().map_err(|_| Failure::new("a thread of the mix has panicked"))?
}

/// What runs beside the players.
pub(super) struct Mix {
    stop: Arc<AtomicBool>,
    objects: Option<Working>,
    database: Option<Working>,
}

/// How long operations took, from when they were due; there are as many as were done.
#[derive(Debug, Default)]
pub(super) struct Mixed {
    pub objects: Option<Histogram<u64>>,
    pub database: Option<Histogram<u64>>,
}

/// How much of it there is among so many players.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pub objects: Objects,
    pub database: Database,
    pub live: u32,
    pub stored: u32,
    pub objects_per_second: f64,
    pub database_per_second: f64,
}

impl Mix {
    /// Makes the objects, and begins.
    pub(super) fn begin(address: SocketAddr, names: &Names, amount: &Amount) -> Result<Self, Failure> {
        let mut mix = Self { stop: Arc::default(), objects: None, database: None };
        if amount.live > 0 || amount.objects_per_second > 0.0 {
            let world = World::new(names, AI, amount.live.max(1), 100)?;
            let (amount, rate, stop) = (*amount, amount.objects_per_second, mix.stop.clone());
            mix.objects = Some(begin("ai", move |ready| {
                let load = Live::make(address, world, &amount)?;
                ready();
                load.run(rate, &stop)
            })?);
        }
        if amount.stored > 0 || amount.database_per_second > 0.0 {
            let chest = Chest::new(names)?;
            let (amount, rate, stop) = (*amount, amount.database_per_second, mix.stop.clone());
            mix.database = Some(begin("database user", move |ready| {
                let load = Store::make(address, chest, &amount)?;
                ready();
                load.run(rate, &stop)
            })?);
        }
        Ok(mix)
    }

    /// Ends it, and waits for what is still open.
    pub(super) fn end(mut self) -> Result<Mixed, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let latencies = |thread: Option<Working>| {
            let made = thread.map(join).transpose()?;
            Ok::<_, Failure>(made.map(|made| made.latencies))
        };
        Ok(Mixed { objects: latencies(self.objects.take())?, database: latencies(self.database.take())? })
    }
}

impl Drop for Mix {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Waits for the end where there is nothing to be done but to have made the objects.
fn idle(stop: &AtomicBool) -> Result<Made, Failure> {
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (latencies, complete) = (crate::report::latencies(), crate::timeline::Timeline::new(std::time::Instant::now()));
    Ok(Made { latencies, complete })
}

fn course(title: &str, calls: u64, arrivals: Arrivals) -> Course<'_> {
    Course { title, calls, arrivals }
}

/// An AI with its objects.
struct Live {
    caller: Caller,
    world: World,
    objects: u32,
    pattern: Vec<Kind>,
}

impl Live {
    fn make(address: SocketAddr, world: World, amount: &Amount) -> Result<Self, Failure> {
        let objects = amount.live;
        let mut caller = Caller::connect(address, AI)?;
        caller.tell(0, world.create_root());
        // Each object is made and read.
        let ask = |call: u64, out: &mut Vec<u8>| {
            let doid = World::object(call as u32);
            put(out, world.create(doid, world.home(doid)));
            put(out, world.get(doid, call as u32));
        };
        let make = course("the AI's objects", objects.into(), Arrivals::Window(WINDOW));
        caller.make(make, || false, |_, _| (), ask, |heard| world.answer(heard))?;
        let Objects { gets_per_second, sets_per_second, creates_per_second, .. } = amount.objects;
        let pattern = pattern(gets_per_second, sets_per_second, creates_per_second);
        Ok(Self { caller, world, objects, pattern })
    }

    fn run(mut self, rate: f64, stop: &AtomicBool) -> Result<Made, Failure> {
        if rate <= 0.0 {
            return idle(stop);
        }
        let Self { caller, world, objects, pattern } = &mut self;
        // What each object holds once everything has been served that was sent so far, and what open questions expect.
        let mut values = vec![World::FRESH; *objects as usize];
        let expected: std::cell::RefCell<HashMap<u32, u32>> = std::cell::RefCell::default();
        let ask = |call: u64, out: &mut Vec<u8>| {
            let number = (call.wrapping_mul(7_919) % u64::from((*objects).max(1))) as u32;
            let (object, context) = (World::object(number), call as u32);
            let value = match pattern[call as usize % pattern.len()] {
                Kind::Get => {
                    put(out, world.get(object, context));
                    values[number as usize]
                }
                Kind::Set => {
                    values[number as usize] = SET | context;
                    put(out, world.set(object, SET | context));
                    put(out, world.get(object, context));
                    SET | context
                }
                Kind::Create => {
                    // Behind the others; a doid is free again long before its turn comes anew.
                    let fresh = World::object(*objects + (call % 10_000_000) as u32);
                    put(out, world.create(fresh, 0));
                    put(out, world.get(fresh, context));
                    put(out, world.delete(fresh));
                    World::FRESH
                }
            };
            expected.borrow_mut().insert(context, value);
        };
        let hear = |heard: Heard<'_>| {
            let (context, value) = world.value(heard)?;
            let wanted = expected.borrow_mut().remove(&context);
            ensure(wanted == Some(value), || format!("an object has {value} where {wanted:?} was expected"))?;
            Ok(Some(context.into()))
        };
        let everything = course("the AI's operations", u64::MAX, Arrivals::PerSecond(rate));
        caller.make(everything, || stop.load(Ordering::Relaxed), |_, _| (), ask, hear)
    }
}

/// Somebody who uses the database.
struct Store {
    caller: Caller,
    chest: Chest,
    doids: Vec<Doid>,
    pattern: Vec<Kind>,
}

impl Store {
    fn make(address: SocketAddr, chest: Chest, amount: &Amount) -> Result<Self, Failure> {
        let mut caller = Caller::connect(address, DATABASE_USER)?;
        caller.tell(0, Chest::hear_all());
        let mut doids = vec![0; amount.stored as usize];
        let ask = |call: u64, out: &mut Vec<u8>| put(out, chest.create(DATABASE_USER, call as u32, call as u32));
        let hear = |heard: Heard<'_>| {
            let (context, doid) = Chest::created(heard)?;
            doids[context as usize] = doid;
            Ok(Some(context.into()))
        };
        let make = course("stored objects", amount.stored.into(), Arrivals::Window(WINDOW));
        caller.make(make, || false, |_, _| (), ask, hear)?;
        let Database { gets_per_second, sets_per_second, creates_per_second, .. } = amount.database;
        Ok(Self { caller, chest, doids, pattern: pattern(gets_per_second, sets_per_second, creates_per_second) })
    }

    fn run(mut self, rate: f64, stop: &AtomicBool) -> Result<Made, Failure> {
        if rate <= 0.0 {
            return idle(stop);
        }
        let Self { caller, chest, doids, pattern } = &mut self;
        let stored = doids.len().max(1) as u64;
        let place = |call: u64| place_of(call, stored);
        let kind = |call: u64| pattern[call as usize % pattern.len()];
        // By object: the last change that has been announced; by open read: what had been announced when it was asked.
        let last: std::cell::RefCell<Vec<Option<u32>>> = std::cell::RefCell::new(vec![None; doids.len()]);
        let asked: std::cell::RefCell<HashMap<u32, Option<u32>>> = std::cell::RefCell::default();
        let ask = |call: u64, out: &mut Vec<u8>| {
            let context = call as u32;
            match kind(call) {
                Kind::Get => {
                    asked.borrow_mut().insert(context, last.borrow()[place(call)]);
                    put(out, chest.get(DATABASE_USER, context, doids[place(call)]));
                }
                Kind::Set => put(out, chest.set(DATABASE_USER, doids[place(call)], SET | context)),
                Kind::Create => put(out, chest.create(DATABASE_USER, context, context)),
            }
        };
        let hear = |heard: Heard<'_>| {
            use donet::wire::message_type as t;
            let call = match heard.message_type {
                t::DBSERVER_CREATE_OBJECT_RESP => Chest::created(heard)?.0,
                t::DBSERVER_OBJECT_GET_FIELD_RESP => {
                    let (context, value) = chest.got(heard)?;
                    let place = place(context.into());
                    let floor = asked.borrow_mut().remove(&context).flatten();
                    // One of the changes of this object that came after the last that was announced, or that one.
                    let is_right = match (value & SET != 0, floor) {
                        (true, floor) => {
                            let by = u64::from(value & !SET);
                            kind(by) == Kind::Set
                                && place_of(by, stored) == place
                                && floor.is_none_or(|floor| value >= floor)
                        }
                        (false, floor) => floor.is_none() && value as usize == place,
                    };
                    ensure(is_right, || format!("a stored object has {value}, and {floor:?} had been announced"))?;
                    context
                }
                _ => {
                    let (doid, value) = Chest::was_set(heard)?;
                    let context = value & !SET;
                    let place = place(context.into());
                    ensure(doids.get(place) == Some(&doid), || format!("the change of {doid} was another's"))?;
                    last.borrow_mut()[place] = Some(value);
                    context
                }
            };
            Ok(Some(call.into()))
        };
        let everything = course("the database's operations", u64::MAX, Arrivals::PerSecond(rate));
        caller.make(everything, || stop.load(Ordering::Relaxed), |_, _| (), ask, hear)
    }
}

/// The stored object that a call is about.
fn place_of(call: u64, stored: u64) -> usize {
    (call.wrapping_mul(7_919) % stored) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_shares_and_are_spread() {
        let pattern = pattern(6.0, 3.0, 1.0);
        let count = |part: &[Kind], kind| part.iter().filter(|&&it| it == kind).count();
        for part in [&pattern[..], &pattern[..100], &pattern[500..600]] {
            let shares = [Kind::Get, Kind::Set, Kind::Create].map(|kind| count(part, kind) * 10 / part.len());
            assert_eq!(shares, [6, 3, 1], "{part:?}");
        }
        assert_eq!(count(&super::pattern(0.0, 2.0, 0.0), Kind::Set), 1000);
    }
}
