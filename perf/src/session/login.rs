//! Step 2: hello, the login through the anonymous UberDOG, an avatar out of the database for everybody.

use super::cast::{ACCOUNTS, AI, DISTRICT, LOGOUT, MARKER, update};
use super::events::{Ending, Expectation};
use super::objects::{entry_for_ai, entry_for_location, entry_for_owner};
use super::world::{Player, World};
use crate::client::Client;
use crate::daemon::numbers::{CLIENT_CHANNELS, DATABASE, LOGIN_MANAGER, STORED_DOIDS};
use crate::failure::{Failure, ensure};
use crate::message::{Message, Payload, client_frame, internal_frame};
use donet::wire::{Channel, Doid, Zone, database_broadcast_channel, message_type as t};
use std::net::SocketAddr;

/// Where the avatars of the three players appear.
const HOMES: [Zone; 3] = [1, 1, 2];
const ESTABLISHED: u16 = 2;

/// The step.
///
/// # Errors
/// At the first claim that does not hold.
pub fn play(world: &mut World, version: &str, events: &mut Vec<Expectation>) -> Result<(), Failure> {
    let hash = world.cast.names.hash();
    let wrong_version = format!("{version}, but not quite");
    for (name, code, hash, version, told) in [
        ("a client of another version", 124, hash, wrong_version.as_str(), version.to_owned()),
        ("a client with another contract", 125, !hash, version, format!("{hash:08x}")),
        ("a client of another version with another contract", 124, !hash, &wrong_version, version.to_owned()),
    ] {
        let client = Client::connect(&world.hub, name, world.endpoints.client_agent)?;
        let remote = local_address(&client)?;
        client.say_hello(hash, version);
        let reason = client.expect_eject(code)?;
        ensure(reason.to_lowercase().contains(&told), || {
            format!("{name} is not told what the server has ({told}): {reason}")
        })?;
        events.push(Expectation { remote, channel: None, ending: Ending::Ejected { code, reason } });
    }
    for (index, home) in HOMES.into_iter().enumerate() {
        let client = Client::connect(&world.hub, &format!("player {index}"), world.endpoints.client_agent)?;
        let remote = local_address(&client)?;
        client.hello(hash, version)?;
        let channel = log_in(world, &client, &format!("account {index}"))?;
        events.push(Expectation { remote, channel: Some(channel), ending: Ending::Killed });
        let avatar = create_avatar(world, &format!("player {index}"), 100 + index as u32)?;
        admit(world, index, client, channel, avatar, home)?;
    }
    world.settle_and_compare("the logins")
}

/// This end's address.
///
/// # Errors
/// When the connection is gone.
pub fn local_address(client: &Client) -> Result<SocketAddr, Failure> {
    client.local_address().ok_or_else(|| Failure::new(format!("{} has lost its connection", client.name())))
}

/// A login request of a client that has said hello, as the UberDOG gets it. Returns the client's channel.
///
/// # Errors
/// When the request does not arrive as it was sent.
pub fn log_in(world: &mut World, client: &Client, account: &str) -> Result<Channel, Failure> {
    let request = world.cast.login_request(account, "secret")?;
    client.set_field(LOGIN_MANAGER, world.cast.login.0, &request);
    let payload = update(LOGIN_MANAGER, world.cast.login, &request);
    let seen = world.ai_awaits("the login request", 1, |message| message.payload() == payload.as_bytes())?;
    let channel = seen[0].sender();
    let expected = Message::internal(&[LOGIN_MANAGER.into()], channel, t::STATESERVER_OBJECT_SET_FIELD, &payload);
    ensure(seen[0] == expected, || format!("the login request came as {}, not as {expected}", seen[0]))?;
    ensure(CLIENT_CHANNELS.contains(&channel), || format!("{channel} is no channel of the range {CLIENT_CHANNELS:?}"))?;
    let is_taken = world.players.values().any(|player| player.channel == channel);
    ensure(!is_taken, || format!("two clients share the channel {channel}"))?;
    Ok(channel)
}

/// The persistent part of an avatar. Returns the doid that the database has given it.
///
/// # Errors
/// When the database refuses, or stores something else.
pub fn create_avatar(world: &mut World, name: &str, gold: u32) -> Result<Doid, Failure> {
    let context = world.token();
    let cast = world.cast.clone();
    let name = cast.text(cast.name, name)?;
    let gold = cast.gold(gold)?;
    let request = Payload::new().u32(context).u16(cast.avatar).u16(2);
    // Not in the order of their ids: the order in a request means nothing.
    let request = request.u16(cast.set_gold.0).bytes(&gold).u16(cast.name.0).bytes(&name);
    world.ai.publish(&[DATABASE], t::DBSERVER_CREATE_OBJECT, &request);
    let what = "the doid of a new avatar";
    let seen = world.ai_awaits(what, 1, |message| message.is(t::DBSERVER_CREATE_OBJECT_RESP))?;
    let mut reader = seen[0].reader();
    let (answered, doid) = (reader.u32()?, reader.doid()?);
    let answer = Payload::new().u32(context).u32(doid);
    let answer = Message::internal(&[AI], DATABASE, t::DBSERVER_CREATE_OBJECT_RESP, &answer);
    ensure(answered == context && seen[0] == answer, || format!("{what}: {}", seen[0]))?;
    ensure(STORED_DOIDS.contains(&doid), || format!("{doid} is no doid of the range {STORED_DOIDS:?}"))?;
    let mut fields = cast.names.stored_defaults("Avatar")?;
    fields.insert(cast.name.0, name);
    fields.insert(cast.set_gold.0, gold);
    let is_new = world.stored.insert(doid, fields).is_none();
    ensure(is_new, || format!("the database gave {doid} away twice"))?;
    world.observer.subscribe(database_broadcast_channel(doid));
    world.confirm_subscriptions()?;
    expect_stored(world, doid).map_err(|failure| failure.within("a new avatar in the database")).map(|()| doid)
}

