//! The mesh: one single-producer ring per ordered pair of executors, made causal (design §3, rules 1 to 4).
//!
//! Decides in which order batches are handled and when they count as sent. It never waits, never drops and never
//! looks into a message. Separate rings polled in turn do not preserve cause and effect; the rules that do:
//!
//! * a turn's batches become visible together, by one release store of its executor's commit counter;
//! * a batch carries the turns of every executor that its sender had seen, and is handled after those turns' batches.
//!
//! What does not fit a ring waits here in order, and the commit with it; [`Port::is_clogged`] then tells the executor
//! to stop reading its sources, never its rings. An executor that waited for room inside a handler would deadlock.

use crate::ShardId;
use crate::faults::{Fault, seeded};
use crate::sync::{AtomicU64, Consumer, Ordering, Producer, PushError, RingBuffer, fence};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches that one ring holds. A turn pushes at most one batch to a ring, so this is how many turns an executor may
/// be ahead of another before its sources are paused; memory is bounded by turns times their work budget.
pub const RING_BATCHES: usize = 64;

/// What one turn sends to one executor.
#[derive(Debug)]
struct Batch<M> {
    turn: u64,
    /// For every executor, the last of its turns that the sender had seen.
    seen: SmallVec<[u64; 8]>,
    messages: Vec<M>,
}

/// A commit counter on a cache line of its own: it is written every turn by one executor and read by all.
#[derive(Debug, Default)]
#[repr(align(128))]
struct CommitCounter(AtomicU64);

/// One executor's end of the mesh.
#[derive(Debug)]
pub struct Port<M> {
    shard: ShardId,
    commits: Arc<[CommitCounter]>,
    /// Indexed by executor; none for this one.
    outgoing: Vec<Option<Producer<Batch<M>>>>,
    incoming: Vec<Option<Consumer<Batch<M>>>>,
    /// Batches that did not fit, by destination, in order.
    waiting: Vec<VecDeque<Batch<M>>>,
    /// The last turn seen of every executor; the dependency vector of what this one sends.
    seen: SmallVec<[u64; 8]>,
    /// With [`Fault::VectorBeforeCounters`]: what had been seen when the last intake began.
    #[cfg(any(test, feature = "faults"))]
    sampled: SmallVec<[u64; 8]>,
    /// The number of this executor's last turn that emitted.
    turn: u64,
    committed: u64,
    /// Destinations that may have batches which are not committed yet.
    pushed: Vec<bool>,
    /// Executors whose rings have more room than before.
    taken: Vec<bool>,
}

/// Makes the ports of `shards` executors, with rings of `batches` slots.
///
/// # Panics
/// When either is 0.
pub fn ports<M>(shards: usize, batches: usize) -> Vec<Port<M>> {
    assert!(shards > 0 && batches > 0);
    let commits: Arc<[CommitCounter]> = (0..shards).map(|_| CommitCounter::default()).collect();
    let mut ports: Vec<Port<M>> = (0..shards)
        .map(|index| Port {
            shard: ShardId(index as u16),
            commits: commits.clone(),
            outgoing: (0..shards).map(|_| None).collect(),
            incoming: (0..shards).map(|_| None).collect(),
            waiting: (0..shards).map(|_| VecDeque::new()).collect(),
            seen: SmallVec::from_elem(0, shards),
            #[cfg(any(test, feature = "faults"))]
            sampled: SmallVec::from_elem(0, shards),
            turn: 0,
            committed: 0,
            pushed: vec![false; shards],
            taken: vec![false; shards],
        })
        .collect();
    for from in 0..shards {
        for to in (0..shards).filter(|&to| to != from) {
            let (producer, consumer) = RingBuffer::new(batches);
            ports[from].outgoing[to] = Some(producer);
            ports[to].incoming[from] = Some(consumer);
        }
    }
    ports
}

impl<M> Port<M> {
    /// Takes every committed batch, causes before their effects, and gives each message to `handle`.
    ///
    /// Call it after the sockets of this turn have been read and before what they brought is handled: with the fence
    /// it covers cause and effect that run through a peer outside (rule 5).
    pub fn take(&mut self, handle: impl FnMut(ShardId, M)) {
        self.begin_intake();
        for index in 0..self.seen.len() {
            self.observe(index);
        }
        self.take_observed(handle);
    }

    /// First step of [`Port::take`]; the simulator takes them one by one, and lets others run in between.
    pub(crate) fn begin_intake(&mut self) {
        #[cfg(any(test, feature = "faults"))]
        self.sampled.clone_from(&self.seen);
        fence(Ordering::SeqCst);
    }

    /// Loads one executor's commit counter.
    pub(crate) fn observe(&mut self, index: usize) {
        if index != self.shard.index() {
            let committed = self.commits[index].0.load(Ordering::Acquire);
            self.seen[index] = self.seen[index].max(committed);
        }
    }

