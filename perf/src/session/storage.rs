//! Step 5: what the database holds, before and after the daemon is killed.

use super::cast::{AI, update};
use super::login::{activate, create_avatar, expect_stored};
use super::objects::open_district;
use super::world::{Endpoints, World};
use crate::contract::FieldId;
use crate::failure::Failure;
use crate::message::Payload;
use donet::wire::{Doid, message_type as t};

/// Sets stored fields of live avatars and of one that is not live, and reads all of them in the database.
///
/// # Errors
/// At the first claim that does not hold.
pub fn play(world: &mut World) -> Result<(), Failure> {
    let cast = world.cast.clone();
    let stored: Vec<Doid> = world.stored.keys().copied().collect();
    let [first, second, asleep] = stored[..] else {
        return Err(Failure::new(format!("three avatars were stored, now there are {}", stored.len())));
    };
    for (doid, field, value) in [
        (first, cast.set_health, cast.health(321)?),
        (first, cast.set_gold, cast.gold(4_000_000_000)?),
        (second, cast.set_inventory, cast.inventory(&[(7, 3), (65_535, 99)])?),
        (first, cast.set_health, cast.health(322)?),
        (asleep, cast.set_gold, cast.gold(17)?),
    ] {
        let payload = update(doid, field, &value);
        world.ai.publish(&[doid.into()], t::STATESERVER_OBJECT_SET_FIELD, &payload);
        world.expect_announcement(doid, t::DBSERVER_OBJECT_SET_FIELD, &payload);
        if world.models.contains_key(&doid) {
            world.expect_update(AI, doid, field, &value)?;
        } else {
            world.stored.entry(doid).or_default().insert(field.0, value);
        }
    }
    // Two at once: single updates for those who see it, one change in the database, in ascending order there.
    let pair = [(cast.set_health, cast.health(323)?), (cast.name, cast.text(cast.name, "Édouard")?)];
    let list = |pair: &[(FieldId, Vec<u8>)]| {
        pair.iter().fold(Payload::new().u32(first).u16(2), |list, (field, value)| list.u16(field.0).bytes(value))
    };
    world.ai.publish(&[first.into()], t::STATESERVER_OBJECT_SET_FIELDS, &list(&pair));
    for (field, value) in &pair {
        world.expect_update(AI, first, *field, value)?;
    }
    let mut ascending = pair;
    ascending.sort_by_key(|(field, _)| field.0);
    world.expect_announcement(first, t::DBSERVER_OBJECT_SET_FIELDS, &list(&ascending));

    // An announcement leaves when the change is on disk: from here on it must survive anything.
    world.compare_announcements()?;
    read_back(world)?;
    world.settle_and_compare("stored fields")?;
    // Nothing was announced twice.
    world.compare_announcements()
}

/// Reads every stored avatar: exactly what should be there.
///
/// # Errors
/// When it is not.
pub fn read_back(world: &mut World) -> Result<(), Failure> {
    let stored: Vec<Doid> = world.stored.keys().copied().collect();
    stored.into_iter().try_for_each(|doid| expect_stored(world, doid))
}

/// The second life of the daemon: everything that was stored is there, can be made live, and the next avatar gets a
/// doid of its own.
///
/// # Errors
/// At the first claim that does not hold.
pub fn play_after_restart(world: &mut World, endpoints: Endpoints) -> Result<(), Failure> {
    world.reconnect(endpoints)?;
    read_back(world)?;
    open_district(world)?;
    let first = world.stored.keys().next().copied();
    let first = first.ok_or_else(|| Failure::new("nothing was stored"))?;
    activate(world, first, 1)?;
    create_avatar(world, "a latecomer", 1)?;
    world.settle_and_compare("a stored avatar in a new life")
}
