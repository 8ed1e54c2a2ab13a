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
use rtrb::{Consumer, Producer, RingBuffer};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

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
    pub fn take(&mut self, mut handle: impl FnMut(ShardId, M)) {
        fence(Ordering::SeqCst);
        for (index, counter) in self.commits.iter().enumerate() {
            if index != self.shard.index() {
                let committed = counter.0.load(Ordering::Acquire);
                self.seen[index] = self.seen[index].max(committed);
            }
        }
        // Each entry: a ring and the turn up to which it must be handled. A batch's dependencies go on top of it.
        let mut pending: SmallVec<[(usize, u64); 16]> = (0..self.seen.len())
            .filter(|&index| index != self.shard.index())
            .map(|index| (index, self.seen[index]))
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
                if index == self.shard.index() || index == from {
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
            for (waiting, messages) in self.waiting.iter_mut().zip(remote) {
                if !messages.is_empty() {
                    let messages = std::mem::take(messages);
                    waiting.push_back(Batch { turn, seen: self.seen.clone(), messages });
                }
            }
        }
        self.turn
    }

    /// Pushes what waits as far as the rings have room, and commits every turn that is in them whole. Gives each
    /// executor that has something new to `wake`, after the commit.
    pub fn commit(&mut self, mut wake: impl FnMut(ShardId)) {
        let mut committable = self.turn;
        for index in 0..self.waiting.len() {
            let Some(ring) = self.outgoing[index].as_mut() else { continue };
            while let Some(batch) = self.waiting[index].pop_front() {
                match ring.push(batch) {
                    Ok(()) => self.pushed[index] = true,
                    Err(rtrb::PushError::Full(batch)) => {
                        self.waiting[index].push_front(batch);
                        break;
                    }
                }
            }
            if let Some(batch) = self.waiting[index].front() {
                committable = committable.min(batch.turn - 1);
            }
        }
        let advanced = committable > self.committed;
        if advanced {
            self.committed = committable;
            self.commits[self.shard.index()].0.store(committable, Ordering::Release);
        }
        // Pairs with the fence of `take`, and orders the commit before any byte that leaves for a socket.
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
        self.waiting
            .iter()
            .zip(&self.outgoing)
            .any(|(waiting, ring)| !waiting.is_empty() && ring.as_ref().is_some_and(|ring| ring.slots() > 0))
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
            ring.peek().is_ok_and(|front| front.turn <= committed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all<M>(port: &mut Port<M>) -> Vec<(u16, M)> {
        let mut taken = Vec::new();
        port.take(|from, message| taken.push((from.0, message)));
        taken
    }

    fn send<M>(port: &mut Port<M>, to: usize, message: M) {
        let mut remote: Vec<Vec<M>> = (0..port.waiting.len()).map(|_| Vec::new()).collect();
        remote[to].push(message);
        port.emit(&mut remote);
    }

    #[test]
    fn an_effect_waits_for_its_cause() {
        let mut ports = ports::<&str>(3, 4);
        // 0 sends "cause" to 2, then to 1; 1 answers with "effect" to 2. Ring 1→2 is looked at with only 1's counter
        // news at hand, yet the cause comes first.
        let mut remote = vec![vec![], vec!["go"], vec!["cause"]];
        ports[0].emit(&mut remote);
        ports[0].commit(|_| ());
        assert_eq!(take_all(&mut ports[1]), [(0, "go")]);
        send(&mut ports[1], 2, "effect");
        ports[1].commit(|_| ());
        assert_eq!(take_all(&mut ports[2]), [(0, "cause"), (1, "effect")]);
    }

    #[test]
    fn the_rings_are_searched_for_causes_in_either_direction() {
        let mut ports = ports::<&str>(3, 4);
        // The same with the executor of the higher number as the cause.
        let mut remote = vec![vec!["cause"], vec!["go"], vec![]];
        ports[2].emit(&mut remote);
        ports[2].commit(|_| ());
        assert_eq!(take_all(&mut ports[1]), [(2, "go")]);
        send(&mut ports[1], 0, "effect");
        ports[1].commit(|_| ());
        assert_eq!(take_all(&mut ports[0]), [(2, "cause"), (1, "effect")]);
    }

    #[test]
    fn nothing_of_a_turn_is_visible_until_all_of_it_fits() {
        let mut ports = ports::<&str>(3, 1);
        send(&mut ports[0], 1, "fills the ring");
        ports[0].commit(|_| ());
        let mut remote = vec![vec![], vec!["waits"], vec!["fits"]];
        ports[0].emit(&mut remote);
        ports[0].commit(|_| ());
        assert!(ports[0].is_clogged());
        assert_eq!(take_all(&mut ports[2]), [], "the turn is not committed");
        assert_eq!(take_all(&mut ports[1]), [(0, "fills the ring")]);
        let mut woken = Vec::new();
        ports[0].commit(|shard| woken.push(shard.0));
        assert_eq!(woken, [1, 2], "what was pushed before is committed only now");
        assert!(!ports[0].is_clogged());
        assert_eq!(take_all(&mut ports[2]), [(0, "fits")]);
        assert_eq!(take_all(&mut ports[1]), [(0, "waits")]);
    }

    #[test]
    fn batches_of_one_pair_keep_their_order_through_a_full_ring() {
        let mut ports = ports::<u32>(2, 2);
        for number in 0..10 {
            send(&mut ports[0], 1, number);
            ports[0].commit(|_| ());
        }
        let mut taken = Vec::new();
        while taken.len() < 10 {
            taken.extend(take_all(&mut ports[1]).into_iter().map(|(_, number)| number));
            ports[0].commit(|_| ());
        }
        assert_eq!(taken, (0..10).collect::<Vec<_>>());
    }
}
