//! Databases in a daemon as its configuration asks for them: several roles with a folder each, the options of the
//! Database State Server (AMB-1, AMB-2), durability; and what concurrent clients may rely on.

#[path = "support/database.rs"]
#[allow(dead_code)]
mod database;

use database::{DATABASE, FIRST, LEVEL, Link, NAME, SCORE, Setup, THING, X, text};
use donet::wire::{Doid, message_type as t};
use donet_perf::Failure;

const SHARDS: [usize; 3] = [1, 2, 4];

fn with_dbss(shards: usize, options: &str) -> Setup {
    let mut setup = Setup::new(shards);
    setup.after =
        format!("[services.dbss]\ndb_channel = {DATABASE}\nrange_min = {FIRST}\nrange_max = 199999999\n{options}\n");
    setup
}

/// Whether the Database State Server says that the object is live.
fn is_live(link: &mut Link, doid: Doid) -> Result<bool, Failure> {
    link.database = doid.into();
    let answer = link.ask(t::DBSS_OBJECT_GET_ACTIVATED, &doid.to_le_bytes());
    link.database = DATABASE;
    Ok(answer?[4] == 1)
}

/// What the object answers to GET_FIELD on its own channel.
fn field_of_object(link: &mut Link, doid: Doid, field: u16) -> Result<Vec<u8>, Failure> {
    link.database = doid.into();
    let payload = [&doid.to_le_bytes()[..], &field.to_le_bytes()].concat();
    let answer = link.ask(t::STATESERVER_OBJECT_GET_FIELD, &payload);
    link.database = DATABASE;
    Ok(answer?[1..].to_vec())
}

fn move_to(link: &mut Link, doid: Doid, parent: Doid, zone: u32) -> Result<(), Failure> {
    link.send(doid.into(), t::STATESERVER_OBJECT_SET_LOCATION, &[parent.to_le_bytes(), zone.to_le_bytes()].concat())
}

#[test]
fn amb_1_a_location_update_activates_only_if_the_setting_says_so() -> Result<(), Failure> {
    for shards in SHARDS {
        for (options, expected) in
            [("", true), ("activate_on_location = true", true), ("activate_on_location = false", false)]
        {
            let setup = with_dbss(shards, options);
            let daemon = setup.start();
            let mut link = Link::new(&daemon)?;
            let doid = link.create(THING, &[(NAME, text("a")), (SCORE, vec![1, 0, 0, 0])])?;
            assert!(!is_live(&mut link, doid)?);
            move_to(&mut link, doid, 0, 5)?;
            assert!(!is_live(&mut link, doid)?, "parent 0 is no location");
            move_to(&mut link, doid, 5000, 5)?;
            assert_eq!(is_live(&mut link, doid)?, expected, "{shards} executors, {options:?}");
            daemon.stop()?;
        }
    }
    Ok(())
}

#[test]
fn amb_2_a_live_object_follows_the_database_only_if_the_setting_says_so() -> Result<(), Failure> {
    for shards in SHARDS {
        for (options, expected) in [("", 1_u8), ("follow_database = false", 1), ("follow_database = true", 9)] {
            let setup = with_dbss(shards, options);
            let daemon = setup.start();
            let mut link = Link::new(&daemon)?;
            let doid = link.create(THING, &[(NAME, text("a")), (SCORE, vec![1, 0, 0, 0])])?;
            move_to(&mut link, doid, 5000, 5)?;
            assert!(is_live(&mut link, doid)?);
            // Told to the database, past the object. Its announcement is there once a later request is answered, and
            // the object's executor has it when it has handled what came over the same way.
            link.subscribe(2 << 32 | u64::from(doid))?;
            link.set(doid, SCORE, &[9, 0, 0, 0])?;
            while link.next()?.0 != t::DBSERVER_OBJECT_SET_FIELD {}
            assert_eq!(link.get(doid, SCORE)?, Some(vec![9, 0, 0, 0]));
            let shown = field_of_object(&mut link, doid, SCORE)?;
            assert_eq!(shown[2], expected, "{shards} executors, {options:?}");
            daemon.stop()?;
        }
    }
    Ok(())
}

