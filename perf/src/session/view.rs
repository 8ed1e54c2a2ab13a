//! Steps 3 and 4: interest, moves, a walk out of view and back; and an eject with its clean-up.

use super::cast::{AI, DISTRICT, LOGOUT, update};
use super::events::{Ending, Expectation};
use super::login::expect_activated;
use super::objects::{entry_for_client, entry_for_location};
use super::world::World;
use crate::contract::FieldId;
use crate::failure::{Failure, exactly_in_any_order};
use crate::message::{Message, Payload};
use donet::wire::{Channel, Doid, Zone, location_channel, message_type as t};

/// What the three players look at.
const VIEWS: [[Zone; 2]; 3] = [[1, 2], [1, 2], [2, 3]];
/// Rounds of updates, one by each player per round.
const ROUNDS: i16 = 60;
const INTEREST: u16 = 1;

/// Step 3. `relocates`: whether clients may move what they own to another location.
///
/// # Errors
/// At the first claim that does not hold.
pub fn play(world: &mut World, relocates: bool) -> Result<(), Failure> {
    for (index, view) in VIEWS.into_iter().enumerate() {
        open_interest(world, index, &view)?;
    }
    world.settle_and_compare("nothing after the interests are complete")?;
    move_about(world, 0)?;
    world.settle_and_compare("moves")?;
    speak_to_the_ai(world)?;
    world.settle_and_compare("updates that are not for everybody")?;

    // Out of view of player 1, who looks at zones 1 and 2, and into that of player 2, who looks at 2 and 3; once led
    // by the AI and back on its own feet, once the other way about.
    for (zone, by_ai) in [(3, true), (1, false), (3, false), (1, true)] {
        walk(world, 0, zone, by_ai || !relocates)?;
        world.settle_and_compare(&format!("a walk to zone {zone}"))?;
        move_about(world, 100)?;
        world.settle_and_compare(&format!("moves after a walk to zone {zone}"))?;
    }
    Ok(())
}

/// A player opens its interest: exactly the objects there, each once, then the done message.
fn open_interest(world: &mut World, index: usize, zones: &[Zone]) -> Result<(), Failure> {
    let context = world.token();
    let player = world.players.get_mut(&index).expect("three players have logged in");
    player.view = zones.to_vec();
    player.client.add_interest(context, INTEREST, DISTRICT, zones);
    let done = Payload::new().u32(context).u16(INTEREST);
    let done = Message::client(t::CLIENT_DONE_INTEREST_RESP, &done);
    let (seen, _) = player.client.until("the end of its interest's objects", |message| *message == done)?;
    let avatar = player.avatar;
    let expected: Vec<Message> = world
        .models
        .values()
        // Its own avatar it has as an owner; as a session object it has no other view.
        .filter(|model| model.parent == DISTRICT && zones.contains(&model.zone) && model.doid != avatar)
        .map(entry_for_client)
        .collect();
    exactly_in_any_order(world.players[&index].name(), "the objects of its zones", &seen, &expected)
}

/// A player sets a field of an object.
fn set(world: &mut World, index: usize, doid: Doid, field: FieldId, value: &[u8]) -> Result<(), Failure> {
    let player = &world.players[&index];
    let channel = player.channel;
    player.client.set_field(doid, field.0, value);
    world.expect_update(channel, doid, field, value)
}

/// Every player moves and speaks, all at the same time.
fn move_about(world: &mut World, offset: i16) -> Result<(), Failure> {
    let cast = world.cast.clone();
    let avatars: Vec<(usize, Doid)> = world.players.iter().map(|(&index, player)| (index, player.avatar)).collect();
    for round in 0..ROUNDS {
        for &(index, avatar) in &avatars {
            let at = offset + round * 10 + index as i16;
            let (field, value) = match round % 4 {
                0 => (cast.set_x, cast.number(cast.set_x, at)?),
                1 => (cast.set_y, cast.number(cast.set_y, -at)?),
                2 => (cast.set_xyh, cast.place(at, at, at)?),
                _ => (cast.say, cast.text(cast.say, &format!("round {round}, and grüße"))?),
            };
            set(world, index, avatar, field, &value)?;
        }
    }
    Ok(())
}

