//! Many subscriptions of one link: how long they take to make and to end, and what they weigh.

use super::connections::{FIRST_CHANNEL, frame, open, range_subscription, subscription, turns_until};
use crate::failure::{Failure, ensure};
use crate::net::{Input, Key, Network};
use crate::progress::Progress;
use crate::report::{Mark, Report};
use crate::target::Target;
use clap::{Args, ValueEnum};
use donet::wire::{Channel, Encoder, message_type as t};
use std::time::{Duration, Instant};

/// What to subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Channels that follow each other.
    Ordered,
    /// Channels from all over, none twice.
    Random,
    /// Ranges of 1,000 channels that do not touch.
    Ranges,
}

/// How many, of which kind.
#[derive(Clone, Copy, Debug, Args)]
pub struct Subscribe {
    #[arg(long, value_name = "KIND", default_value = "ordered")]
    pub kind: Kind,
    /// How many subscriptions.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub count: u64,
}

/// Bytes that a turn puts into the link's buffer.
const WRITE_BYTES: usize = 48 * 1024;
/// Channels of one range, and from one range to the next.
const RANGE: Channel = 1000;
const RANGE_STEP: Channel = 2000;
/// Channels that no subscription of the load covers: the probe's.
const PROBE: Channel = 800_000_000 << 32;

impl Subscribe {
    /// Runs it.
    ///
    /// # Errors
    /// When the server ends the link, does not subscribe it, or does not end its subscriptions.
    pub fn run(&self, target: &Target) -> Result<Report, Failure> {
        ensure(!target.is_relay, || "the relay knows no subscriptions".to_owned())?;
        let mut network = Network::new()?;
        let [link, witness] = open(&mut network, target, 2)?[..] else { unreachable!("two were asked for") };
        network.send(witness, &subscription(PROBE));
        let probe = frame(PROBE, PROBE, &[]);
        // The witness' own subscription; then memory and time are the load's.
        wait_for_probe(&mut network, witness, |network| network.send(link, &probe))?;
        settle_down(&mut network)?;
        let before = Mark::take(target)?;
        self.subscribe(&mut network, link)?;
        let mut asked = false;
        wait_for_probe(&mut network, witness, |network| {
            // Once: it follows the subscriptions on their link, and so arrives when they are in effect.
            if !std::mem::replace(&mut asked, true) {
                network.send(link, &probe);
            }
        })?;
        let subscribed = Mark::take(target)?;
        self.check(&mut network, link, witness)?;
        let spent = subscribed.since(&before);
        let mut report = Report::new("md subscribe", target);
        report.set("kind", format!("{:?}", self.kind).to_lowercase());
        report.set_usage(&spent, &[("subscriptions", self.count)]);
        if let Some((now, then)) = subscribed.server_bytes().zip(before.server_bytes()) {
            report.set("bytes_per_subscription", now.saturating_sub(then) as f64 / self.count as f64);
        }
        self.end(&mut network, link, witness)?;
        let ended = Mark::take(target)?.since(&subscribed);
        if let Some(server) = ended.server {
            report.set("cpu_s_per_million_ends", server.cpu.as_secs_f64() * 1e6 / self.count as f64);
        }
        Ok(report)
    }

    fn channel(&self, index: u64) -> Channel {
        match self.kind {
            Kind::Ordered => FIRST_CHANNEL + index,
            // An odd factor permutes the numbers of 40 bits, a fold of the high onto the low half does too: none twice.
            Kind::Random => {
                const MASK: u64 = (1 << 40) - 1;
                let mixed = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) & MASK;
                FIRST_CHANNEL + ((mixed ^ mixed >> 20).wrapping_mul(0xD1B5_4A32_D192_ED03) & MASK)
            }
            Kind::Ranges => FIRST_CHANNEL + index * RANGE_STEP,
        }
    }

    fn subscribe(&self, network: &mut Network, link: Key) -> Result<(), Failure> {
        let mut template = match self.kind {
            Kind::Ranges => range_subscription(0, 0),
            Kind::Ordered | Kind::Random => subscription(0),
        };
        // Count, control channel, message type stand before what is asked for.
        let at = 2 + 1 + 8 + 2;
        let title = format!("md subscribe {:?}", self.kind).to_lowercase();
        let mut progress = Progress::new(&title, self.count);
        let mut next = 0;
        let last_byte = Instant::now();
        while next < self.count || network.unsent_bytes(link) > 0 {
            if network.unsent_bytes(link) == 0 {
                let Some(output) = network.output(link) else { break };
                while next < self.count && output.len() < WRITE_BYTES {
                    let channel = self.channel(next);
                    template[at..at + 8].copy_from_slice(&channel.to_le_bytes());
                    if self.kind == Kind::Ranges {
                        template[at + 8..at + 16].copy_from_slice(&(channel + RANGE - 1).to_le_bytes());
                    }
                    output.extend_from_slice(&template);
                    next += 1;
                }
                if network.write_now(link) {
                    continue;
                }
            }
            network.turn(Some(Duration::from_millis(100)), &mut |_, _, _| ())?;
            ensure(network.is_open(link), || "the server has ended the link".to_owned())?;
            ensure(last_byte.elapsed() < super::PATIENCE * 10, || "the subscriptions take too long".to_owned())?;
            progress.show(network.now(), next, || format!("{next} of {} sent", self.count));
        }
        Ok(())
    }

    /// Whether a few of them, the first and the last included, are heard.
    fn check(&self, network: &mut Network, link: Key, witness: Key) -> Result<(), Failure> {
        let samples = [0, self.count / 3, self.count / 2, self.count - 1];
        for &index in &samples {
            network.send(witness, &frame(self.channel(index), PROBE, &[]));
        }
        let mut heard = 0;
        turns_until(network, "messages to the subscribed channels", |network, timeout| {
            network.turn(Some(timeout), &mut |_, key, input| {
                heard += usize::from(key == link && matches!(input, Input::Frame(_)));
            })?;
            Ok(heard >= samples.len())
        })
    }

    /// Ends the link; its post-remove says when all its subscriptions have ended.
    fn end(&self, network: &mut Network, link: Key, witness: Key) -> Result<(), Failure> {
        let nested = frame(PROBE, PROBE, &[]);
        let register = Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(PROBE).blob(&nested[2..]);
        let register = register.finish().map_err(|error| Failure::new(error.to_string()))?;
        network.send(link, &register);
        network.finish(link);
        wait_for_probe(network, witness, |_| ())
    }
}

/// Turns until the witness gets something.
fn wait_for_probe(network: &mut Network, witness: Key, mut ask: impl FnMut(&mut Network)) -> Result<(), Failure> {
    turns_until(network, "the probe to come through", |network, timeout| {
        ask(network);
        let mut came = false;
        network.turn(Some(timeout), &mut |_, key, input| {
            came |= key == witness && matches!(input, Input::Frame(_));
        })?;
        ensure(network.is_open(witness), || "the server has ended a link".to_owned())?;
        Ok(came)
    })
}

/// Takes in what still comes, until nothing does.
fn settle_down(network: &mut Network) -> Result<(), Failure> {
    while network.turn(Some(Duration::from_millis(300)), &mut |_, _, _| ())? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn random_channels_come_once_each() {
        let load = Subscribe { kind: Kind::Random, count: 200_000 };
        let channels: BTreeSet<Channel> = (0..load.count).map(|index| load.channel(index)).collect();
        assert_eq!(channels.len(), 200_000);
        assert!(channels.iter().all(|&channel| channel >= FIRST_CHANNEL));
    }
}
