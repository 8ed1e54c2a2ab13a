//! Steps 6 and 7: the AI's connection is cut; clients leave in an orderly way and otherwise; the event log knows all.

use super::cast::{AI, DISTRICT, LEGACY, LOGOUT, OBSERVER, REVOKED};
use super::events::{Ending, Expectation};
use super::login::{local_address, log_in};
use super::objects::{entry_for, entry_for_ai, entry_for_location};
use super::world::World;
use crate::client::Client;
use crate::contract::{Audience, Model};
use crate::daemon::numbers::{LOGIN_MANAGER, STATE_SERVER};
use crate::failure::{Failure, ensure, exactly, exactly_in_any_order};
use crate::internal::Internal;
use crate::message::{Message, Payload, internal_frame};
use crate::net::End;
use donet::wire::{Channel, Doid, Zone, location_channel, message_type as t};

/// A second AI process, whose connection is cut.
const CUT_AI: Channel = 3_000_002;
const ZONE: Zone = 4;
/// Its district with the objects in it, which all go with it, and an object of the other AI's, which stays.
const PIER: Doid = 20_001_000;
const DOOMED: [Doid; 2] = [20_001_001, 20_001_002];
const SURVIVOR: Doid = 20_001_003;

fn create(link: &Internal, model: &Model) {
    let payload = Payload::new().u32(model.doid).u32(model.parent).u32(model.zone).u16(model.class);
    let payload = payload.bytes(&model.required(Audience::All));
    link.publish(&[STATE_SERVER], t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, &payload);
}

/// Step 6.
///
/// # Errors
/// At the first claim that does not hold.
pub fn play_cut(world: &mut World) -> Result<(), Failure> {
    world.observer.subscribe(location_channel(PIER, ZONE));
    world.confirm_subscriptions()?;
    let cut = Internal::connect(&world.hub, "the AI that is cut off", world.endpoints.message_director, CUT_AI)?;
    let pier = world.cast.names.model("District", PIER, 0, 0)?;
    create(&cut, &pier);
    cut.publish(&[PIER.into()], t::STATESERVER_OBJECT_SET_AI, &Payload::new().u64(CUT_AI));
    let mut entries_for_cut = vec![entry_for(CUT_AI, &pier)];
    for doid in DOOMED {
        let model = world.cast.names.model("Avatar", doid, PIER, ZONE)?;
        create(&cut, &model);
        entries_for_cut.push(entry_for(CUT_AI, &model));
        world.expected.observer.push(entry_for_location(&model));
    }
    let survivor = world.cast.names.model("Avatar", SURVIVOR, DISTRICT, ZONE)?;
    create(&cut, &survivor);
    world.expected.observer.push(entry_for_location(&survivor));
    world.expected.ai.push(entry_for_ai(&survivor));
    world.models.insert(SURVIVOR, survivor);
    let (seen, others) =
        cut.gather("its objects' entries", entries_for_cut.len(), |message| entries_for_cut.contains(message))?;
    exactly_in_any_order("the second AI", "its objects' entries", &seen, &entries_for_cut)?;
    exactly("the second AI", "nothing but its objects' entries", &others, &[])?;

    let last_words = Payload::new().blob(b"the AI is gone");
    cut.post_remove(77, &[OBSERVER], REVOKED, &Payload::new().blob(b"never mind"));
    cut.post_remove(CUT_AI, &[STATE_SERVER], t::STATESERVER_DELETE_AI_OBJECTS, &Payload::new().u64(CUT_AI));
    cut.post_remove(CUT_AI, &[OBSERVER, AI], LEGACY, &last_words);
    cut.clear_post_removes(77);
    // The link's own messages are handled in order: when this one has arrived, so have the post-removes.
    let token = Payload::new().u32(world.token());
    cut.publish(&[AI], LEGACY, &token);
    let ready = Message::internal(&[AI], CUT_AI, LEGACY, &token);
    world.ai_awaits("the second AI's last message", 1, |message| *message == ready)?;
    cut.reset();

    let words = Message::internal(&[OBSERVER, AI], CUT_AI, LEGACY, &last_words);
    let seen = world.ai_awaits("the post-remove", 1, |message| message.is(LEGACY))?;
    exactly("the AI", "the post-remove", &seen, std::slice::from_ref(&words))?;
    let deleted = DOOMED.map(|doid| {
        let recipients = [CUT_AI, location_channel(PIER, ZONE)];
        Message::internal(&recipients, CUT_AI, t::STATESERVER_OBJECT_DELETE_RAM, &Payload::new().u32(doid))
    });
    let what = "the post-remove and the deletion of the AI's objects";
    let seen = world.observer_awaits(what, 1 + deleted.len(), |message| {
        message.is(LEGACY) || message.is(REVOKED) || message.is(t::STATESERVER_OBJECT_DELETE_RAM)
    })?;
    let mut expected = vec![words];
    expected.extend(deleted);
    exactly_in_any_order("the observer", what, &seen, &expected)?;
    // The other AI's object, asked now, is still there; so are all others.
    world.settle_and_compare("the end of the AI that was cut off")
}

/// The clients of step 7: one says goodbye, one just goes.
///
/// # Errors
/// At the first claim that does not hold.
pub fn play_departures(world: &mut World, version: &str, events: &mut Vec<Expectation>) -> Result<(), Failure> {
    let hash = world.cast.names.hash();
    for says_goodbye in [true, false] {
        let name = if says_goodbye { "a client that says goodbye" } else { "a client that just goes" };
        let client = Client::connect(&world.hub, name, world.endpoints.client_agent)?;
        let remote = local_address(&client)?;
        client.hello(hash, version)?;
        let channel = log_in(world, &client, name)?;
        let gone = Payload::new().u32(LOGIN_MANAGER);
        let legacy = internal_frame(&[AI], channel, LOGOUT, &gone);
        world.ai.publish(&[channel], t::CLIENTAGENT_ADD_POST_REMOVE, &Payload::new().blob(&legacy[2..]));
        // The session has the post-remove when it answers a later message.
        let context = Payload::new().u32(world.token());
        world.ai.publish(&[channel], t::CLIENTAGENT_GET_NETWORK_ADDRESS, &context);
        let agent = world.endpoints.client_agent;
        let answer = context.blob(remote.ip().to_string().as_bytes()).u16(remote.port());
        let answer = answer.blob(agent.ip().to_string().as_bytes()).u16(agent.port());
        let answer = Message::internal(&[AI], channel, t::CLIENTAGENT_GET_NETWORK_ADDRESS_RESP, &answer);
        world.ai_asks("the client's address", &answer)?;
        let ending = if says_goodbye {
            client.disconnect();
            let end = client.expect_end("the end after its goodbye")?;
            ensure(end == End::EndOfFile, || format!("{name}: its connection ended with {end:?}"))?;
            Ending::Disconnected
        } else {
            client.close();
            Ending::Lost
        };
        let logout = Message::internal(&[AI], channel, LOGOUT, &gone);
        let seen = world.ai_awaits("the session's post-remove", 1, |message| message.is(LOGOUT))?;
        exactly("the AI", "the session's post-remove", &seen, &[logout])?;
        events.push(Expectation { remote, channel: Some(channel), ending });
    }
    world.settle_and_compare("the departures")
}