/// Updates for the AI alone, for the owner alone, and for nobody.
fn speak_to_the_ai(world: &mut World) -> Result<(), Failure> {
    let cast = world.cast.clone();
    let [first, second] = [0, 1].map(|index: usize| world.players[&index].avatar);
    // Any client that sees an avatar may.
    set(world, 1, first, cast.emote, &cast.value(cast.emote, Payload::new().u8(7))?)?;
    set(world, 0, second, cast.emote, &cast.value(cast.emote, Payload::new().u8(8))?)?;
    for (doid, field, value) in [
        (first, cast.set_gold, cast.gold(1_000_000)?),
        (second, cast.admin_only, cast.value(cast.admin_only, Payload::new().u8(3))?),
        (second, cast.set_gold, cast.gold(0)?),
    ] {
        let payload = update(doid, field, &value);
        world.ai.publish(&[doid.into()], t::STATESERVER_OBJECT_SET_FIELD, &payload);
        world.expect_update(AI, doid, field, &value)?;
        if world.cast.names.receivers(field).is_stored {
            world.expect_announcement(doid, t::DBSERVER_OBJECT_SET_FIELD, &payload);
        }
    }
    Ok(())
}

/// An avatar goes to another zone, led by the AI or by its owner.
fn walk(world: &mut World, index: usize, zone: Zone, by_ai: bool) -> Result<(), Failure> {
    let player = &world.players[&index];
    let (avatar, owner) = (player.avatar, player.channel);
    let model = world.models.get_mut(&avatar).expect("the avatar is live");
    let old = model.zone;
    model.zone = zone;
    let entry = entry_for_client(model);
    let entry_for_location = entry_for_location(model);
    let sender: Channel = if by_ai {
        let place = Payload::new().u32(DISTRICT).u32(zone);
        world.ai.publish(&[avatar.into()], t::STATESERVER_OBJECT_SET_LOCATION, &place);
        AI
    } else {
        player.client.set_location(avatar, DISTRICT, zone);
        owner
    };
    let change = Payload::new().u32(avatar).u32(DISTRICT).u32(zone).u32(DISTRICT).u32(old);
    let recipients = [AI, owner, DISTRICT.into(), location_channel(DISTRICT, old)];
    let change = Message::internal(&recipients, sender, t::STATESERVER_OBJECT_CHANGING_LOCATION, &change);
    world.expected.ai.push(change.clone());
    world.expected.observer.extend([change, entry_for_location]);
    let location = Payload::new().u32(avatar).u32(DISTRICT).u32(zone);
    let location = Message::client(t::CLIENT_OBJECT_LOCATION, &location);
    for (&other, player) in &world.players {
        let message = if other == index {
            // Who walks hears nothing of it; who is led is told where.
            by_ai.then(|| location.clone())
        } else {
            match (player.view.contains(&old), player.view.contains(&zone)) {
                (true, true) => Some(location.clone()),
                (true, false) => Some(Message::client(t::CLIENT_OBJECT_LEAVING, &Payload::new().u32(avatar))),
                (false, true) => Some(entry.clone()),
                (false, false) => None,
            }
        };
        world.expected.players.entry(other).or_default().extend(message);
    }
    Ok(())
}

/// Step 4: the last player sets what it may not set.
///
/// # Errors
/// At the first claim that does not hold.
pub fn play_eject(world: &mut World, events: &mut [Expectation]) -> Result<(), Failure> {
    const FORBIDDEN_FIELD: u16 = 118;
    let cast = world.cast.clone();
    let player = world.players.remove(&2).expect("three players have logged in");
    let avatar = player.avatar;
    player.client.set_field(avatar, cast.set_health.0, &cast.health(999)?);
    // In the same burst, and allowed: but its session is over.
    player.client.set_field(avatar, cast.say.0, &cast.text(cast.say, "one more thing")?);
    let reason = player.client.expect_eject(FORBIDDEN_FIELD)?;
    for event in events.iter_mut().filter(|event| event.channel == Some(player.channel)) {
        event.ending = Ending::EjectedForSecurity { code: FORBIDDEN_FIELD, reason: reason.clone() };
    }

    let model = world.models.remove(&avatar).expect("the avatar is live");
    let gone = Payload::new().u32(avatar);
    let location = location_channel(model.parent, model.zone);
    let deleted =
        Message::internal(&[AI, player.channel, location], player.channel, t::STATESERVER_OBJECT_DELETE_RAM, &gone);
    let logout = Message::internal(&[AI], player.channel, LOGOUT, &gone);
    // The AI learns of both; then all that the others are to see has been sent.
    let what = "the deletion of the avatar and the session's post-remove";
    let seen = world.ai_awaits(what, 2, |message| message.doid() == Some(avatar))?;
    exactly_in_any_order("the AI", what, &seen, &[deleted.clone(), logout])?;
    world.expected.observer.push(deleted);
    for (&index, other) in &world.players {
        if other.view.contains(&model.zone) {
            let leaving = Message::client(t::CLIENT_OBJECT_LEAVING, &gone);
            world.expected.players.entry(index).or_default().push(leaving);
        }
    }
    expect_activated(world, avatar, false)?;
    world.settle_and_compare("the clean-up of the ejected session")
}
