//! Links of a load: opened in a known order, subscribed, and known to be in effect.

use super::PATIENCE;
use crate::failure::Failure;
use crate::net::{Input, Key, Network};
use crate::target::Target;
use donet::wire::{Channel, Encoder, MessageType, message_type as t};
use std::time::{Duration, Instant};

/// The type of every message of a load: one that no server of the protocol knows, so that none acts on it.
pub(super) const LOAD: MessageType = MessageType(60_000);
/// Where a load's channels begin: locations of a parent that does not exist.
pub(super) const FIRST_CHANNEL: Channel = 900_000_000 << 32;

/// The frame of a message to one channel.
pub(super) fn frame(recipient: Channel, sender: Channel, payload: &[u8]) -> Vec<u8> {
    let encoder = Encoder::internal(&[recipient], sender, LOAD).bytes(payload);
    encoder.finish().expect("the payload was checked to fit").to_vec()
}

/// Length of the frame's part before the payload, with one recipient.
pub(super) const BEFORE_PAYLOAD: usize = 2 + 1 + 8 + 8 + 2;

/// The frame that subscribes a link to one channel.
pub(super) fn subscription(channel: Channel) -> Vec<u8> {
    let encoder = Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel);
    encoder.finish().expect("a control message is short").to_vec()
}

/// The frame that subscribes a link to a range of channels, inclusive.
pub(super) fn range_subscription(first: Channel, last: Channel) -> Vec<u8> {
    let encoder = Encoder::control(t::CONTROL_ADD_RANGE).channel(first).channel(last);
    encoder.finish().expect("a control message is short").to_vec()
}

/// Opens so many connections, one accepted after the other, and waits until all are there.
pub(super) fn open(network: &mut Network, target: &Target, count: usize) -> Result<Vec<Key>, Failure> {
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        let key = network.connect(target.address)?;
        let mut connected = false;
        turns_until(network, "a connection", |network, timeout| {
            network.turn(Some(timeout), &mut |_, of, input| {
                connected |= of == key && input == Input::Connected;
            })?;
            if connected || network.is_open(key) {
                Ok(connected)
            } else {
                Err(Failure::new(format!("{} refuses connections", target.address)))
            }
        })?;
        keys.push(key);
    }
    Ok(keys)
}

/// Calls `turn` until it says that it is done.
pub(super) fn turns_until(
    network: &mut Network,
    what: &str,
    mut turn: impl FnMut(&mut Network, Duration) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !turn(network, Duration::from_millis(100))? {
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("waited in vain for {what} for {PATIENCE:?}")));
        }
    }
    Ok(())
}

/// Waits until the server has handled all that these links have asked for so far: each tells `witness`, a link that
/// subscribes to a channel for it.
pub(super) fn settle(network: &mut Network, witness: Key, links: &[Key], channel: Channel) -> Result<(), Failure> {
    network.send(witness, &subscription(channel));
    // What the witness sends to itself does not come back: its subscription is known to be in effect when another's
    // message arrives, so the others repeat theirs until it does.
    let mut awaited = links.to_vec();
    turns_until(network, "the subscriptions to take effect", |network, _| {
        for (index, &link) in links.iter().enumerate() {
            if awaited.contains(&link) {
                network.send(link, &frame(channel, 0, &(index as u64).to_le_bytes()));
            }
        }
        network.turn(Some(Duration::from_millis(20)), &mut |_, key, input| {
            if let (true, Input::Frame(body)) = (key == witness, input)
                && let Some(index) = payload(body).and_then(|payload| payload.first_chunk())
                && let Some(&link) = links.get(u64::from_le_bytes(*index) as usize)
            {
                awaited.retain(|&other| other != link);
            }
        })?;
        if !network.is_open(witness) {
            return Err(Failure::new("the server has ended a link"));
        }
        Ok(awaited.is_empty())
    })?;
    // Repeated ones may still come.
    network.close(witness);
    Ok(())
}

/// The payload of a body with one recipient.
pub(super) fn payload(body: &[u8]) -> Option<&[u8]> {
    body.get(BEFORE_PAYLOAD - 2..)
}
