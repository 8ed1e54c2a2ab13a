//! The pieces with atomics, model-checked: loom tries every interleaving, and for every load every value that the memory
//! model allows, up to a bound on pre-emptions.
//!
//! The modules are those of the crate, compiled a second time on loom's atomics: `sync` stands in for the crate's.

#[path = "../src/mesh.rs"]
#[allow(dead_code, reason = "the models use a part")]
mod mesh;
#[path = "../src/runtime/sleeper.rs"]
mod sleeper;

/// What `mesh.rs` needs of the crate's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardId(pub u16);

impl ShardId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// No rule is broken here.
mod faults {
    #[allow(dead_code, reason = "named by the code under test")]
    pub enum Fault {
        NoCommitCounter,
        NoDependencyVectors,
        VectorBeforeCounters,
        CommitDespiteOverflow,
    }

    pub const fn seeded(_: Fault) -> bool {
        false
    }
}

/// Loom's atomics, and a ring with the promises of the real one: a push that the consumer sees has released everything
/// before it.
mod sync {
    use loom::sync::{Arc, Mutex};
    use std::cell::OnceCell;
    use std::collections::VecDeque;

    pub use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

    pub enum PushError<T> {
        Full(T),
    }

    #[derive(Debug)]
    struct Ring<T> {
        slots: usize,
        values: Arc<Mutex<VecDeque<T>>>,
    }

    #[derive(Debug)]
    pub struct Producer<T>(Ring<T>);
    /// What `peek` lends has left the ring already.
    #[derive(Debug)]
    pub struct Consumer<T> {
        ring: Ring<T>,
        front: OnceCell<T>,
    }

    pub struct RingBuffer;

    impl RingBuffer {
        #[allow(clippy::new_ret_no_self, reason = "as in the real one")]
        pub fn new<T>(slots: usize) -> (Producer<T>, Consumer<T>) {
            let values = Arc::new(Mutex::new(VecDeque::new()));
            let ring = || Ring { slots, values: values.clone() };
            (Producer(ring()), Consumer { ring: ring(), front: OnceCell::new() })
        }
    }

    impl<T> Producer<T> {
        pub fn push(&mut self, value: T) -> Result<(), PushError<T>> {
            let mut values = self.0.values.lock().unwrap();
            if values.len() == self.0.slots {
                return Err(PushError::Full(value));
            }
            values.push_back(value);
            Ok(())
        }

        /// No model ends an executor.
        pub fn is_abandoned(&self) -> bool {
            false
        }

        pub fn slots(&self) -> usize {
            self.0.slots - self.0.values.lock().unwrap().len()
        }

        pub fn buffer(&self) -> Buffer {
            Buffer(self.0.slots)
        }
    }

    pub struct Buffer(usize);

    impl Buffer {
        pub fn capacity(&self) -> usize {
            self.0
        }
    }

    impl<T> Consumer<T> {
        pub fn peek(&self) -> Result<&T, ()> {
            if self.front.get().is_none()
                && let Some(value) = self.ring.values.lock().unwrap().pop_front()
            {
                let _ = self.front.set(value);
            }
            self.front.get().ok_or(())
        }

        pub fn pop(&mut self) -> Result<T, ()> {
            let _ = self.peek();
            self.front.take().ok_or(())
        }
    }
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use mesh::{Port, ports};
use sleeper::Sleeper;

fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn send(port: &mut Port<&'static str>, shards: usize, to: &[(usize, &'static str)]) {
    let mut remote: Vec<Vec<&'static str>> = (0..shards).map(|_| Vec::new()).collect();
    for &(shard, message) in to {
        remote[shard].push(message);
    }
    port.emit(&mut remote);
    port.commit(|_| ());
}

