//! Folders on a real disk: reopened, locked, foreign, damaged, from a later version; and the same answers from RocksDB
//! as from a storage in memory.

use super::super::operation::{Condition, DatabaseRequest, FieldValues, Operation, Outcome};
use super::super::tests_world::{
    AVATAR, COINS, CONTRACT, FIRST, LEVEL, MET, NAME, STORED, X, XY, Y, contract, contract_text, settings,
};
use super::database::Database;
use super::memory::MemoryStorage;
use super::records::{FORMAT_KEY, FORMAT_MAGIC, FORMAT_VERSION};
use super::rocks::RocksStorage;
use super::storage::{Change, Storage, Table};
use super::tests::{PATIENCE, create, get, request, set};
use super::{Engine, EngineError, EngineHandle};
use crate::config;
use crate::wire::Doid;
use bytes::Bytes;
use donet_shards::ShardId;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// An engine on a folder, and a way to have one operation done.
pub(super) struct Folder {
    pub engine: EngineHandle,
    outcomes: Receiver<Outcome>,
}

impl Folder {
    pub fn open(directory: &Path, pool: std::ops::RangeInclusive<Doid>) -> Result<Self, EngineError> {
        let settings = config::DatabaseServer { directory: directory.to_owned(), ..settings(pool) };
        let (sender, outcomes) = channel();
        let on_completion = Box::new(move |_, completion: super::super::DatabaseCompletion| {
            // Nobody may be listening any more.
            let _ = sender.send(completion.outcome);
        });
        let engine = Engine::open(0, &settings, contract(CONTRACT), &contract_text(CONTRACT), on_completion)?;
        Ok(Self { engine, outcomes })
    }

    pub fn ask(&self, operation: Operation) -> Outcome {
        self.ask_for(request(0, operation))
    }

    pub fn ask_for(&self, request: DatabaseRequest) -> Outcome {
        self.engine.submit(ShardId(0), request);
        self.outcomes.recv_timeout(PATIENCE).expect("every operation is answered")
    }
}

fn values(pairs: &[(u16, &[u8])]) -> FieldValues {
    pairs.iter().map(|&(field, value)| (field, Bytes::copy_from_slice(value))).collect()
}

fn refusal(directory: &Path) -> EngineError {
    match Folder::open(directory, FIRST..=FIRST) {
        Err(error) => error,
        Ok(_) => panic!("the folder was accepted"),
    }
}

#[test]
fn db_30_a_folder_opened_again_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("made/when/missing");
    let pool = FIRST..=FIRST + 2;
    let first = Folder::open(&directory, pool.clone()).unwrap();
    for doid in pool.clone() {
        assert_eq!(first.ask_for(create(1)), Outcome::Created(doid));
    }
    first.ask(set(FIRST + 1, NAME, b"\x03\0a\0b"));
    for doid in [FIRST + 2, FIRST] {
        assert_eq!(first.ask(Operation::Delete { doid }), Outcome::Deleted);
    }
    drop(first);
    let second = Folder::open(&directory, pool.clone()).unwrap();
    let stored = Outcome::Object { class: AVATAR, values: values(&[(NAME, b"\x03\0a\0b")]) };
    assert_eq!(second.ask(Operation::GetAll { doid: FIRST + 1 }), stored);
    assert_eq!(second.ask_for(create(1)), Outcome::Created(FIRST + 2), "first freed, first reused");
    second.engine.shutdown();
    let third = Folder::open(&directory, pool).unwrap();
    assert_eq!(third.ask_for(create(1)), Outcome::Created(FIRST));
    assert!(matches!(third.ask_for(create(1)), Outcome::Refused(_)));
}

#[test]
fn a_folder_in_use_is_named_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Folder::open(folder.path(), FIRST..=FIRST).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, EngineError::Locked { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(folder.path().to_str().unwrap()) && text.contains("`directory`"), "{text}");
    assert_eq!(first.ask_for(create(1)), Outcome::Created(FIRST), "the holder is not disturbed");
}

#[test]
fn a_folder_with_something_else_in_it_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("holiday.jpg"), b"not a database").unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, EngineError::Foreign { .. }) && error.to_string().contains("holiday.jpg"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_in_the_place_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(refusal(&file), EngineError::Unusable { .. }));
}

#[test]
fn a_folder_from_a_later_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = RocksStorage::open(folder.path()).unwrap();
    let later = [&FORMAT_MAGIC[..], &(FORMAT_VERSION + 1).to_le_bytes()].concat();
    let change = Change { table: Table::Meta, key: FORMAT_KEY.to_vec(), value: Some(later.into()) };
    storage.write(&[change], true).unwrap();
    drop(storage);
    let error = refusal(folder.path());
    assert!(matches!(error, EngineError::NewerFormat { found, .. } if found == FORMAT_VERSION + 1), "{error}");
}

#[test]
fn a_damaged_folder_is_refused_and_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let first = Folder::open(folder.path(), FIRST..=FIRST + 10).unwrap();
    assert_eq!(first.ask_for(create(1)), Outcome::Created(FIRST));
    drop(first);
    let current = fs::read(folder.path().join("CURRENT")).unwrap();
    fs::remove_file(folder.path().join("CURRENT")).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, EngineError::Corrupt { .. }) && error.to_string().contains("CURRENT"), "{error}");
    fs::write(folder.path().join("CURRENT"), &current).unwrap();
    let manifest = folder.path().join(String::from_utf8(current).unwrap().trim());
    let bytes = fs::read(&manifest).unwrap();
    let broken: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    fs::write(&manifest, broken).unwrap();
    assert!(matches!(refusal(folder.path()), EngineError::Corrupt { .. }));
    fs::write(&manifest, bytes).unwrap();
    let again = Folder::open(folder.path(), FIRST..=FIRST + 10).unwrap();
    assert_eq!(again.ask_for(create(1)), Outcome::Created(FIRST + 1));
}

