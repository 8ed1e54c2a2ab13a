//! The SQL sink over real daemons, SQLite files and PostgreSQL servers: what the tables hold is what is stored, whoever is
//! killed when.

#[path = "support/admin.rs"]
mod admin;
#[path = "support/database.rs"]
#[allow(dead_code)]
mod database;
#[path = "support/power.rs"]
mod power;
#[path = "support/sql.rs"]
mod sql;
mod support;

use database::{DATABASE, FIRST, Link, Setup, text};
use donet::wire::{Doid, message_type as t};
use donet_perf::daemon::Daemon;
use donet_perf::usage::Usage;
use donet_perf::{Failure, wait};
use serde_json::{Value, json};
use sql::{Server, Target};
use std::collections::BTreeMap;

/// Every kind of column; names that differ only in case, that SQL has words for, and that are too long for PostgreSQL.
const CONTRACT: &str = "
struct Item { uint16 id; string note; };
dclass Avatar {
  name(string) db;
  small(int8) db;
  medium(uint16) db;
  large(uint32) db;
  gold(uint64) db;
  place(int16/10) db;
  real(float64) db;
  look(blob) db;
  items(Item items[]) db;
  both(int8, string) db;
  met() db;
  uint8 plain db;
  setx(int32) db;
  setX(int32 = 7) db;
};
dclass Select : Avatar {
  doid(uint32) db;
  order(string) db;
  a_name_that_is_very_much_longer_than_what_postgresql_keeps_of_a_name_1(uint8) db;
  a_name_that_is_very_much_longer_than_what_postgresql_keeps_of_a_name_2(uint8) db;
};
dclass Nothing { told(uint8) broadcast; };
";
/// The struct has the number 0, its members are fields 0 and 1.
const AVATAR: u16 = 1;
const SELECT: u16 = 2;
const CLASSES: u64 = 3;
const NAME: u16 = 2;

/// Numbers that only look random (SplitMix64); the seed of a failing run is in its output.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("DONET_TEST_SEED").map_or_else(
            |_| std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos().into(),
            |seed| seed.parse().expect("a seed"),
        );
        eprintln!("DONET_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A text, now and then one that SQL has trouble with, or that is none.
    fn text(&mut self) -> Vec<u8> {
        match self.below(9) {
            4 => text(b"\xff\xfe"),
            5 => text(b"cut n\xc3"),
            6 => text((0..self.below(20)).map(|_| self.next() as u8).collect::<Vec<u8>>()),
            0 => text("a\0b"),
            1 => text("\\x00"),
            2 => text("'; DROP TABLE \"Avatar\"; --"),
            3 => text(""),
            _ => text(format!("né {}", self.next())),
        }
    }

    /// A packed value of a field.
    fn value(&mut self, field: u16) -> Vec<u8> {
        let number = self.next().to_le_bytes();
        match field - NAME {
            0 | 15 => self.text(),
            1 | 11 => number[..1].to_vec(),
            2 => number[..2].to_vec(),
            3 | 12 | 13 | 14 => number[..4].to_vec(),
            4 => number.to_vec(),
            5 => number[..2].to_vec(),
            6 => (self.next() as f64 / 3.0 * 1e-9).to_le_bytes().to_vec(),
            7 => text(&number[..self.below(8) as usize]),
            8 => {
                let items: Vec<u8> = (0..self.below(3)).flat_map(|_| [vec![1, 2], self.text()].concat()).collect();
                text(items)
            }
            9 => [number[..1].to_vec(), self.text()].concat(),
            10 => Vec::new(),
            _ => number[..1].to_vec(),
        }
    }

    fn field(&mut self, class: u16) -> u16 {
        NAME + self.below(if class == AVATAR { 14 } else { 18 }) as u16
    }
}

fn setup(target: &Target) -> Setup {
    let mut setup = Setup::new(2);
    setup.contract = CONTRACT.to_owned();
    // Strings may be anything: what no column of text can hold is among them.
    setup.global = "text = \"bytes\"".to_owned();
    setup.after =
        format!("[services.database_server.sql_sink]\nurl = \"{}\"\n[admin]\nbind = \"127.0.0.1:0\"", target.url());
    setup
}

