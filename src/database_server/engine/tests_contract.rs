//! A stored database under a contract that has changed.

use super::super::operation::{FieldValues, Operation, Outcome};
use super::super::tests_world::{contract, contract_text};
use super::compatibility::Renames;
use super::contract_change::{Export, MigrationReport, migrate};
use super::database::{Database, OpenError};
use super::memory::MemoryStorage;
use super::tests::request;
use crate::wire::Doid;
use bytes::Bytes;
use donet_dc::Field;
use donet_shards::ShardId;
use std::io;

const BEFORE: &str = "
dclass Hero { setName(string(0-20)) db; setLevel(uint8) db; setMood(int8) db; setRank(uint8) required db; };
dclass Pet { setName(string(0-20)) db; setHunger(uint16) db; };
";
const FIRST: Doid = 1000;

type Memory = Database<MemoryStorage>;

fn open_with(storage: &MemoryStorage, text: &str, renames: Renames) -> Result<Memory, OpenError> {
    let text_record = super::contract_change::ContractText { renames, ..contract_text(text) };
    Database::open_under(storage.clone(), contract(text), Some(&text_record), FIRST..=1999)
}

fn open(storage: &MemoryStorage, text: &str) -> Result<Memory, OpenError> {
    open_with(storage, text, Renames::default())
}

fn perform(database: &mut Memory, operation: Operation) -> Outcome {
    database.execute(ShardId(0), request(0, operation));
    database.commit(true).1.remove(0).1.outcome
}

/// A stored object as text: its class, then its fields with their bytes in hexadecimal, in the order of their names.
fn show(database: &mut Memory, text: &str, doid: Doid) -> String {
    let contract = contract(text);
    let Outcome::Object { class, values } = perform(database, Operation::GetAll { doid }) else {
        return "missing".to_owned();
    };
    let mut fields: Vec<String> = values
        .iter()
        .map(|(id, value)| {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}={hex}", contract.field(id).unwrap().name())
        })
        .collect();
    fields.sort_unstable();
    format!("{} {}", contract.class(class).unwrap().name(), fields.join(" "))
}

fn create(database: &mut Memory, text: &str, class: &str, fields: &[(&str, &[u8])]) -> Doid {
    let contract = contract(text);
    let class = contract.class_by_name(class).unwrap();
    let values: FieldValues = fields
        .iter()
        .map(|(name, value)| (class.field_by_name(name).unwrap().id(), Bytes::copy_from_slice(value)))
        .collect();
    match perform(database, Operation::Create { class: class.id(), values }) {
        Outcome::Created(doid) => doid,
        other => panic!("{other:?}"),
    }
}

/// Two heroes and a pet.
fn stored() -> MemoryStorage {
    let storage = MemoryStorage::default();
    let mut database = open(&storage, BEFORE).unwrap();
    let hero: [(&str, &[u8]); 3] = [("setName", b"\x02\0Al"), ("setLevel", &[200]), ("setMood", &[0xfe])];
    assert_eq!(create(&mut database, BEFORE, "Hero", &hero), FIRST);
    assert_eq!(create(&mut database, BEFORE, "Hero", &[("setLevel", &[7]), ("setRank", &[3])]), FIRST + 1);
    assert_eq!(create(&mut database, BEFORE, "Pet", &[("setName", b"\x01\0P"), ("setHunger", &[1, 2])]), FIRST + 2);
    storage
}

fn objects_of(storage: &MemoryStorage) -> Vec<String> {
    storage.dump().into_iter().filter(|line| line.starts_with("Objects")).collect()
}

