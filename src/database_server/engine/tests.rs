//! The engine's thread: batches, the order of answers, contention, limits, shutdown. A locked storage in memory holds
//! the thread where a test wants it.

use super::super::operation::{
    Condition, DatabaseCompletion, DatabaseRequest, FieldValues, Operation, Outcome, Refusal,
};
use super::super::tests_world::{AVATAR, COINS, CONTRACT, FIRST, LEVEL, contract};
use super::database::{BATCH_OPERATIONS_MAX, Database};
use super::handle::EngineHandle;
use super::memory::MemoryStorage;
use crate::config::Durability;
use crate::wire::MessageType;
use bytes::Bytes;
use donet_shards::ShardId;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Long enough for any machine; reached only by a failure.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn request(context: u32, operation: Operation) -> DatabaseRequest {
    DatabaseRequest { requester: 5, context, message_type: MessageType(0), operation, held_bytes: 100 }
}

pub(super) fn create(context: u32) -> DatabaseRequest {
    request(context, Operation::Create { class: AVATAR, values: FieldValues::default() })
}

pub(super) fn set(doid: u32, field: u16, value: &[u8]) -> Operation {
    Operation::Set { doid, values: [(field, Bytes::copy_from_slice(value))].into_iter().collect() }
}

pub(super) fn get(doid: u32, field: u16) -> Operation {
    Operation::GetFields { doid, fields: [field].into_iter().collect() }
}

fn if_equals(doid: u32, field: u16, expected: u16, value: u16) -> Operation {
    let bytes = |number: u16| Bytes::copy_from_slice(&number.to_le_bytes());
    Operation::SetIfEquals {
        doid,
        conditions: vec![Condition { field, expected: bytes(expected), value: bytes(value) }],
    }
}

/// An engine over a storage in memory, and what it answers: shard, completion, and how many writes had been done.
fn start(durability: Durability) -> (EngineHandle, MemoryStorage, Receiver<(ShardId, DatabaseCompletion, usize)>) {
    let storage = MemoryStorage::default();
    let database = Database::open(storage.clone(), contract(CONTRACT), FIRST..=u32::MAX).unwrap();
    storage.state().writes.clear();
    let (sender, completions) = channel();
    let seen = storage.clone();
    let on_completion = Box::new(move |shard, completion| {
        let writes = seen.state().writes.len();
        sender.send((shard, completion, writes)).expect("the test listens");
    });
    let engine = EngineHandle::start(0, database, durability, on_completion).unwrap();
    (engine, storage, completions)
}

#[test]
fn what_waits_becomes_one_synced_write_and_is_answered_after_it() {
    let (engine, storage, completions) = start(Durability::Sync);
    // The thread stops at the first operation, with an unknown number of the others taken: they all wait.
    let held = storage.state();
    for context in 0..100 {
        engine.submit(ShardId(context as u16 % 3), create(context));
        engine.submit(ShardId(7), request(1000 + context, get(FIRST + context, LEVEL)));
    }
    drop(held);
    for context in 0..100 {
        let (shard, completion, writes) = completions.recv_timeout(PATIENCE).unwrap();
        assert_eq!((shard, completion.context), (ShardId(context as u16 % 3), context));
        assert_eq!((completion.outcome, writes), (Outcome::Created(FIRST + context), 1));
        let (shard, completion, writes) = completions.recv_timeout(PATIENCE).unwrap();
        assert_eq!((shard, completion.context, writes), (ShardId(7), 1000 + context, 1));
        assert_eq!(completion.outcome, Outcome::Values(FieldValues::default()), "a read of the batch's own object");
    }
    // 100 objects and the allocator.
    assert_eq!(storage.state().writes, [(101, true)]);
}

#[test]
fn a_batch_has_an_end() {
    let (engine, storage, completions) = start(Durability::Sync);
    let held = storage.state();
    let operations = 2 * BATCH_OPERATIONS_MAX;
    for context in 0..operations {
        engine.submit(ShardId(0), create(context as u32));
    }
    drop(held);
    for _ in 0..operations {
        completions.recv_timeout(PATIENCE).unwrap();
    }
    let writes = storage.state().writes.clone();
    let most = BATCH_OPERATIONS_MAX + 1;
    assert_eq!(writes, [(most, true), (most, true)]);
}