/// The figures of the sink, as the admin endpoint tells them.
fn figures(daemon: &Daemon) -> Result<BTreeMap<String, u64>, Failure> {
    let text = admin::metrics(daemon)?;
    let figures = text.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("donet_")?.split_once("{shard=\"0\"} ")?;
        Some((name.trim_end_matches("_total").to_owned(), value.parse().ok()?))
    });
    Ok(figures.filter(|(name, _)| name.starts_with("sql_")).collect())
}

/// Waits until the sink has everything.
fn wait_until_mirrored(daemon: &Daemon) -> Result<BTreeMap<String, u64>, Failure> {
    wait_for(daemon, |figures| {
        figures["sql_sinks_connected"] == 1 && figures["sql_sinks_copying"] == 0 && figures["sql_sink_lag_entries"] == 0
    })
}

fn wait_for(daemon: &Daemon, is_so: impl Fn(&BTreeMap<String, u64>) -> bool) -> Result<BTreeMap<String, u64>, Failure> {
    let awaited = wait::for_some("what the sink's figures shall be", || {
        let figures = figures(daemon)?;
        Ok(is_so(&figures).then_some(figures))
    });
    awaited.map_err(|failure| failure.within(&daemon.log_end()))
}

/// What is stored, by doid, as the daemon's tool says; no daemon runs.
fn stored(setup: &Setup) -> BTreeMap<u64, Value> {
    let lines = setup.tool_says(&["export"]);
    let objects = lines.lines().map(|line| {
        let mut object: Value = serde_json::from_str(line).expect("a JSON line");
        // A data field has no list of parameters; its column looks like that of a method with one.
        if let Some(plain) = object["fields"].get_mut("plain") {
            *plain = json!([plain.take()]);
        }
        // An export writes the bytes of a float that its reader would round.
        if let Some(real) = object["fields"].get_mut("real")
            && let Some(packed) = real["packed"].as_str()
        {
            let bytes = u64::from_str_radix(packed, 16).expect("eight bytes");
            *real = json!([f64::from_bits(bytes.swap_bytes())]);
        }
        object
    });
    objects.map(|object| (object["doid"].as_u64().expect("a doid"), object)).collect()
}

/// What the tables hold is what is stored.
fn assert_mirrored(setup: &Setup, target: &Target) -> usize {
    let (stored, mirrored) = (stored(setup), target.objects());
    for (doid, object) in &stored {
        // In SQL the order of columns is that of their making.
        assert_eq!(mirrored.get(doid), Some(object), "object {doid}");
    }
    let extra: Vec<_> = mirrored.keys().filter(|doid| !stored.contains_key(doid)).collect();
    assert!(extra.is_empty(), "rows of objects that are gone: {extra:?}");
    stored.len()
}

/// Creates, sets and deletes at random, all of which has been done when it returns.
fn play(link: &mut Link, dice: &mut Dice, objects: &mut Vec<(Doid, u16)>, operations: u64) -> Result<(), Failure> {
    send(link, dice, objects, operations)?;
    link.get(FIRST, NAME).map(drop)
}