/// An activated object's required field without stored value has the default, and that is logged once for the class.
#[test]
fn a_required_field_without_a_stored_value_gets_the_default_and_one_line_per_class() -> Result<(), Failure> {
    let setup = with_dbss(2, "");
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for _ in 0..6 {
        let doid = link.create(THING, &[(NAME, text("a"))])?;
        move_to(&mut link, doid, 5000, 5)?;
        assert!(is_live(&mut link, doid)?);
        assert_eq!(field_of_object(&mut link, doid, SCORE)?[2..], [0; 4]);
    }
    daemon.stop()?;
    let log = setup.log();
    let lines = log.lines().filter(|line| line.contains("default") && line.contains("Thing")).count();
    assert_eq!(lines, 1, "{log}");
    Ok(())
}

#[test]
fn several_database_roles_have_a_folder_and_a_pool_each() -> Result<(), Failure> {
    for shards in SHARDS {
        let mut setup = Setup::new(shards);
        setup.after = "[[services.database_server]]\ncontrol_channel = 104000\ngenerate_min = 300000000\n\
                       generate_max = 300000001\n[services.database_server.rocksdb]\ndirectory = \"second\"\n\
                       durability = \"interval\"\ndurability_interval_ms = 5\n"
            .to_owned();
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        assert_eq!(link.create(THING, &[(NAME, text("in the first"))])?, FIRST);
        link.database = 104_000;
        for expected in [300_000_000, 300_000_001, 0] {
            assert_eq!(link.create(THING, &[(NAME, text("in the second"))])?, expected);
        }
        assert_eq!(link.get(FIRST, NAME)?, None, "that is the other's");
        daemon.stop()?;
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        assert_eq!(link.get(FIRST, NAME)?, Some(text("in the first")));
        assert_eq!(link.get(300_000_000, NAME)?, None);
        link.database = 104_000;
        assert_eq!(link.get(300_000_001, NAME)?, Some(text("in the second")));
        // A freed id comes again, once the counter is spent, in the order of deletion.
        for doid in [300_000_001_u32, 300_000_000] {
            link.send(104_000, t::DBSERVER_OBJECT_DELETE, &doid.to_le_bytes())?;
            // Requests for one object keep their order; a CREATE has none with anything (§4.6).
            assert_eq!(link.get(doid, NAME)?, None);
        }
        assert_eq!(link.create(THING, &[])?, 300_000_001);
        assert_eq!(link.create(THING, &[])?, 300_000_000);
        assert_eq!(link.create(THING, &[])?, 0);
        assert_eq!(link.get(300_000_000, NAME)?, None, "nothing of its predecessor");
        daemon.stop()?;
    }
    Ok(())
}

/// Links that race for one field with conditional sets: every value is won once.
#[test]
fn conditional_sets_are_atomic_under_contention() -> Result<(), Failure> {
    const RACERS: usize = 4;
    const ROUNDS: u16 = 60;
    for shards in SHARDS {
        let setup = Setup::new(shards);
        let daemon = setup.start();
        let doid = Link::new(&daemon)?.create(THING, &[(LEVEL, vec![0, 0])])?;
        let wins: Vec<Vec<u16>> = std::thread::scope(|scope| {
            let race = |mut link: Link| {
                let mut won = Vec::new();
                let mut expected = 0_u16;
                while expected < ROUNDS {
                    let (old, new) = (expected.to_le_bytes(), (expected + 1).to_le_bytes());
                    let payload = [&doid.to_le_bytes()[..], &LEVEL.to_le_bytes(), &old, &new].concat();
                    let answer = link.ask(t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, &payload).expect("an answer");
                    if answer[0] == 1 {
                        won.push(expected);
                        expected += 1;
                    } else {
                        expected = u16::from_le_bytes(answer[3..5].try_into().expect("the current value"));
                    }
                }
                won
            };
            let racers: Vec<_> = (0..RACERS)
                .map(|_| Link::new(&daemon).expect("a link"))
                .map(|link| scope.spawn(move || race(link)))
                .collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
        });
        let mut all: Vec<u16> = wins.concat();
        all.sort_unstable();
        assert_eq!(all, (0..ROUNDS).collect::<Vec<_>>(), "{shards} executors: every step once");
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn every_durability_keeps_what_an_orderly_end_has_seen() -> Result<(), Failure> {
    for durability in ["sync", "interval", "os"] {
        let mut setup = Setup::new(2);
        setup.rocksdb = format!("durability = \"{durability}\"");
        let daemon = setup.start();
        let mut link = Link::new(&daemon)?;
        let doid = link.create(THING, &[(X, vec![1, 2, 3, 4])])?;
        daemon.stop()?;
        let daemon = setup.start();
        assert_eq!(Link::new(&daemon)?.get(doid, X)?, Some(vec![1, 2, 3, 4]), "{durability}");
        daemon.stop()?;
    }
    Ok(())
}
