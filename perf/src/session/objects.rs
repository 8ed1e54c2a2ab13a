//! Step 1: the AI creates a district and its objects, each followed in the same burst by updates.

use super::cast::{AI, DISTRICT, FIRST_OBJECT, OBJECTS, ZONES, update};
use super::world::World;
use crate::contract::{Audience, FieldId, Model};
use crate::daemon::numbers::STATE_SERVER;
use crate::failure::{Failure, ensure, exactly, exactly_in_any_order};
use crate::message::{Message, Payload};
use donet::wire::{Channel, Doid, MessageType, location_channel, message_type as t};
use std::collections::BTreeMap;

/// Subscribes the observer to every zone, and creates the district, which the AI controls from now on.
///
/// # Errors
/// When the district does not answer as it should.
pub fn open_district(world: &mut World) -> Result<(), Failure> {
    for zone in ZONES {
        world.observer.subscribe(location_channel(DISTRICT, zone));
    }
    world.confirm_subscriptions()?;
    let mut district = world.cast.names.model("District", DISTRICT, 0, 0)?;
    district.set(world.cast.district_name, &world.cast.text(world.cast.district_name, "Harbour")?)?;
    create(world, &district);
    world.ai.publish(&[DISTRICT.into()], t::STATESERVER_OBJECT_SET_AI, &Payload::new().u64(AI));
    let entered = entry_for_ai(&district);
    world.models.insert(DISTRICT, district);
    let seen = world.ai_awaits("the district's entry", 1, |message| message.doid() == Some(DISTRICT))?;
    exactly("the AI", "the district's entry", &seen, &[entered])
}

/// Asks the State Server to create an object as the model has it.
fn create(world: &World, model: &Model) {
    let payload = Payload::new().u32(model.doid).u32(model.parent).u32(model.zone).u16(model.class);
    let payload = payload.bytes(&model.required(Audience::All));
    world.ai.publish(&[STATE_SERVER], t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, &payload);
}

fn with_or_without_other(model: &Model, without: MessageType, with: MessageType) -> MessageType {
    if model.has_other() { with } else { without }
}

/// What an object tells its location when it enters it.
pub fn entry_for_location(model: &Model) -> Message {
    let message_type = with_or_without_other(
        model,
        t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED,
        t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER,
    );
    let location = location_channel(model.parent, model.zone);
    Message::internal(&[location], model.doid.into(), message_type, &model.entry(Audience::Viewers))
}

/// What an object tells the session's AI when that becomes responsible for it.
pub fn entry_for_ai(model: &Model) -> Message {
    entry_for(AI, model)
}

/// What an object tells an AI that becomes responsible for it.
pub fn entry_for(ai: Channel, model: &Model) -> Message {
    let message_type = with_or_without_other(
        model,
        t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED,
        t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER,
    );
    Message::internal(&[ai], model.doid.into(), message_type, &model.entry(Audience::All))
}

/// What a client is told of an object that comes into its view.
pub fn entry_for_client(model: &Model) -> Message {
    let message_type =
        with_or_without_other(model, t::CLIENT_ENTER_OBJECT_REQUIRED, t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER);
    Message::client(message_type, &model.entry(Audience::Viewers))
}

/// What a client is told of an object that it comes to own.
pub fn entry_for_owner(model: &Model) -> Message {
    let message_type = with_or_without_other(
        model,
        t::CLIENT_ENTER_OBJECT_REQUIRED_OWNER,
        t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER_OWNER,
    );
    Message::client(message_type, &model.entry(Audience::Owner))
}

/// The updates that follow the creation of the object with this index.
fn updates(world: &World, index: u32) -> Result<Vec<(FieldId, Vec<u8>)>, Failure> {
    let cast = &world.cast;
    let number = i16::try_from(index).expect("few objects");
    Ok(vec![
        (cast.set_x, cast.number(cast.set_x, number)?),
        (cast.say, cast.text(cast.say, &format!("I am number {index}"))?),
        // Kept, and nobody hears of it.
        (cast.admin_only, cast.value(cast.admin_only, Payload::new().u8(2))?),
        (cast.set_xyh, cast.place(number, -number, 900)?),
        (cast.set_health, cast.health(1000 - index as u16)?),
    ])
}