#[test]
fn a_damaged_schema_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(Folder::open(folder.path(), FIRST..=FIRST).unwrap());
    let mut storage = RocksStorage::open(folder.path()).unwrap();
    let value = Some(Bytes::from_static(&[1, 2, 3]));
    storage.write(&[Change { table: Table::Meta, key: b"schema".to_vec(), value }], true).unwrap();
    drop(storage);
    let error = refusal(folder.path());
    assert!(matches!(error, EngineError::Corrupt { .. }) && error.to_string().contains("names of classes"), "{error}");
}

/// Operations on a small pool, so that objects are created, deleted and created again.
fn operation() -> impl Strategy<Value = Operation> {
    let doid = FIRST..=FIRST + 4;
    let value = || {
        let of = |field: u16, length: usize| {
            proptest::collection::vec(any::<u8>(), length).prop_map(move |value| (field, Bytes::from(value)))
        };
        prop_oneof![of(LEVEL, 1), of(COINS, 2), of(X, 2), of(Y, 2), of(MET, 0)]
    };
    let some =
        move || proptest::collection::vec(value(), 1..4).prop_map(|pairs| pairs.into_iter().collect::<FieldValues>());
    let field = proptest::sample::select(vec![NAME, LEVEL, COINS, X, Y, XY, MET]);
    let class = proptest::sample::select(vec![STORED, AVATAR]);
    prop_oneof![
        3 => (class, proptest::option::of(some())).prop_map(|(class, values)| {
            let values = values.filter(|_| class == AVATAR).unwrap_or_default();
            Operation::Create { class, values }
        }),
        2 => doid.clone().prop_map(|doid| Operation::Delete { doid }),
        2 => doid.clone().prop_map(|doid| Operation::GetAll { doid }),
        2 => (doid.clone(), proptest::collection::vec(field, 1..4))
            .prop_map(|(doid, fields)| Operation::GetFields { doid, fields: fields.into_iter().collect() }),
        3 => (doid.clone(), some()).prop_map(|(doid, values)| Operation::Set { doid, values }),
        1 => (doid.clone(), some()).prop_map(|(doid, values)| Operation::SetIfEmpty { doid, values }),
        1 => (doid.clone(), some()).prop_map(|(doid, values)| Operation::DeleteFields {
            doid,
            fields: values.iter().map(|(field, _)| field).collect(),
        }),
        1 => (doid, 0..3_u8, 0..3_u8).prop_map(|(doid, expected, value)| Operation::SetIfEquals {
            doid,
            conditions: vec![Condition {
                field: LEVEL,
                expected: Bytes::copy_from_slice(&[expected]),
                value: Bytes::copy_from_slice(&[value]),
            }],
        }),
    ]
}

fn run<S: Storage>(database: &mut Database<S>, batches: &[Vec<Operation>]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for batch in batches {
        for operation in batch {
            database.execute(ShardId(0), request(0, operation.clone()));
        }
        let (_, completions) = database.commit(false);
        outcomes.extend(completions.into_iter().map(|(_, completion)| completion.outcome));
    }
    outcomes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However operations fall into batches, and whatever stores them, the answers are those of one after the other.
    #[test]
    fn batches_and_storages_do_not_show(
        batches in proptest::collection::vec(proptest::collection::vec(operation(), 1..12), 1..12),
    ) {
        let pool = FIRST..=FIRST + 4;
        let contract = contract(CONTRACT);
        let memory = MemoryStorage::default();
        let mut one_by_one = Database::open(memory.clone(), contract.clone(), pool.clone()).unwrap();
        let singles: Vec<_> = batches.iter().flatten().map(|operation| vec![operation.clone()]).collect();
        let expected = run(&mut one_by_one, &singles);

        let folder = tempfile::tempdir().unwrap();
        let storage = RocksStorage::open(folder.path()).unwrap();
        let mut batched = Database::open(storage, contract.clone(), pool.clone()).unwrap();
        prop_assert_eq!(run(&mut batched, &batches), expected);
        drop(batched);

        // And what is stored is the same, after a restart.
        let all: Vec<_> = pool.clone().map(|doid| vec![Operation::GetAll { doid }]).collect();
        let storage = RocksStorage::open(folder.path()).unwrap();
        let mut again = Database::open(storage, contract, pool).unwrap();
        prop_assert_eq!(run(&mut again, &all), run(&mut one_by_one, &all));
        // The ids that are left come in the same order.
        let creates = vec![vec![Operation::Create { class: AVATAR, values: FieldValues::default() }]; 5];
        prop_assert_eq!(run(&mut again, &creates), run(&mut one_by_one, &creates));
    }
}

#[test]
fn get_reads_what_set_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Folder::open(folder.path(), FIRST..=u32::MAX).unwrap();
    assert_eq!(folder.ask_for(create(1)), Outcome::Created(FIRST));
    folder.ask(set(FIRST, MET, b""));
    assert_eq!(folder.ask(get(FIRST, MET)), Outcome::Values(values(&[(MET, b"")])));
    assert_eq!(folder.ask(get(FIRST, COINS)), Outcome::Values(values(&[])));
}
