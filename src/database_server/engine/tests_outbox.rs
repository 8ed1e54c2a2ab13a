//! What is kept for a mirror, from where one may go on, and when all is dropped.

use super::super::operation::{FieldValues, Operation};
use super::super::sink_figures::SinkFigures;
use super::super::tests_world::{AVATAR, COINS, CONTRACT, FIRST, LEVEL, NAME, OTHER, contract};
use super::database::Database;
use super::memory::MemoryStorage;
use super::outbox::{ObjectChange, OutboxPosition};
use super::records::{OUTBOX_KEY, StoredRecord};
use super::storage::{Change, Storage, Table};
use super::tests::{create, request, set};
use bytes::Bytes;
use donet_shards::ShardId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const ROOM: u64 = 1 << 20;

struct World {
    storage: MemoryStorage,
    database: Database<MemoryStorage>,
    figures: Arc<SinkFigures>,
}

impl World {
    fn new() -> Self {
        Self::on(MemoryStorage::default(), Some(ROOM))
    }

    /// A start of the process.
    fn on(storage: MemoryStorage, bytes_max: Option<u64>) -> Self {
        let mut database = Database::open(storage.clone(), contract(CONTRACT), FIRST..=FIRST).unwrap();
        let figures: Arc<SinkFigures> = Arc::default();
        database.keep_outbox(bytes_max, figures.clone()).unwrap();
        Self { storage, database, figures }
    }

    fn restart(self) -> Self {
        let storage = self.storage.clone();
        drop(self);
        Self::on(storage, Some(ROOM))
    }

    fn batch(&mut self, operations: Vec<Operation>) {
        for operation in operations {
            self.database.execute(ShardId(0), request(0, operation));
        }
        assert!(self.database.commit(true).0);
    }

    fn set(&mut self, field: u16, value: &[u8]) {
        self.batch(vec![set(FIRST, field, value)]);
    }

    fn create(&mut self) {
        self.database.execute(ShardId(0), create(0));
        assert!(self.database.commit(true).0);
    }

    fn lag(&self) -> (u64, u64) {
        (self.figures.lag_entries.load(Ordering::Relaxed), self.figures.lag_bytes.load(Ordering::Relaxed))
    }

    /// Begins, and creates the object.
    fn begun() -> (Self, OutboxPosition) {
        let mut world = Self::new();
        let position = world.database.begin_outbox().unwrap();
        world.create();
        (world, position)
    }

    fn last(&self, after: OutboxPosition) -> OutboxPosition {
        self.database.outbox_after(after.number).unwrap().unwrap().last().unwrap().position
    }
}

#[test]
fn nothing_is_kept_before_a_mirror_begins_and_every_change_after_it() {
    let mut world = World::new();
    world.create();
    assert_eq!(world.lag(), (0, 0));
    assert!(!world.database.outbox_goes_on(OutboxPosition { number: 0, run: 0 }).unwrap());
    let begun = world.database.begin_outbox().unwrap();
    world.database.set_clock(5000);
    world.batch(vec![set(FIRST, LEVEL, &[1]), set(FIRST, LEVEL, &[2]), set(FIRST, COINS, &[3, 0])]);
    let entries = world.database.outbox_after(begun.number).unwrap().unwrap();
    assert_eq!(entries.len(), 1, "one for a batch");
    let [object] = &entries[0].objects[..] else { panic!("{entries:?}") };
    assert_eq!(
        (entries[0].written_ms, object.doid, object.before, object.after),
        (5000, FIRST, object.after, object.before)
    );
    let values: Vec<_> = object.fields.iter().map(|(_, value)| value.clone().unwrap()).collect();
    assert_eq!(values, [Bytes::from_static(&[2]), Bytes::from_static(&[3, 0])], "as the batch has left them");
    assert_eq!(world.lag().0, 1);
    assert!(world.figures.lag_seconds() > 1_000_000, "since 1970");
    world.database.acknowledge_outbox(entries[0].position).unwrap();
    assert_eq!((world.lag(), world.figures.lag_seconds()), ((0, 0), 0));
    assert_eq!(world.database.outbox_after(entries[0].position.number).unwrap().unwrap(), []);
    // A read is no change.
    world.database.execute(ShardId(0), request(0, Operation::GetAll { doid: FIRST }));
    assert!(!world.database.commit(true).0);
    assert_eq!(world.lag(), (0, 0));
}

#[test]
fn an_object_that_makes_room_for_another_in_one_batch_says_what_it_was() {
    let (mut world, begun) = World::begun();
    world.set(NAME, b"\x01\0a");
    let before = world.last(begun);
    // The pool has one doid: the second object gets it again.
    let other = Operation::Create { class: 1, values: [(OTHER, Bytes::from_static(&[9]))].into_iter().collect() };
    world.batch(vec![Operation::Delete { doid: FIRST }, other]);
    let entries = world.database.outbox_after(before.number).unwrap().unwrap();
    let [ObjectChange { before: Some(before), after: Some(after), fields, .. }] = &entries[0].objects[..] else {
        panic!("{entries:?}")
    };
    assert_ne!(before, after);
    let kept: Vec<_> = fields.iter().filter_map(|(_, value)| value.clone()).collect();
    assert_eq!(kept, [Bytes::from_static(&[9])]);
    // And one that came and went.
    world.batch(vec![Operation::Delete { doid: FIRST }]);
    let last = world.last(entries[0].position);
    let create = Operation::Create { class: AVATAR, values: FieldValues::default() };
    world.batch(vec![create, Operation::Delete { doid: FIRST }]);
    let entries = world.database.outbox_after(last.number).unwrap().unwrap();
    assert_eq!((entries[0].objects[0].before, entries[0].objects[0].after), (None, None));
}