#[test]
fn reordering_adding_and_widening_touch_no_data() {
    let storage = stored();
    let before = objects_of(&storage);
    let after = "
        dclass New { setOther(string) db; };
        dclass Pet { setHunger(uint16) db; setName(string) db; setBreed(string) db; };
        dclass Hero { setMood(int32) db; setRank(uint8) required db; setAge(uint16 = 9) db; setLevel(int16) db;
                      setName(string(0-40) name) db; };
    ";
    let mut database = open(&storage, after).unwrap();
    assert_eq!(show(&mut database, after, FIRST), "Hero setLevel=c800 setMood=feffffff setName=0200416c");
    assert_eq!(show(&mut database, after, FIRST + 2), "Pet setHunger=0102 setName=010050");
    assert_eq!(objects_of(&storage), before);
    // A value that has grown is compared and written as it is read.
    let level = contract(after).class_by_name("Hero").unwrap().field_by_name("setLevel").unwrap().id();
    let condition = super::super::operation::Condition {
        field: level,
        expected: Bytes::from_static(&[200, 0]),
        value: Bytes::from_static(&[0xff, 0xff]),
    };
    let set = Operation::SetIfEquals { doid: FIRST, conditions: vec![condition] };
    assert!(matches!(perform(&mut database, set), Outcome::Applied { .. }));
    assert!(show(&mut database, after, FIRST).contains("setLevel=ffff"));
    // And once more, wider: values of three sizes side by side.
    let wider = after.replace("setLevel(int16)", "setLevel(int64)");
    let mut database = open(&storage, &wider).unwrap();
    assert!(show(&mut database, &wider, FIRST).contains("setLevel=ffffffffffffffff"));
    assert!(show(&mut database, &wider, FIRST + 1).contains("setLevel=0700000000000000"));
}

#[test]
fn a_rename_by_hint_touches_no_data_and_without_it_is_refused() {
    let storage = stored();
    let before = objects_of(&storage);
    let after = BEFORE.replace("setName", "setNick").replace("dclass Pet", "dclass Animal");
    let refused = open(&storage, &after).err().unwrap().to_string();
    for line in ["Hero.setName is gone: 1 value stored", "dclass Pet is gone: 1 object stored"] {
        assert!(refused.contains(line), "{refused}");
    }
    let pair = |from: &str, to: &str| vec![(from.to_owned(), to.to_owned())];
    let renames = Renames { classes: pair("Pet", "Animal"), fields: pair("setName", "setNick") };
    // The hint may stay where it is.
    for _ in 0..2 {
        let mut database = open_with(&storage, &after, renames.clone()).unwrap();
        assert_eq!(show(&mut database, &after, FIRST), "Hero setLevel=c8 setMood=fe setNick=0200416c");
        assert_eq!(show(&mut database, &after, FIRST + 2), "Animal setHunger=0102 setNick=010050");
    }
    open(&storage, &after).expect("and it may go");
    assert_eq!(objects_of(&storage), before);
}

#[test]
fn what_drops_or_retypes_stored_fields_is_refused_and_changes_nothing() {
    let storage = stored();
    let before = storage.dump();
    let cases = [
        (BEFORE.replace("setMood(int8) db;", ""), "Hero.setMood is gone: 1 value stored"),
        (BEFORE.replace("setMood(int8) db", "setMood(int8) ram"), "Hero.setMood is not `db` any more: 1 value stored"),
        (BEFORE.replace("setLevel(uint8)", "setLevel(string)"), "Hero.setLevel was (uint8) and is (string): 2 values"),
        (BEFORE.replace("setLevel(uint8)", "setLevel(uint8(0-9))"), "Hero.setLevel was"),
    ];
    for (after, expected) in cases {
        let error = open(&storage, &after).err().unwrap();
        assert!(matches!(error, OpenError::ContractChanged(_)) && error.to_string().contains(expected), "{error}");
        assert_eq!(storage.dump(), before);
    }
    open(&storage, BEFORE).expect("the old contract still does");
}

#[test]
fn what_was_never_stored_may_be_dropped() {
    let storage = MemoryStorage::default();
    let mut database = open(&storage, BEFORE).unwrap();
    create(&mut database, BEFORE, "Hero", &[("setName", b"\0\0")]);
    drop(database);
    let after = "dclass Hero { setName(string(0-20)) db; };";
    let mut database = open(&storage, after).expect("no value of the others is stored");
    assert_eq!(show(&mut database, after, FIRST), "Hero setName=0000");
}