/// Creates, sets and deletes at random. Only creations wait for their answer: the last operations may be under way.
fn send(link: &mut Link, dice: &mut Dice, objects: &mut Vec<(Doid, u16)>, operations: u64) -> Result<(), Failure> {
    for _ in 0..operations {
        match dice.below(10) {
            0..3 => {
                let class = dice.below(CLASSES) as u16 + 1;
                let mut values: Vec<(u16, Vec<u8>)> = Vec::new();
                if class <= SELECT {
                    for _ in 0..dice.below(6) {
                        let field = dice.field(class);
                        values.retain(|(other, _)| *other != field);
                        values.push((field, dice.value(field)));
                    }
                }
                let doid = link.create(class, &values)?;
                assert_ne!(doid, 0);
                objects.push((doid, class));
            }
            3 if !objects.is_empty() => {
                let (doid, _) = objects.swap_remove(dice.below(objects.len() as u64) as usize);
                link.send(DATABASE, t::DBSERVER_OBJECT_DELETE, &doid.to_le_bytes())?;
            }
            4 if !objects.is_empty() => {
                let (doid, class) = objects[dice.below(objects.len() as u64) as usize];
                let payload = [&doid.to_le_bytes()[..], &dice.field(class).to_le_bytes()].concat();
                link.send(DATABASE, t::DBSERVER_OBJECT_DELETE_FIELD, &payload)?;
            }
            _ if !objects.is_empty() => {
                let (doid, class) = objects[dice.below(objects.len() as u64) as usize];
                let field = dice.field(class);
                link.set(doid, field, &dice.value(field))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Rounds of random operations, in which the daemon, the SQL server or both are killed after a random number of them;
/// after each the tables are compared with the database.
fn play_with_kills(mut target: Target, rounds: u32) -> Result<(), Failure> {
    let setup = setup(&target);
    let mut dice = Dice::new();
    let mut objects = Vec::new();
    for round in 0..rounds {
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        for _ in 0..dice.below(4) {
            let operations = 1 + dice.below(150);
            play(&mut link, &mut dice, &mut objects, operations)?;
            if dice.below(2) == 0 {
                target.kill();
                let operations = 1 + dice.below(100);
                play(&mut link, &mut dice, &mut objects, operations)?;
                target.restart();
            }
        }
        if dice.below(3) > 0 {
            let operations = dice.below(400);
            send(&mut link, &mut dice, &mut objects, operations)?;
            daemon.kill()?;
            if dice.below(3) == 0 {
                target.kill();
                target.restart();
            }
        } else {
            daemon.stop()?;
        }
        let daemon = setup.start();
        let figures = wait_until_mirrored(&daemon)?;
        assert!(figures["sql_sink_copies"] == 0 || round == 0, "it goes on and does not copy anew: {figures:?}");
        daemon.stop()?;
        let count = assert_mirrored(&setup, &target);
        eprintln!("round {round}: {count} objects");
    }
    Ok(())
}

fn sqlite() -> (tempfile::TempDir, Target) {
    let folder = tempfile::Builder::new().prefix("donet-sqlite-").tempdir().expect("a folder");
    let target = Target::Sqlite(folder.path().join("mirror.sqlite"));
    (folder, target)
}

fn postgres(test: &str) -> Option<Target> {
    Server::start(test).map(Target::Postgres)
}

#[test]
fn a_sqlite_mirror_equals_the_database_through_random_kills() -> Result<(), Failure> {
    let (_folder, target) = sqlite();
    play_with_kills(target, 8)
}

#[test]
fn a_postgresql_mirror_equals_the_database_through_random_kills_of_both() -> Result<(), Failure> {
    let test = "a_postgresql_mirror_equals_the_database_through_random_kills_of_both";
    let Some(target) = postgres(test) else { return Ok(()) };
    play_with_kills(target, 8)
}

/// Both kinds of target; PostgreSQL only where it is installed.
fn targets(test: &str) -> Vec<(Option<tempfile::TempDir>, Target)> {
    let (folder, target) = sqlite();
    let mut targets = vec![(Some(folder), target)];
    targets.extend(postgres(test).map(|target| (None, target)));
    targets
}

/// Objects that were there before the sink, and changes while they are copied; the daemon is killed in the middle.
#[test]
fn what_was_stored_before_is_copied_with_progress_and_goes_on_after_a_kill() -> Result<(), Failure> {
    const OBJECTS: u32 = 6_000;
    for (_folder, mut target) in targets("what_was_stored_before_is_copied_with_progress_and_goes_on_after_a_kill") {
        let mut setup = setup(&target);
        let sink = std::mem::replace(&mut setup.after, "[admin]\nbind = \"127.0.0.1:0\"".to_owned());
        let lines: String = (0..OBJECTS)
            .map(|number| {
                let object = json!({
                    "doid": FIRST + number, "class": "Avatar", "fields": { "name": [format!("n{number}")], "gold": [number] }
                });
                format!("{object}\n")
            })
            .collect();
        let file = setup.folder().join("objects.jsonl");
        std::fs::write(&file, lines)?;
        setup.tool_says(&["import", file.to_str().expect("UTF-8")]);
        setup.after = sink;
        let mut dice = Dice::new();
        let mut objects: Vec<(Doid, u16)> = (0..OBJECTS).map(|number| (FIRST + number, AVATAR)).collect();
        let mut kills = 0;
        loop {
            let daemon = setup.start();
            let mut link = Link::new(&daemon)?;
            play(&mut link, &mut dice, &mut objects, 30)?;
            let figures = figures(&daemon)?;
            if figures["sql_sinks_connected"] == 1 && figures["sql_sinks_copying"] == 0 || kills > 20 {
                daemon.stop()?;
                break;
            }
            kills += 1;
            daemon.kill()?;
            if kills % 2 == 0 {
                target.kill();
                target.restart();
            }
        }
        let daemon = setup.start();
        wait_until_mirrored(&daemon)?;
        daemon.stop()?;
        let log = setup.log();
        // Later lives go on where the copy was: they do not begin it anew. (A kill may come before either line.)
        assert!(log.matches("everything is copied into the SQL database").count() <= 1, "{log}");
        assert!(log.matches("everything has been copied into the SQL database").count() <= 1, "{log}");
        eprintln!("{kills} kills during the copy");
        assert!(assert_mirrored(&setup, &target) > OBJECTS as usize / 2);
    }
    Ok(())
}

/// What the columns of a table are called, and of which kind they are.
fn columns(target: &Target, class: &str) -> BTreeMap<String, String> {
    let query = format!(
        "SELECT column_name, kind FROM donet_columns WHERE class IN (SELECT class FROM donet_tables WHERE dclass = '{class}')"
    );
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    target.query(&query).iter().map(|row| (text(&row[0]), text(&row[1]))).collect()
}

#[test]
fn tables_and_columns_have_names_and_types_of_the_contract() -> Result<(), Failure> {
    for (_folder, target) in targets("tables_and_columns_have_names_and_types_of_the_contract") {
        let setup = setup(&target);
        let daemon = setup.start();
        wait_until_mirrored(&daemon)?;
        daemon.stop()?;
        let avatar = columns(&target, "Avatar");
        for (name, kind) in [
            ("name", "text"),
            ("small", "int16"),
            ("medium", "int32"),
            ("large", "int64"),
            ("gold", "uint64"),
            ("place", "real"),
            ("real", "real"),
            ("look", "bytes"),
            ("items", "json"),
            ("both", "json"),
            ("met", "json"),
            ("plain", "int16"),
            ("setx", "int32"),
        ] {
            assert_eq!(avatar.get(name).map(String::as_str), Some(kind), "{name}: {avatar:?}");
        }
        assert_eq!(avatar.len(), 14);
        assert!(avatar.keys().any(|name| name.starts_with("setX_")), "it differs from setx only in case: {avatar:?}");
        let select = columns(&target, "Select");
        assert_eq!(select.len(), 18, "inherited fields are among them");
        assert!(select.keys().all(|name| name.len() <= 63), "{select:?}");
        assert!(select.keys().any(|name| name.starts_with("doid_")), "{select:?}");
        assert!(columns(&target, "Nothing").is_empty());
        if matches!(target, Target::Postgres(_)) {
            let types = target.query(
                "SELECT CAST(column_name AS text), CAST(data_type AS text) FROM information_schema.columns WHERE table_name = 'Avatar'",
            );
            let of = |name: &str| types.iter().find(|row| row[0] == name).map(|row| row[1].clone());
            for (name, expected) in [
                ("doid", "bigint"),
                ("small", "smallint"),
                ("medium", "integer"),
                ("large", "bigint"),
                ("gold", "numeric"),
                ("real", "double precision"),
                ("look", "bytea"),
                ("items", "jsonb"),
                ("name", "text"),
            ] {
                assert_eq!(of(name), Some(json!(expected)), "{name}");
            }
        }
    }
    Ok(())
}

/// New classes and fields, names that change by hint, numbers that grow; then a field of another type and one that is gone.
#[test]
fn tables_follow_the_contract() -> Result<(), Failure> {
    for (_folder, target) in targets("tables_follow_the_contract") {
        let mut setup = setup(&target);
        setup.contract = "dclass Toon { name(string) db; gold(uint16) db; old(uint8) db; rank(uint8) db; };".to_owned();
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        for number in 0..50_u8 {
            let values = [(0, text(format!("t{number}"))), (1, vec![number, 1]), (2, vec![number]), (3, vec![number])];
            assert_eq!(link.create(0, &values)?, FIRST + u32::from(number));
        }
        wait_until_mirrored(&daemon)?;
        daemon.stop()?;
        assert_eq!(assert_mirrored(&setup, &target), 50);

        setup.contract =
            "dclass Avatar { nick(string) db; gold(uint64) db; old(uint8) db; rank(uint8) db; more(blob) db; };
            dclass Pet { age(uint8) db; };"
                .to_owned();
        setup.server = "renames = [\"dclass Toon -> Avatar\", \"field name -> nick\"]".to_owned();
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        let big = u64::MAX.to_le_bytes().to_vec();
        link.create(0, &[(0, text("new")), (1, big), (4, text("more"))])?;
        link.create(1, &[(5, vec![3])])?;
        let figures = wait_until_mirrored(&daemon)?;
        assert_eq!(figures["sql_sink_copies"], 0, "nothing had to be copied anew");
        daemon.stop()?;
        assert_eq!(assert_mirrored(&setup, &target), 52);
        assert_eq!(columns(&target, "Avatar")["gold"], "uint64");

        // What the daemon refuses until it has been converted; then everything is copied anew.
        setup.contract = setup.contract.replace("old(uint8) db;", "").replace("rank(uint8)", "rank(string)");
        setup.refused();
        setup.tool_says(&["migrate"]);
        let daemon = setup.start();
        let figures = wait_until_mirrored(&daemon)?;
        assert_eq!(figures["sql_sink_copies"], 1);
        daemon.stop()?;
        assert_eq!(columns(&target, "Avatar")["rank"], "text");
        assert!(columns(&target, "Avatar").contains_key("old"), "a column is never dropped for good");
        assert_eq!(assert_mirrored(&setup, &target), 52);
    }
    Ok(())
}

#[test]
fn a_dead_sql_server_costs_only_disk_and_beyond_the_limit_a_copy() -> Result<(), Failure> {
    let test = "a_dead_sql_server_costs_only_disk_and_beyond_the_limit_a_copy";
    let Some(mut target) = postgres(test) else { return Ok(()) };
    let mut setup = setup(&target);
    setup.after = setup.after.replace("\n[admin]", "\noutbox_max_bytes = 1048576\n[admin]");
    let mut dice = Dice::new();
    let mut objects = Vec::new();
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    play(&mut link, &mut dice, &mut objects, 50)?;
    wait_until_mirrored(&daemon)?;

    // Dead: the game goes on, what it changes waits, and nothing is lost.
    target.kill();
    let errors = wait_for(&daemon, |figures| figures["sql_sinks_connected"] == 0 && figures["sql_sink_errors"] > 0);
    drop(errors);
    play(&mut link, &mut dice, &mut objects, 200)?;
    let figures = wait_for(&daemon, |figures| figures["sql_sink_errors"] > 1 && figures["sql_sink_lag_seconds"] > 0)?;
    assert!(figures["sql_sink_lag_entries"] > 0 && figures["sql_sink_lag_bytes"] > 1000, "{figures:?}");
    assert!(setup.log().contains("the SQL sink cannot go on; changes wait on the disk"));
    target.restart();
    let figures = wait_until_mirrored(&daemon)?;
    assert_eq!((figures["sql_sink_copies"], figures["sql_sink_lag_bytes"], figures["sql_sink_lag_seconds"]), (1, 0, 0));
    assert!(setup.log().contains("the SQL database is there again"));

    // Dead for longer than the disk is to bear.
    target.kill();
    let doid = link.create(AVATAR, &[])?;
    let noise: Vec<u8> = (0..30_000).map(|_| b'a' + dice.below(26) as u8).collect();
    for number in 0..60_u8 {
        link.set(doid, NAME, &text([&noise[..], &[b'0' + number % 10]].concat()))?;
        assert!(link.get(doid, NAME)?.is_some());
    }
    let log = setup.log();
    assert!(log.contains("have reached `outbox_max_bytes` and are dropped"), "{log}");
    assert!(figures_below(&daemon, 1 << 20)?);
    target.restart();
    let figures = wait_until_mirrored(&daemon)?;
    assert_eq!(figures["sql_sink_copies"], 2, "anew");
    daemon.stop()?;
    assert_mirrored(&setup, &target);
    Ok(())
}

fn figures_below(daemon: &Daemon, bytes: u64) -> Result<bool, Failure> {
    Ok(figures(daemon)?["sql_sink_lag_bytes"] <= bytes)
}

/// What the tool changes while no daemon runs, and a backup that is put back.
#[test]
fn what_the_tool_changes_is_mirrored_and_an_older_state_is_copied_anew() -> Result<(), Failure> {
    for (_folder, target) in targets("what_the_tool_changes_is_mirrored_and_an_older_state_is_copied_anew") {
        let setup = setup(&target);
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        for _ in 0..5 {
            link.create(AVATAR, &[(NAME, text("before"))])?;
        }
        wait_until_mirrored(&daemon)?;
        daemon.stop()?;
        setup.tool_says(&["set", &FIRST.to_string(), "name=[\"by the tool\"]"]);
        let backup = setup.folder().join("backup");
        setup.tool_says(&["backup", backup.to_str().expect("UTF-8")]);
        let daemon = setup.start();
        assert_eq!(wait_until_mirrored(&daemon)?["sql_sink_copies"], 0);
        let mut link = Link::new(&daemon)?;
        for _ in 0..5 {
            link.create(AVATAR, &[(NAME, text("lost"))])?;
        }
        wait_until_mirrored(&daemon)?;
        daemon.stop()?;
        assert_eq!(assert_mirrored(&setup, &target), 10);

        std::fs::remove_dir_all(&setup.database)?;
        setup.tool_says(&["restore", backup.to_str().expect("UTF-8")]);
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        link.create(AVATAR, &[(NAME, text("another history"))])?;
        assert_eq!(wait_until_mirrored(&daemon)?["sql_sink_copies"], 1);
        daemon.stop()?;
        assert_eq!(assert_mirrored(&setup, &target), 6);
    }
    Ok(())
}

/// What no column of text can hold is told in hexadecimal, and never mistaken for a text that only looks like it.
#[test]
fn texts_that_sql_cannot_hold_are_told_in_hexadecimal() -> Result<(), Failure> {
    for (_folder, target) in targets("texts_that_sql_cannot_hold_are_told_in_hexadecimal") {
        let setup = setup(&target);
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        let cases: [(&[u8], &str); 6] = [
            (b"n\xc3\xa9", "n\u{e9}"),
            (b"", ""),
            (b"a\0b", "\\x610062"),
            (b"\xff\xfe", "\\xfffe"),
            (b"cut n\xc3", "\\x637574206ec3"),
            (b"\\xff", "\\x5c786666"),
        ];
        for (bytes, _) in cases {
            link.create(AVATAR, &[(NAME, text(bytes)), (NAME + 9, [vec![1], text(bytes)].concat())])?;
        }
        wait_until_mirrored(&daemon)?;
        daemon.stop()?;
        let names = target.query("SELECT name FROM \"Avatar\" ORDER BY doid");
        assert_eq!(names, cases.map(|(_, told)| vec![json!(told)]));
        // Within JSON it is said which of the two it is.
        let both = target.query("SELECT CAST(\"both\" AS text) FROM \"Avatar\" ORDER BY doid");
        let both: Vec<Value> =
            both.iter().map(|row| serde_json::from_str(row[0].as_str().expect("text")).expect("JSON")).collect();
        let hexadecimal = |digits: &str| json!([1, { "hex": digits }]);
        let expected = [
            json!([1, "n\u{e9}"]),
            json!([1, ""]),
            hexadecimal("610062"),
            hexadecimal("fffe"),
            hexadecimal("637574206ec3"),
            json!([1, "\\xff"]),
        ];
        assert_eq!(both, expected);
        assert_eq!(assert_mirrored(&setup, &target), cases.len());
    }
    Ok(())
}

/// Power cuts at a random operation: what was not synced is gone, of the outbox as of the objects, and the SQL database,
/// which may have seen it, comes to hold what is stored.
#[test]
fn after_power_cuts_the_tables_equal_the_database() -> Result<(), Failure> {
    for durability in ["sync", "os"] {
        for (_folder, target) in targets("after_power_cuts_the_tables_equal_the_database") {
            let mut setup = setup(&target);
            let recorder = power::Recorder::new();
            setup.environment = recorder.environment().into();
            setup.rocksdb = format!("durability = \"{durability}\"");
            let mut dice = Dice::new();
            let mut objects = Vec::new();
            let (mut lost, mut copies) = (0, 0);
            for round in 0..8 {
                let daemon = setup.start();
                let mut link = Link::new(&daemon)?;
                let operations = dice.below(300);
                send(&mut link, &mut dice, &mut objects, operations)?;
                // With `os` the SQL database is then ahead of what the disk has promised to keep.
                if dice.below(4) > 0 {
                    link.get(FIRST, NAME)?;
                    wait_until_mirrored(&daemon)?;
                }
                daemon.kill()?;
                lost += recorder.cut_power(&setup.database, |from, to| from + dice.below(to - from + 1));
                let daemon = setup.start();
                let figures = wait_until_mirrored(&daemon)?;
                if round > 0 {
                    copies += figures["sql_sink_copies"];
                }
                daemon.stop()?;
                let count = assert_mirrored(&setup, &target);
                eprintln!("{durability}, round {round}: {count} objects, {lost} bytes lost so far, {copies} copies");
            }
            assert!(lost > 0, "the cuts took nothing away: the recorder does not record");
            assert!(copies == 0 || durability == "os", "what a batch has synced, its outbox has: {copies} copies");
            setup.tool_says(&["verify"]);
        }
    }
    Ok(())
}

/// As many writes as an hour with 28 of them a second makes, without a SQL server: they wait on the disk and nowhere else.
/// How often the server is looked for in an hour is told by `an_hour_without_the_sql_server_costs_few_attempts`.
#[test]
fn an_hour_of_writes_without_the_sql_server_costs_only_disk() -> Result<(), Failure> {
    const WRITES: u32 = 100_000;
    const OBJECTS: u32 = 500;
    const VALUE_BYTES: usize = 2_000;
    for (_folder, mut target) in targets("an_hour_of_writes_without_the_sql_server_costs_only_disk") {
        let mut setup = setup(&target);
        setup.rocksdb = "durability = \"os\"".to_owned();
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        for number in 0..OBJECTS {
            assert_eq!(link.create(AVATAR, &[])?, FIRST + number);
        }
        wait_until_mirrored(&daemon)?;
        let out_of_order = target.put_out_of_order();
        let mut dice = Dice::new();
        let noise: Vec<u8> = (0..2 * VALUE_BYTES).map(|_| b'a' + dice.below(26) as u8).collect();
        // Half an hour fills caches and buffers, the other half must not make the process grow.
        let mut halves = Vec::new();
        for half in 0..2 {
            for number in half * WRITES / 2..(half + 1) * WRITES / 2 {
                let from = dice.below(VALUE_BYTES as u64) as usize;
                link.set(FIRST + number % OBJECTS, NAME, &text(&noise[from..from + VALUE_BYTES]))?;
                if number % 500 == 499 {
                    link.get(FIRST, NAME)?;
                }
            }
            let resident = Usage::of(daemon.process_id())?.resident_bytes;
            let figures = figures(&daemon)?;
            eprintln!("{resident} bytes resident, {figures:?}");
            halves.push((resident, figures["sql_sink_lag_bytes"]));
        }
        let figures = figures(&daemon)?;
        let [(resident_before, waiting_before), (resident, waiting)] = halves[..] else { unreachable!("two halves") };
        assert!(waiting > u64::from(WRITES) * VALUE_BYTES as u64, "every write waits: {figures:?}");
        let grown = resident.saturating_sub(resident_before);
        assert!(grown < (waiting - waiting_before) / 2, "{grown} bytes in memory, {waiting_before} to {waiting} wait");
        // On a fast machine the first attempt still lasts.
        let figures = wait_for(&daemon, |figures| figures["sql_sink_errors"] > 0)?;
        assert!(figures["sql_sink_errors"] < 200, "{figures:?}");
        drop(out_of_order);
        target.restart();
        // However long it takes, as long as it gets on.
        let mut left = waiting;
        while left > 0 {
            left = wait_for(&daemon, |figures| figures["sql_sink_lag_bytes"] < left)?["sql_sink_lag_bytes"];
        }
        assert_eq!(wait_until_mirrored(&daemon)?["sql_sink_copies"], 1, "only the first one");
        daemon.stop()?;
        assert_eq!(assert_mirrored(&setup, &target), OBJECTS as usize);
    }
    Ok(())
}