    /// Last step of [`Port::take`]: takes what the loaded counters say is committed.
    pub(crate) fn take_observed(&mut self, mut handle: impl FnMut(ShardId, M)) {
        let committed = |seen: u64| if seeded(Fault::NoCommitCounter) { u64::MAX } else { seen };
        // Each entry: a ring and the turn up to which it must be handled. A batch's dependencies go on top of it.
        let mut pending: SmallVec<[(usize, u64); 16]> = (0..self.seen.len())
            .filter(|&index| index != self.shard.index())
            .map(|index| (index, committed(self.seen[index])))
            .collect();
        while let Some(&(from, up_to)) = pending.last() {
            let ring = self.incoming[from].as_ref().expect("only other executors are pending");
            let due = ring.peek().ok().filter(|batch| batch.turn <= up_to);
            let Some(batch) = due else {
                pending.pop();
                continue;
            };
            let mut dependency = None;
            for (index, &turn) in batch.seen.iter().enumerate() {
                if index == self.shard.index() || index == from || seeded(Fault::NoDependencyVectors) {
                    continue;
                }
                let ring = self.incoming[index].as_ref().expect("every other executor has a ring");
                if ring.peek().is_ok_and(|front| front.turn <= turn) {
                    dependency = Some((index, turn));
                    break;
                }
            }
            if let Some(dependency) = dependency {
                pending.push(dependency);
                continue;
            }
            let ring = self.incoming[from].as_mut().expect("checked above");
            let batch = ring.pop().expect("peeked above");
            self.taken[from] = true;
            for (mine, theirs) in self.seen.iter_mut().zip(&batch.seen) {
                *mine = (*mine).max(*theirs);
            }
            self.seen[from] = self.seen[from].max(batch.turn);
            for message in batch.messages {
                handle(ShardId(from as u16), message);
            }
        }
    }

    /// Ends a turn: one batch for every destination that has messages. Returns the turn's number, which
    /// [`Port::committed`] reaches when all of it is visible; a turn that emits nothing shares its predecessor's.
    pub fn emit(&mut self, remote: &mut [Vec<M>]) -> u64 {
        if remote.iter().any(|messages: &Vec<M>| !messages.is_empty()) {
            self.turn += 1;
            let turn = self.turn;
            self.seen[self.shard.index()] = turn;
            let seen = self.vector();
            for (waiting, messages) in self.waiting.iter_mut().zip(remote) {
                if !messages.is_empty() {
                    let messages = std::mem::take(messages);
                    waiting.push_back(Batch { turn, seen: seen.clone(), messages });
                }
            }
        }
        self.turn
    }

    /// What a batch of this turn depends on.
    fn vector(&self) -> SmallVec<[u64; 8]> {
        #[cfg(any(test, feature = "faults"))]
        if seeded(Fault::VectorBeforeCounters) {
            return self.sampled.clone();
        }
        self.seen.clone()
    }

    /// Pushes what waits as far as the rings have room, and commits every turn that is in them whole. Gives each
    /// executor that has something new to `wake`, after the commit.
    pub fn commit(&mut self, wake: impl FnMut(ShardId)) {
        for index in 0..self.waiting.len() {
            self.push(index);
        }
        self.publish(wake);
    }

    /// First step of [`Port::commit`], for one destination.
    pub(crate) fn push(&mut self, index: usize) {
        let Some(ring) = self.outgoing[index].as_mut() else { return };
        if ring.is_abandoned() {
            // That executor has ended. What is for it would wait for ever, and this one's sources, its end included, with it.
            self.waiting[index].clear();
            return;
        }
        while let Some(batch) = self.waiting[index].pop_front() {
            match ring.push(batch) {
                Ok(()) => self.pushed[index] = true,
                Err(PushError::Full(batch)) => {
                    self.waiting[index].push_front(batch);
                    break;
                }
            }
        }
    }

    /// Last step of [`Port::commit`]: tells of every turn that is in the rings whole.
    pub(crate) fn publish(&mut self, mut wake: impl FnMut(ShardId)) {
        let mut committable = self.turn;
        for waiting in &self.waiting {
            if let Some(batch) = waiting.front()
                && !seeded(Fault::CommitDespiteOverflow)
            {
                committable = committable.min(batch.turn - 1);
            }
        }
        let advanced = committable > self.committed;
        if advanced {
            self.committed = committable;
            self.commits[self.shard.index()].0.store(committable, Ordering::Release);
        }
        // Pairs with the fence of `begin_intake`, and orders the commit before any byte that leaves for a socket.
        fence(Ordering::SeqCst);
        if advanced {
            // While something still waits, a later commit may concern the same destinations: they stay marked.
            let clogged = self.is_clogged();
            for index in 0..self.pushed.len() {
                if self.pushed[index] {
                    self.pushed[index] = clogged;
                    wake(ShardId(index as u16));
                }
            }
        }
    }

    /// Gives up both ends of every ring. The executor takes, sends and commits nothing after it.
    pub(crate) fn close(&mut self) {
        self.incoming.fill_with(|| None);
        self.outgoing.fill_with(|| None);
        self.waiting.iter_mut().for_each(VecDeque::clear);
    }

    /// The last turn of this executor that every destination can see whole.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether something waits for room in a ring: the executor must not read its sources.
    pub fn is_clogged(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Batches that wait here for room in a ring.
    pub fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// Batches in the fullest of this executor's outgoing rings, of [`RING_BATCHES`] that fit.
    pub fn fullest_ring(&self) -> usize {
        self.outgoing.iter().flatten().map(|ring| ring.buffer().capacity() - ring.slots()).max().unwrap_or(0)
    }

    /// Whether something that waits would fit now.
    pub fn can_push(&self) -> bool {
        self.waiting.iter().zip(&self.outgoing).any(|(waiting, ring)| {
            !waiting.is_empty() && ring.as_ref().is_some_and(|ring| ring.slots() > 0 || ring.is_abandoned())
        })
    }

    /// The executors from which batches were taken since the last call: their rings have room.
    pub fn taken_from(&mut self, mut each: impl FnMut(ShardId)) {
        for (index, taken) in self.taken.iter_mut().enumerate() {
            if std::mem::take(taken) {
                each(ShardId(index as u16));
            }
        }
    }

    /// Whether [`Port::take`] would handle something.
    pub fn has_incoming(&self) -> bool {
        self.incoming.iter().enumerate().any(|(index, ring)| {
            let Some(ring) = ring else { return false };
            let committed = self.commits[index].0.load(Ordering::Acquire);
            ring.peek().is_ok_and(|front| front.turn <= committed || seeded(Fault::NoCommitCounter))
        })
    }
}