fn take(port: &mut Port<&'static str>) -> Vec<&'static str> {
    let mut taken = Vec::new();
    port.take(|_, message| taken.push(message));
    taken
}

/// Rules 2 to 4: 0 tells 2, then 1; 1 tells 2 in consequence. Whatever 2 sees of the counters and rings at any time, the
/// cause comes first.
#[test]
fn an_effect_never_overtakes_its_cause() {
    bounded(3, || {
        let mut ports = ports::<&'static str>(3, 2);
        let (mut two, mut one, mut zero) = (ports.pop().unwrap(), ports.pop().unwrap(), ports.pop().unwrap());
        let cause = thread::spawn(move || send(&mut zero, 3, &[(2, "cause"), (1, "go")]));
        let effect = thread::spawn(move || {
            if !take(&mut one).is_empty() {
                send(&mut one, 3, &[(2, "effect")]);
            }
        });
        let mut taken = take(&mut two);
        taken.extend(take(&mut two));
        if let Some(place) = taken.iter().position(|&message| message == "effect") {
            assert!(taken[..place].contains(&"cause"), "{taken:?}");
        }
        cause.join().unwrap();
        effect.join().unwrap();
    });
}

/// Rule 5: bytes left after the commit, and whoever has heard of them finds the turn's batches in its rings.
#[test]
fn what_went_through_a_peer_outside_finds_its_cause() {
    bounded(3, || {
        let mut ports = ports::<&'static str>(2, 2);
        let (mut one, mut zero) = (ports.pop().unwrap(), ports.pop().unwrap());
        // The socket: relaxed, for the system promises no order between memory and what it carries.
        let bytes = Arc::new(AtomicBool::new(false));
        let heard = bytes.clone();
        let writer = thread::spawn(move || {
            send(&mut zero, 2, &[(1, "cause")]);
            bytes.store(true, Ordering::Relaxed);
        });
        let was_told = heard.load(Ordering::Relaxed);
        let taken = take(&mut one);
        assert!(!was_told || taken == ["cause"], "{taken:?}");
        writer.join().unwrap();
    });
}

/// A turn that does not fit is seen by nobody before it does.
#[test]
fn a_turn_becomes_visible_whole_or_not_at_all() {
    bounded(3, || {
        let mut ports = ports::<&'static str>(3, 1);
        let (mut two, mut one, mut zero) = (ports.pop().unwrap(), ports.pop().unwrap(), ports.pop().unwrap());
        send(&mut zero, 3, &[(1, "fills")]);
        let sender = thread::spawn(move || {
            send(&mut zero, 3, &[(1, "first"), (2, "second")]);
            zero.commit(|_| ());
        });
        let mut of_one = take(&mut one);
        let of_two = take(&mut two);
        of_one.extend(take(&mut one));
        // What 2 has seen says that 1 can see its part, too.
        assert!(of_two.is_empty() || of_one == ["fills", "first"], "{of_one:?} {of_two:?}");
        sender.join().unwrap();
    });
}

/// One executor makes something visible and tells the sleeper; returns whether that slept through it.
fn is_slept_through(tell: impl Fn(&Sleeper) -> bool + Sync + Send + 'static, prepare: fn(&Sleeper)) -> bool {
    let sleeper = Arc::new(Sleeper::default());
    let (work, bell) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let other = {
        let (sleeper, work, bell) = (sleeper.clone(), work.clone(), bell.clone());
        thread::spawn(move || {
            work.store(true, Ordering::Relaxed);
            if tell(&sleeper) {
                bell.store(true, Ordering::Relaxed);
            }
        })
    };
    prepare(&sleeper);
    sleeper.fall_asleep();
    let sleeps = !work.load(Ordering::Relaxed);
    other.join().unwrap();
    sleeps && !bell.load(Ordering::Relaxed)
}

/// An executor that falls asleep either sees what was made visible to it, or is woken.
#[test]
fn nobody_sleeps_through_a_ring() {
    loom::model(|| assert!(!is_slept_through(Sleeper::must_wake, |_| ())));
}

/// An executor that waits for room is woken by whoever made it.
#[test]
fn a_clogged_executor_hears_of_room() {
    loom::model(|| assert!(!is_slept_through(Sleeper::must_wake_for_room, |sleeper| sleeper.set_clogged(true))));
}

/// Of two that find it asleep, one wakes it.
#[test]
fn one_of_two_rings() {
    loom::model(|| {
        let sleeper = Arc::new(Sleeper::default());
        sleeper.fall_asleep();
        let other = {
            let sleeper = sleeper.clone();
            thread::spawn(move || sleeper.must_wake())
        };
        let mine = sleeper.must_wake();
        assert!(mine != other.join().unwrap());
        sleeper.wake_up();
        assert!(!sleeper.must_wake());
    });
}

/// The models can fail: without the fence before the last look, an executor can be found that sleeps through it.
#[test]
fn a_missing_fence_is_found() {
    let found = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let finds = found.clone();
    loom::model(move || {
        let (asleep, work) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let other = {
            let (asleep, work) = (asleep.clone(), work.clone());
            thread::spawn(move || {
                work.store(true, Ordering::Relaxed);
                asleep.load(Ordering::Relaxed)
            })
        };
        asleep.store(true, Ordering::Relaxed);
        let sleeps = !work.load(Ordering::Relaxed);
        if sleeps && !other.join().unwrap() {
            finds.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(found.load(std::sync::atomic::Ordering::Relaxed));
}