/// Reads an object in the database: exactly what should be stored, no more and no less.
///
/// # Errors
/// When it is not.
pub fn expect_stored(world: &mut World, doid: Doid) -> Result<(), Failure> {
    let context = world.token();
    let fields = &world.stored[&doid];
    let count = u16::try_from(fields.len()).expect("few fields");
    let answer = Payload::new().u32(context).u8(1).u16(world.cast.avatar).u16(count);
    let answer = fields.iter().fold(answer, |answer, (&field, value)| answer.u16(field).bytes(value));
    let answer = Message::internal(&[AI], DATABASE, t::DBSERVER_OBJECT_GET_ALL_RESP, &answer);
    world.ai.publish(&[DATABASE], t::DBSERVER_OBJECT_GET_ALL, &Payload::new().u32(context).u32(doid));
    world.ai_asks("what the database holds", &answer)
}

/// Whether an object is live in the Database State Server, by its own word.
///
/// # Errors
/// When the answer is another.
pub fn expect_activated(world: &mut World, doid: Doid, is_active: bool) -> Result<(), Failure> {
    let context = world.token();
    let request = Payload::new().u32(context).u32(doid);
    world.ai.publish(&[doid.into()], t::DBSS_OBJECT_GET_ACTIVATED, &request);
    let answer = request.u8(u8::from(is_active));
    let answer = Message::internal(&[AI], doid.into(), t::DBSS_OBJECT_GET_ACTIVATED_RESP, &answer);
    world.ai_asks("whether the avatar is live", &answer)
}

/// Makes a stored avatar live. What it tells the observer and the AI joins what they are to hear.
///
/// # Errors
/// When the session's own model of it fails.
pub fn activate(world: &mut World, avatar: Doid, zone: Zone) -> Result<(), Failure> {
    let mut model = world.cast.names.model("Avatar", avatar, DISTRICT, zone)?;
    for (&field, value) in &world.stored[&avatar] {
        model.set(crate::contract::FieldId(field), value)?;
    }
    let place = Payload::new().u32(avatar).u32(DISTRICT).u32(zone);
    world.ai.publish(&[avatar.into()], t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS, &place);
    world.ai.publish(&[avatar.into()], t::STATESERVER_OBJECT_SET_AI, &Payload::new().u64(AI));
    world.expected.observer.push(entry_for_location(&model));
    world.expected.ai.push(entry_for_ai(&model));
    world.models.insert(avatar, model);
    Ok(())
}

/// The AI lets a client in, and gives it its avatar.
fn admit(
    world: &mut World,
    index: usize,
    client: Client,
    channel: Channel,
    avatar: Doid,
    home: Zone,
) -> Result<(), Failure> {
    let account = ACCOUNTS + index as Channel;
    let response = update(LOGIN_MANAGER, world.cast.login_response, &world.cast.welcome()?);
    let tell = |message_type, payload: &[u8]| world.ai.publish(&[channel], message_type, payload);
    tell(t::CLIENTAGENT_SET_STATE, &Payload::new().u16(ESTABLISHED));
    tell(t::STATESERVER_OBJECT_SET_FIELD, &response);
    tell(t::CLIENTAGENT_OPEN_CHANNEL, &Payload::new().u64(account));
    tell(t::CLIENTAGENT_DECLARE_OBJECT, &Payload::new().u32(DISTRICT).u16(world.cast.district));
    tell(t::CLIENTAGENT_ADD_SESSION_OBJECT, &Payload::new().u32(avatar));
    let legacy = internal_frame(&[AI], channel, LOGOUT, &Payload::new().u32(avatar));
    tell(t::CLIENTAGENT_ADD_POST_REMOVE, &Payload::new().blob(&legacy[2..]));
    activate(world, avatar, home)?;
    world.ai.publish(&[avatar.into()], t::STATESERVER_OBJECT_SET_OWNER, &Payload::new().u64(channel));
    expect_activated(world, avatar, true)?;

    let what = "the answer to its login, and then its avatar";
    client.expect_message(what, &Message::client(t::CLIENT_OBJECT_SET_FIELD, &response))?;
    client.expect_message(what, &entry_for_owner(&world.models[&avatar]))?;

    // The session's answer comes behind its subscription, and by the same way: wherever daemons lie between, they know of
    // the channel then. What the client has heard says nothing of them.
    let context = Payload::new().u32(world.token());
    world.ai.publish(&[channel], t::CLIENTAGENT_GET_NETWORK_ADDRESS, &context);
    world.ai_awaits("the client's address", 1, |message| message.is(t::CLIENTAGENT_GET_NETWORK_ADDRESS_RESP))?;

    // The channel that the AI opened leads to the client.
    let token = Payload::new().u32(world.token());
    let frame = client_frame(MARKER, &token);
    world.ai.publish(&[account], t::CLIENTAGENT_SEND_DATAGRAM, &Payload::new().blob(&frame[2..]));
    client.expect_message("a message on its account's channel", &Message::client(MARKER, &token))?;
    world.players.insert(index, Player { client, channel, avatar, view: Vec::new() });
    Ok(())
}