#[test]
fn a_batch_ends_by_its_bytes_too() {
    let (engine, storage, completions) = start(Durability::Sync);
    engine.submit(ShardId(0), create(0));
    completions.recv_timeout(PATIENCE).unwrap();
    let held = storage.state();
    let value = Bytes::from(vec![0; 60_000]);
    for context in 0..100 {
        let values = [(super::super::tests_world::NAME, value.clone())].into_iter().collect();
        engine.submit(ShardId(0), request(context, Operation::Set { doid: FIRST, values }));
    }
    drop(held);
    for _ in 0..100 {
        completions.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(storage.state().writes.len(), 3, "one create, six megabytes in two batches");
}

#[test]
fn answers_of_reads_wait_for_the_write_they_reveal() {
    let (engine, storage, completions) = start(Durability::Sync);
    engine.submit(ShardId(0), create(0));
    completions.recv_timeout(PATIENCE).unwrap();
    let mut held = storage.state();
    engine.submit(ShardId(0), request(1, set(FIRST, LEVEL, &[9])));
    engine.submit(ShardId(0), request(2, get(FIRST, LEVEL)));
    held.disk_full = true;
    drop(held);
    let before = Outcome::Values(FieldValues::default());
    for outcome in [Outcome::Failed, before] {
        let (_, completion, _) = completions.recv_timeout(PATIENCE).unwrap();
        assert_eq!(completion.outcome, outcome, "the read sees nothing of the write that failed");
    }
    engine.submit(ShardId(0), request(3, get(FIRST, LEVEL)));
    let (_, completion, _) = completions.recv_timeout(PATIENCE).unwrap();
    assert_eq!(completion.outcome, Outcome::Values(FieldValues::default()));
}

#[test]
fn what_can_write_again_does_so_by_itself() {
    let (engine, storage, completions) = start(Durability::Sync);
    storage.state().disk_full = true;
    engine.submit(ShardId(0), create(0));
    assert_eq!(completions.recv_timeout(PATIENCE).unwrap().1.outcome, Outcome::Failed);
    let (on_recovery, recovered) = channel();
    {
        let mut state = storage.state();
        state.on_recovery = Some(on_recovery);
        state.disk_full = false;
    }
    recovered.recv_timeout(PATIENCE).expect("nobody has asked for anything");
    engine.submit(ShardId(0), create(1));
    assert_eq!(completions.recv_timeout(PATIENCE).unwrap().1.outcome, Outcome::Created(FIRST));
}

#[test]
fn db_27_of_two_conditional_sets_with_one_expectation_one_succeeds() {
    let (engine, _, completions) = start(Durability::Sync);
    engine.submit(ShardId(0), create(0));
    completions.recv_timeout(PATIENCE).unwrap();
    engine.submit(ShardId(0), request(0, set(FIRST, COINS, &0_u16.to_le_bytes())));
    completions.recv_timeout(PATIENCE).unwrap();
    const ROUNDS: u16 = 200;
    std::thread::scope(|scope| {
        for contender in 0..4 {
            let engine = engine.clone();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    engine.submit(ShardId(contender), request(round.into(), if_equals(FIRST, COINS, round, round + 1)));
                }
            });
        }
    });
    // Contenders run ahead and fail; whoever expects the value that stands there wins, and each value has one winner.
    let mut won = vec![0; usize::from(ROUNDS)];
    for _ in 0..4 * usize::from(ROUNDS) {
        let (_, completion, _) = completions.recv_timeout(PATIENCE).unwrap();
        match completion.outcome {
            Outcome::Applied { .. } => won[completion.context as usize] += 1,
            Outcome::Mismatch(current) => {
                let current = u16::from_le_bytes(current.get(COINS).unwrap()[..].try_into().unwrap());
                assert_ne!(u32::from(current), completion.context);
            }
            other => panic!("{other:?}"),
        }
    }
    let reached = won.iter().filter(|&&winners| winners > 0).count();
    assert!(reached > 0 && won.iter().all(|&winners| winners <= 1), "{won:?}");
    engine.submit(ShardId(0), request(0, get(FIRST, COINS)));
    let (_, completion, _) = completions.recv_timeout(PATIENCE).unwrap();
    let stored: FieldValues = [(COINS, Bytes::copy_from_slice(&(reached as u16).to_le_bytes()))].into_iter().collect();
    assert_eq!(completion.outcome, Outcome::Values(stored));
}

#[test]
fn what_the_queue_cannot_hold_is_refused_in_its_place() {
    let (engine, storage, completions) = start(Durability::Sync);
    let held = storage.state();
    engine.submit(ShardId(0), create(1));
    engine.submit(ShardId(0), DatabaseRequest { held_bytes: 1 << 40, ..create(2) });
    engine.submit(ShardId(0), create(3));
    drop(held);
    let outcomes: Vec<_> = (0..3)
        .map(|_| completions.recv_timeout(PATIENCE).unwrap().1)
        .map(|answer| (answer.context, answer.outcome))
        .collect();
    let refused = Outcome::Refused(Refusal::QueueFull);
    assert_eq!(outcomes, [(1, Outcome::Created(FIRST)), (2, refused), (3, Outcome::Created(FIRST + 1))]);
    assert_eq!(engine.queued_bytes(), 0);
}

#[test]
fn shutdown_finishes_what_was_submitted() {
    let (engine, storage, completions) = start(Durability::Os);
    let (on_sync, synced) = channel();
    storage.state().on_sync = Some(on_sync);
    for context in 0..500 {
        engine.submit(ShardId(0), create(context));
    }
    engine.shutdown();
    assert_eq!(completions.try_iter().count(), 500);
    assert_eq!(synced.try_iter().count(), 1, "what the system was trusted with is synced at the end");
    engine.submit(ShardId(0), create(1));
    engine.shutdown();
    assert!(completions.recv().is_err(), "the thread has ended and dropped its callback");
}

#[test]
fn dropping_the_last_handle_is_a_shutdown() {
    let (engine, _, completions) = start(Durability::Sync);
    let other = engine.clone();
    engine.submit(ShardId(0), create(1));
    drop(engine);
    other.submit(ShardId(0), create(2));
    drop(other);
    assert_eq!(completions.iter().count(), 2);
}

#[test]
fn interval_syncs_after_a_write_and_not_without_one() {
    let (engine, storage, completions) = start(Durability::Interval(Duration::from_millis(2)));
    let (on_sync, synced) = channel();
    storage.state().on_sync = Some(on_sync);
    for _ in 0..3 {
        engine.submit(ShardId(0), create(1));
        completions.recv_timeout(PATIENCE).unwrap();
        synced.recv_timeout(PATIENCE).unwrap();
    }
    engine.submit(ShardId(0), request(2, get(FIRST, LEVEL)));
    completions.recv_timeout(PATIENCE).unwrap();
    assert!(storage.state().writes.iter().all(|&(_, sync)| !sync));
    engine.shutdown();
    assert_eq!(synced.try_iter().count(), 1, "the one at the end");
}
