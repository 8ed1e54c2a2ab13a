//! One test for each statement of `protocol-ss-dbss-db.md` §3.7, by its number, with one executor and with more; the
//! golden vectors of its appendix A, byte for byte; and the recommended resolutions. A link plays the database.

use crate::config;
use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, MessageType, Zone, children_channel, location_channel};
use std::time::Duration;

mod loads;
mod reads_and_writes;

const FIRST: Doid = 9000;
const LAST: Doid = 9999;
/// The asker.
const S: Channel = 5;

fn settings() -> config::DatabaseStateServer {
    config::DatabaseStateServer {
        db_channel: DATABASE,
        ranges: vec![FIRST..=LAST, 20_000..=20_000],
        activate_on_location: true,
        follow_database: false,
        load_timeout: Duration::from_secs(10),
        load_queue_max: 5,
    }
}

/// A daemon with a DBSS: the world, the database's link, and a link that is subscribed to 5.
fn everywhere_with_dbss(test: impl Fn(&mut World, LinkId, LinkId)) {
    for shards in [1, 2, 4] {
        let mut world = World::new(shards, vec![settings()]);
        let (database, asker) = (world.link(&[DATABASE]), world.link(&[S]));
        test(&mut world, database, asker);
    }
}

fn activate(world: &mut World, link: LinkId, doid: Doid, location: (Doid, Zone)) {
    let payload = Payload::new().u32(doid).u32(location.0).u32(location.1);
    world.send(link, &[doid.into()], S, t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS, payload);
}

fn activate_other(world: &mut World, link: LinkId, doid: Doid, class: u16, other: Payload) {
    let payload = Payload::new().u32(doid).u32(80_000).u32(101).u16(class).bytes(&other.0);
    world.send(link, &[doid.into()], S, t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS_OTHER, payload);
}

/// The context of the only request that the database got, which must be a GET_ALL of this doid.
#[track_caller]
fn get_all_context(world: &mut World, database: LinkId, doid: Doid) -> u32 {
    let requests = world.take(database);
    let [request] = &requests[..] else { panic!("one request: {requests:?}") };
    let context = u32::from_le_bytes(request.body[..4].try_into().unwrap());
    let expected = seen(&[DATABASE], doid.into(), t::DBSERVER_OBJECT_GET_ALL, Payload::new().u32(context).u32(doid));
    assert_eq!(*request, expected);
    context
}

fn reply(world: &mut World, database: LinkId, doid: Doid, message_type: MessageType, payload: Payload) {
    world.send(database, &[doid.into()], DATABASE, message_type, payload);
}

fn reply_object(world: &mut World, database: LinkId, doid: Doid, context: u32, class: u16, fields: Payload) {
    let payload = Payload::new().u32(context).u8(1).u16(class).bytes(&fields.0);
    reply(world, database, doid, t::DBSERVER_OBJECT_GET_ALL_RESP, payload);
}

fn reply_missing(world: &mut World, database: LinkId, doid: Doid, context: u32) {
    reply(world, database, doid, t::DBSERVER_OBJECT_GET_ALL_RESP, Payload::new().u32(context).u8(0));
}

/// The fields that the golden vectors store: 9=3117, 20=97.
fn stored() -> Payload {
    Payload::new().u16(2).u16(id::RDB3).u32(3117).u16(id::RDBD5).u8(97)
}

/// Makes a doid live at (80000,101), as class 4 with the fields of [`stored`].
fn made_live(world: &mut World, database: LinkId, doid: Doid) {
    activate(world, database, doid, (80_000, 101));
    let context = get_all_context(world, database, doid);
    reply_object(world, database, doid, context, id::OBJECT5, stored());
    assert!(world.is_live(doid));
    world.take(database);
}

fn ask(world: &mut World, link: LinkId, doid: Doid, message_type: MessageType, payload: Payload) {
    world.send(link, &[doid.into()], S, message_type, payload);
}

/// What GET_ACTIVATED answers; `None` while it does not.
fn is_activated(world: &mut World, doid: Doid) -> Option<bool> {
    let asker = world.link(&[77]);
    world.send(asker, &[doid.into()], 77, t::DBSS_OBJECT_GET_ACTIVATED, Payload::new().u32(8).u32(doid));
    world.take(asker).pop().map(|answer| {
        let expected = |active| {
            let body = Payload::new().u32(8).u32(doid).u8(active);
            seen(&[77], doid.into(), t::DBSS_OBJECT_GET_ACTIVATED_RESP, body)
        };
        assert!(answer == expected(0) || answer == expected(1), "{answer:?}");
        answer == expected(1)
    })
}

fn set_field(doid: Doid, field: u16, value: Payload) -> Payload {
    Payload::new().u32(doid).u16(field).bytes(&value.0)
}
