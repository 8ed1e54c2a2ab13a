//! The simulator finds every rule of the mesh that is broken on purpose (design §3), and nothing while none is.
//!
//! An application whose only business is to know what it should have heard: executors send notes to each other, to
//! themselves and, through peers outside, around the mesh. A note's *past* is everything that its sender had heard or sent
//! before; nobody may handle a note before every note of its past that is addressed to the same executor.

use crate::app::{ConnectionId, ConnectionOptions, Input, ListenerId, Shard, ShardId, Turn};
use crate::faults::{Fault, seed};
use crate::sim::{Random, Shape, World};
use std::cell::RefCell;
use std::rc::Rc;

const SEEDS: u64 = 90;
/// With what one handler may add beyond it, no more than a [`Past`] holds.
const NOTES_MAX: usize = 250;

/// A set of notes, by number.
#[derive(Clone, Copy, Default)]
struct Past([u64; 4]);

impl Past {
    fn insert(&mut self, note: usize) {
        self.0[note / 64] |= 1 << (note % 64);
    }

    fn contains(self, note: usize) -> bool {
        self.0[note / 64] & 1 << (note % 64) != 0
    }

    fn extend(&mut self, other: Past) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }
}

/// What was sent to whom, with which past; and what each executor knows.
struct Oracle {
    random: Random,
    notes: Vec<(ShardId, Past)>,
    handled: Past,
    count_handled: usize,
    /// By executor.
    known: Vec<Past>,
    /// What bytes for a peer stand for.
    told: Vec<Past>,
    violations: usize,
}

impl Oracle {
    fn new(seed: u64, shards: usize) -> Self {
        Self {
            random: Random::new(!seed),
            notes: Vec::new(),
            handled: Past::default(),
            count_handled: 0,
            known: vec![Past::default(); shards],
            told: Vec::new(),
            violations: 0,
        }
    }

    /// Somebody hears of a past: what it contains for that executor must have been handled.
    fn hears(&mut self, shard: ShardId, past: Past) {
        let is_missing =
            |&note: &usize| past.contains(note) && self.notes[note].0 == shard && !self.handled.contains(note);
        let missing = (0..self.notes.len()).filter(is_missing);
        self.violations += missing.count();
        self.known[shard.index()].extend(past);
    }

    fn sends(&mut self, from: ShardId, to: ShardId) -> usize {
        let note = self.notes.len();
        self.notes.push((to, self.known[from.index()]));
        self.known[from.index()].insert(note);
        note
    }
}

struct Notes {
    oracle: Rc<RefCell<Oracle>>,
    peer: Option<ConnectionId>,
}

impl Notes {
    /// Sends up to three notes, to anybody, and now and then tells the peer.
    fn act(&mut self, turn: &mut Turn<Self>) {
        let mut oracle = self.oracle.borrow_mut();
        let own = turn.shard();
        let count = if oracle.notes.len() < NOTES_MAX { oracle.random.below(4) } else { 0 };
        for _ in 0..count {
            let to = match oracle.random.below(3) {
                0 => own,
                _ => ShardId(oracle.random.below(turn.shards()) as u16),
            };
            let note = oracle.sends(own, to);
            turn.send(to, note);
        }
        if let Some(peer) = self.peer.filter(|_| oracle.random.below(3) == 0) {
            let past = oracle.known[own.index()];
            oracle.told.push(past);
            let number = oracle.told.len() as u32 - 1;
            turn.write(peer, number.to_le_bytes().to_vec().into());
        }
    }
}

impl Shard for Notes {
    type Message = usize;
    type External = ();
    type Timer = ();

    fn on_start(&mut self, _: &mut Turn<Self>) {}

    fn on_message(&mut self, _: ShardId, note: usize, turn: &mut Turn<Self>) {
        let past = self.oracle.borrow().notes[note].1;
        {
            let mut oracle = self.oracle.borrow_mut();
            oracle.hears(turn.shard(), past);
            oracle.handled.insert(note);
            oracle.count_handled += 1;
            oracle.known[turn.shard().index()].insert(note);
        }
        self.act(turn);
    }

    fn on_received(&mut self, _: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
        let whole = bytes.chunks_exact(4);
        let used = bytes.len() - whole.remainder().len();
        for number in whole {
            let number = u32::from_le_bytes(number.try_into().expect("four")) as usize;
            let past = self.oracle.borrow().told[number];
            self.oracle.borrow_mut().hears(turn.shard(), past);
            self.act(turn);
        }
        used
    }

    fn on_input(&mut self, input: Input<(), ()>, turn: &mut Turn<Self>) {
        match input {
            Input::Accepted { socket, .. } => self.peer = Some(turn.attach(socket, ConnectionOptions::default())),
            Input::External(()) => self.act(turn),
            _ => {}
        }
    }
}

/// Notes that came before something in their past, or never.
fn violations(seed: u64) -> usize {
    let shards = 2 + (seed % 4) as usize;
    let (budget, reads) = ([1, 3, 512][(seed / 3 % 3) as usize], [1, 256][(seed / 9 % 2) as usize]);
    let shape = Shape { shards, batches: 1 + (seed % 3) as usize, budget, reads };
    let oracle = Rc::new(RefCell::new(Oracle::new(seed, shards)));
    let mut world = World::shaped(seed, shape, |_| Notes { oracle: oracle.clone(), peer: None });
    let all: Vec<ShardId> = (0..shards as u16).map(ShardId).collect();
    let peers: Vec<_> = all.iter().map(|&shard| world.connect(shard, ListenerId(0))).collect();
    world.run();
    let mut random = Random::new(seed ^ 0xacce55);
    let mut unread = vec![Vec::new(); shards];
    for _ in 0..60 {
        let shard = all[random.below(shards)];
        world.inject(shard, ());
        world.advance(random.below(60));
        // The peers pass on what they were told, to other executors.
        for (unread, &peer) in unread.iter_mut().zip(&peers) {
            unread.extend(world.received(peer));
            let whole = unread.len() / 4 * 4;
            for number in unread.drain(..whole).collect::<Vec<u8>>().chunks(4) {
                let to = peers[random.below(peers.len())];
                world.send(to, number);
            }
        }
    }
    world.run();
    let oracle = oracle.borrow();
    // Lost is as bad as early.
    oracle.violations + oracle.notes.len().abs_diff(oracle.count_handled)
}

fn is_found(fault: Fault) {
    assert_eq!((0..SEEDS).find(|&seed| violations(seed) > 0), None, "with every rule kept");
    seed(Some(fault));
    let found = (0..SEEDS).filter(|&seed| violations(seed) > 0).count();
    seed(None);
    println!("{fault:?}: {found} of {SEEDS} seeds find it");
    assert!(found > 0, "{fault:?} was not noticed");
}

#[test]
fn batches_without_a_commit_counter_are_found() {
    is_found(Fault::NoCommitCounter);
}

#[test]
fn batches_without_dependency_vectors_are_found() {
    is_found(Fault::NoDependencyVectors);
}

#[test]
fn a_vector_sampled_before_the_counters_are_loaded_is_found() {
    is_found(Fault::VectorBeforeCounters);
}

#[test]
fn local_messages_depth_first_are_found() {
    is_found(Fault::DepthFirstLocal);
}

#[test]
fn an_intake_before_local_leftovers_is_found() {
    is_found(Fault::IntakeBeforeLeftovers);
}

#[test]
fn a_commit_despite_overflow_is_found() {
    is_found(Fault::CommitDespiteOverflow);
}

#[test]
fn sockets_written_before_the_commit_are_found() {
    is_found(Fault::SocketsBeforeCommit);
}