/// Notes what is exported, and fails after so many.
struct Exported(Vec<String>, usize);

impl Export for Exported {
    fn removed(&mut self, doid: Doid, class: &str, fields: &[(&Field, Bytes)]) -> io::Result<()> {
        if self.0.len() == self.1 {
            return Err(io::Error::other("the export is full"));
        }
        let fields: Vec<String> = fields.iter().map(|(field, value)| format!("{}={value:?}", field.name())).collect();
        self.0.push(format!("{doid} {class} {}", fields.join(" ")));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn migrated(
    storage: &MemoryStorage,
    text: &str,
    dry_run: bool,
    most: usize,
) -> (Result<MigrationReport, OpenError>, Vec<String>) {
    let mut exported = Exported(Vec::new(), most);
    let pool = FIRST..=1999;
    let report = migrate(
        &mut storage.clone(),
        &contract(text),
        &contract_text(text),
        &pool,
        dry_run,
        &mut exported,
        &mut |_| {},
    );
    (report, exported.0)
}

#[test]
fn a_migration_converts_and_exports_what_it_removes_and_can_be_rehearsed() {
    let storage = stored();
    let before = storage.dump();
    let after = "dclass Hero { setName(string(0-20)) db; setLevel(uint8(0-100)) db; setRank(uint8) required db; };";
    let (report, exported) = migrated(&storage, after, true, 0);
    let rehearsed = report.unwrap();
    assert!(exported.is_empty());
    assert_eq!(storage.dump(), before, "a rehearsal writes nothing");
    let (report, exported) = migrated(&storage, after, false, 9);
    assert_eq!(report.unwrap(), rehearsed);
    assert_eq!(
        (
            rehearsed.objects_removed,
            rehearsed.values_removed,
            rehearsed.values_converted,
            rehearsed.values_unconvertible
        ),
        (1, 2, 1, 1)
    );
    assert_eq!(rehearsed.changes.len(), 3, "{rehearsed:?}");
    assert_eq!(
        exported,
        [r#"1000 Hero setLevel=b"\xc8" setMood=b"\xfe""#, r#"1002 Pet setName=b"\x01\0P" setHunger=b"\x01\x02""#]
    );
    let mut database = open(&storage, after).unwrap();
    assert_eq!(show(&mut database, after, FIRST), "Hero setName=0200416c");
    assert_eq!(show(&mut database, after, FIRST + 1), "Hero setLevel=07 setRank=03");
    assert_eq!(show(&mut database, after, FIRST + 2), "missing");
    assert_eq!(database.pool_state().1, 1, "the id of the object that was removed is free");
    assert_eq!(database.verify(donet_dc::TextPolicy::Utf8, &mut |_| {}), [""; 0]);
    let (report, exported) = migrated(&storage, after, false, 0);
    assert_eq!((report.unwrap(), exported.len()), (MigrationReport::default(), 0), "there is nothing left to do");
}

#[test]
fn values_that_had_grown_are_converted_from_their_own_size() {
    let storage = stored();
    let wide = BEFORE.replace("setMood(int8)", "setMood(int32)");
    open(&storage, &wide).unwrap();
    let other = BEFORE.replace("setMood(int8)", "setMood(float64)");
    let (report, _) = migrated(&storage, &other, false, 0);
    assert_eq!(report.unwrap().values_converted, 1);
    let mut database = open(&storage, &other).unwrap();
    let expected: String = (-2.0_f64).to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(show(&mut database, &other, FIRST).contains(&format!("setMood={expected}")));
}

#[test]
fn an_export_that_fails_stops_the_migration_before_anything_is_removed() {
    let storage = stored();
    let before = objects_of(&storage);
    let after = BEFORE.replace("setMood(int8) db;", "");
    let (report, _) = migrated(&storage, &after, false, 0);
    assert!(report.unwrap_err().to_string().contains("the export is full"));
    assert_eq!(objects_of(&storage), before);
    open(&storage, BEFORE).expect("nothing was begun");
}

/// Fills the disk at its second batch, before that is written.
struct FillsTheDisk(MemoryStorage, usize);

impl Export for FillsTheDisk {
    fn removed(&mut self, _: Doid, _: &str, _: &[(&Field, Bytes)]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1 += 1;
        self.0.state().disk_full = self.1 == 2;
        Ok(())
    }
}

#[test]
fn a_migration_that_was_cut_short_is_finished_by_the_next() {
    const OBJECTS: u32 = 900;
    let storage = MemoryStorage::default();
    let mut database = open(&storage, BEFORE).unwrap();
    for number in 0..OBJECTS {
        let level = [number as u8];
        let fields: [(&str, &[u8]); 4] =
            [("setName", b"\0\0"), ("setLevel", &level), ("setMood", &[1]), ("setRank", &[2])];
        assert_eq!(create(&mut database, BEFORE, "Hero", &fields), FIRST + number);
    }
    drop(database);
    let after =
        BEFORE.replace("setLevel(uint8)", "setLevel(uint8, uint8)").replace("setRank(uint8)", "setRank(float64)");
    let run = |text: &str, export: &mut dyn Export| {
        let pool = FIRST..=1999;
        migrate(&mut storage.clone(), &contract(text), &contract_text(text), &pool, false, export, &mut |_| {})
    };
    let error = run(&after, &mut FillsTheDisk(storage.clone(), 0)).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");
    storage.state().disk_full = false;
    // What is half converted is served under neither contract, and converted to no third.
    for text in [BEFORE, &after] {
        let error = open(&storage, text).err().unwrap().to_string();
        assert!(error.contains("run `donetd db migrate` again"), "{error}");
    }
    let other = after.replace("setRank(float64)", "setRank(string)");
    assert!(run(&other, &mut Exported(Vec::new(), 9)).unwrap_err().to_string().contains("other DC files"));
    let report = run(&after, &mut Exported(Vec::new(), 9999)).unwrap();
    assert!(u64::from(OBJECTS) > report.values_converted && report.values_converted > 0, "{report:?}");
    let mut database = open(&storage, &after).unwrap();
    let rank: String = 2.0_f64.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for number in 0..OBJECTS {
        assert_eq!(show(&mut database, &after, FIRST + number), format!("Hero setMood=01 setName=0000 setRank={rank}"));
    }
}

#[test]
fn a_migration_turns_numbers_into_text_and_text_into_numbers() {
    let storage = MemoryStorage::default();
    let before = "dclass C { a(int16) db; b(uint64) db; c(float64) db; d(int16/10) db; e(string) db; f(string) db; };";
    let mut database = open(&storage, before).unwrap();
    create(
        &mut database,
        before,
        "C",
        &[
            ("a", &(-5_i16).to_le_bytes()),
            ("b", &u64::MAX.to_le_bytes()),
            ("c", &0.5_f64.to_le_bytes()),
            ("d", &15_i16.to_le_bytes()),
            ("e", b"\x03\x00-12"),
            ("f", b"\x03\x00256"),
        ],
    );
    drop(database);
    let after = "dclass C { a(string) db; b(string) db; c(string) db; d(string) db; e(int8) db; f(uint8) db; };";
    let (report, exported) = migrated(&storage, after, false, 9);
    let report = report.unwrap();
    assert_eq!((report.values_converted, report.values_unconvertible), (5, 1));
    assert!(exported.len() == 1 && exported[0].contains("f="), "256 is no uint8: {exported:?}");
    let mut database = open(&storage, after).unwrap();
    let text = |text: &str| {
        let counted = [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
        counted.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let shown = show(&mut database, after, FIRST);
    let texts = [text("-5"), text("18446744073709551615"), text("0.5"), text("1.5")];
    let expected = format!("C a={} b={} c={} d={} e=f4", texts[0], texts[1], texts[2], texts[3]);
    assert_eq!(shown, expected);
}