/// The step.
///
/// # Errors
/// At the first claim that does not hold.
pub fn play(world: &mut World) -> Result<(), Failure> {
    open_district(world)?;
    let zones = ZONES.end() - ZONES.start() + 1;
    let mut at_location: Vec<Message> = Vec::new();
    // What the AI may be told of each object: it enters at some point of the burst, and which one is open.
    let mut at_ai: BTreeMap<Doid, Vec<Message>> = BTreeMap::new();
    for index in 0..OBJECTS {
        let (doid, zone) = (FIRST_OBJECT + index, ZONES.start() + index % zones);
        let mut model = world.cast.names.model("Avatar", doid, DISTRICT, zone)?;
        model.set(world.cast.name, &world.cast.text(world.cast.name, &format!("object {index}"))?)?;
        create(world, &model);
        at_location.push(entry_for_location(&model));
        let entries = at_ai.entry(doid).or_default();
        entries.push(entry_for_ai(&model));
        for (field, value) in updates(world, index)? {
            let payload = update(doid, field, &value);
            world.ai.publish(&[doid.into()], t::STATESERVER_OBJECT_SET_FIELD, &payload);
            model.set(field, &value)?;
            entries.push(entry_for_ai(&model));
            if world.cast.names.receivers(field).location {
                let location = [location_channel(DISTRICT, zone)];
                at_location.push(Message::internal(&location, AI, t::STATESERVER_OBJECT_SET_FIELD, &payload));
            }
        }
        world.models.insert(doid, model);
    }
    world.expected.observer.extend(at_location);

    // Behind the burst, in the same one: what has become of each object?
    let mut answers = Vec::new();
    for doid in FIRST_OBJECT..FIRST_OBJECT + OBJECTS {
        let context = world.token();
        let request = Payload::new().u32(context).u32(doid);
        world.ai.publish(&[doid.into()], t::STATESERVER_OBJECT_GET_ALL, &request);
        let everything = world.models[&doid].everything(context);
        answers.push(Message::internal(&[AI], doid.into(), t::STATESERVER_OBJECT_GET_ALL_RESP, &everything));
    }
    let what = "answers and entries of all objects";
    let seen = world.ai_awaits(what, 2 * OBJECTS as usize, |message| {
        message.is(t::STATESERVER_OBJECT_GET_ALL_RESP) || is_entry_for_ai(message)
    })?;
    let (entries, seen): (Vec<Message>, Vec<Message>) = seen.into_iter().partition(is_entry_for_ai);
    exactly_in_any_order("the AI", "what every object holds", &seen, &answers)?;
    for entry in entries {
        let doid = entry.doid().unwrap_or_default();
        // Removed when it is seen: a second entry of the same object is none of those awaited.
        let awaited = at_ai.remove(&doid).unwrap_or_default();
        ensure(awaited.contains(&entry), || format!("the AI was not to be told this of object {doid}: {entry}"))?;
    }

    let context = world.token();
    let request = Payload::new().u32(context);
    world.ai.publish(&[DISTRICT.into()], t::STATESERVER_GET_ACTIVE_ZONES, &request);
    let list = ZONES.fold(request.u16(u16::try_from(zones).expect("few zones")), |list, zone| list.u32(zone));
    let answer = Message::internal(&[AI], DISTRICT.into(), t::STATESERVER_GET_ACTIVE_ZONES_RESP, &list);
    world.ai_asks("the zones that are in use", &answer)?;
    world.settle_and_compare("creations and updates in the order sent")
}

fn is_entry_for_ai(message: &Message) -> bool {
    message.is(t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED)
        || message.is(t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER)
}