#[test]
fn a_mirror_goes_on_after_a_restart_from_wherever_it_was() {
    let (mut world, begun) = World::begun();
    let mut positions = vec![begun];
    for number in 0..3 {
        world.set(LEVEL, &[number]);
        positions.push(world.last(*positions.last().unwrap()));
    }
    for _ in 0..2 {
        world = world.restart();
        for position in &positions {
            assert!(world.database.outbox_goes_on(*position).unwrap(), "{position:?}");
        }
        world.set(LEVEL, &[7]);
    }
    // It has told of the second, and a crash came before that was noted; or after.
    let acknowledged = positions[2];
    assert!(world.database.outbox_goes_on(acknowledged).unwrap());
    world.database.acknowledge_outbox(acknowledged).unwrap();
    let world = world.restart();
    assert!(world.database.outbox_goes_on(acknowledged).unwrap());
    assert!(!world.database.outbox_goes_on(positions[1]).unwrap(), "an older state of the SQL database");
    assert_eq!(world.database.outbox_after(positions[1].number).unwrap(), None);
}

#[test]
fn a_mirror_that_has_seen_what_a_power_cut_took_back_does_not_go_on() {
    let (mut world, begun) = World::begun();
    world.set(LEVEL, &[1]);
    let kept = world.last(begun);
    let image = MemoryStorage::copy_of(&world.storage);
    world.set(LEVEL, &[2]);
    let seen = world.last(kept);
    drop(world);
    // The last change was not synced, and the mirror has it.
    let mut world = World::on(image, Some(ROOM));
    assert!(world.database.outbox_goes_on(kept).unwrap());
    assert!(!world.database.outbox_goes_on(seen).unwrap(), "it is ahead");
    world.set(LEVEL, &[3]);
    let instead = world.last(kept);
    assert_eq!(instead.number, seen.number);
    assert!(!world.database.outbox_goes_on(seen).unwrap(), "another run's change has its number");
    assert!(world.database.outbox_goes_on(instead).unwrap());
}

#[test]
fn beyond_the_limit_everything_is_dropped_and_nothing_kept_until_a_mirror_begins_anew() {
    let (mut world, begun) = World::begun();
    let name = [&60_000_u16.to_le_bytes()[..], &[b'a'; 60_000]].concat();
    let mut last = begun;
    for _ in 0..17 {
        world.set(NAME, &name);
        last = world.last(last);
    }
    assert!(world.lag().1 > 17 * 60_000 && world.lag().1 <= ROOM);
    assert!(world.database.outbox_goes_on(last).unwrap());
    world.set(NAME, &name);
    assert_eq!(world.lag(), (0, 0));
    let outbox = |world: &World| world.storage.page(Table::Outbox, &[], 9).unwrap().len();
    assert_eq!(outbox(&world), 0, "the room is given back");
    assert!(!world.database.outbox_goes_on(last).unwrap());
    assert_eq!(world.database.outbox_after(last.number).unwrap(), None);
    world.set(LEVEL, &[1]);
    assert_eq!((world.lag(), outbox(&world)), ((0, 0), 0));
    let again = world.database.begin_outbox().unwrap();
    assert!(again.number > last.number);
    world.set(LEVEL, &[2]);
    assert!(world.database.outbox_goes_on(again).unwrap());
    assert_eq!(world.database.outbox_after(again.number).unwrap().unwrap().len(), 1);
}

#[test]
fn a_daemon_without_a_sink_forgets_the_outbox() {
    let (mut world, begun) = World::begun();
    world.set(LEVEL, &[1]);
    let last = world.last(begun);
    let storage = world.storage.clone();
    drop(world);
    drop(World::on(storage.clone(), None));
    assert_eq!(storage.get(Table::Meta, OUTBOX_KEY), Ok(None));
    assert_eq!(storage.page(Table::Outbox, &[], 9).unwrap(), []);
    let world = World::on(storage, Some(ROOM));
    assert!(!world.database.outbox_goes_on(last).unwrap(), "changes may have come in between");
}

#[test]
fn entries_that_a_crash_left_behind_are_removed_at_the_next_start() {
    let (mut world, begun) = World::begun();
    world.set(LEVEL, &[1]);
    let last = world.last(begun);
    let record = super::records::OutboxRecord {
        acknowledged: last.number,
        last: last.number,
        ..super::records::OutboxRecord::default()
    };
    // As if the state were written and the range not yet removed.
    let change = Change { table: Table::Meta, key: OUTBOX_KEY.to_vec(), value: Some(record.encode()) };
    world.storage.write(&[change], true).unwrap();
    let world = world.restart();
    assert_eq!(world.storage.page(Table::Outbox, &[], 9).unwrap(), []);
}

#[test]
fn a_page_tells_how_far_the_outbox_was_when_it_was_read() {
    let (mut world, begun) = World::begun();
    world.set(LEVEL, &[1]);
    let page = world.database.outbox_page(0).unwrap();
    assert_eq!((page.end, page.next, page.highest), (begun.number + 2, None, FIRST));
    let [(doid, _, fields)] = &page.objects[..] else { panic!("{page:?}") };
    assert_eq!((*doid, fields.len()), (FIRST, 1));
    // Within a batch: what it has changed is not there yet, and neither is its entry.
    world.database.execute(ShardId(0), request(0, set(FIRST, COINS, &[1, 1])));
    let page = world.database.outbox_page(0).unwrap();
    assert_eq!((page.end, page.objects[0].2.len()), (begun.number + 2, 1));
}
