//! One message to many links: groups of one sender and `fan_out` receivers on a channel of their own.
//!
//! Messages leave either as a window allows (closed loop: how much can it carry), or at a fixed rate whatever comes
//! back (open loop: how long does it take). In the open loop a message counts from when it was due, not from when it
//! was sent: a server that stalls is charged for everything that it kept waiting (coordinated omission).

use super::connections::{BEFORE_PAYLOAD, FIRST_CHANNEL, frame, open, payload, settle, subscription};
use super::{PATIENCE, Times};
use crate::failure::{Failure, ensure};
use crate::net::{Input, Key, Network};
use crate::progress::Progress;
use crate::report::{Mark, Report, Spent, latencies};
use crate::target::Target;
use crate::timeline::Timeline;
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use std::time::{Duration, Instant};

/// A write takes at most so many bytes, so that a sender's buffer keeps its memory.
const WRITE_BYTES: usize = 48 * 1024;
/// Stamp, sequence number.
const SMALLEST_PAYLOAD: usize = 8 + 4;
const LARGEST_PAYLOAD: usize = 65_000;

/// When messages leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// So many may be on their way at once.
    Window(u64),
    /// So many leave each second, in equal steps.
    PerSecond(f64),
}

/// What to send to whom.
#[derive(Clone, Copy, Debug, Args)]
pub struct FanOut {
    /// Links that receive each message.
    #[arg(long, value_name = "LINKS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub fan_out: u32,
    /// Bytes behind the header of each message, at least 12.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub payload: usize,
    /// Senders, each with receivers and a channel of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub senders: u32,
    /// Closed loop: messages on their way at once, over all senders.
    #[arg(long, value_name = "MESSAGES", default_value_t = 4096, conflicts_with = "rate")]
    pub window: u64,
    /// Open loop: messages for each second, over all senders, whatever comes back.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Write each message by itself, as a program does that sends what it has at once.
    #[arg(long)]
    pub one_per_write: bool,
    #[command(flatten)]
    pub times: Times,
}

impl FanOut {
    fn arrivals(&self) -> Arrivals {
        self.rate.map_or(Arrivals::Window(self.window.max(1)), Arrivals::PerSecond)
    }

    /// Connections that only receive.
    pub fn receivers(&self) -> usize {
        self.fan_out as usize * self.senders as usize
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the server ends a link, delivers a message twice, out of order or not at all, or stops delivering.
    pub fn run(&self, target: &Target) -> Result<Report, Failure> {
        ensure((SMALLEST_PAYLOAD..=LARGEST_PAYLOAD).contains(&self.payload), || {
            format!("--payload takes {SMALLEST_PAYLOAD} to {LARGEST_PAYLOAD} bytes, not {}", self.payload)
        })?;
        ensure(self.rate.is_none_or(|rate| rate.is_finite() && rate >= 0.001), || {
            format!("--rate takes a number of messages for each second, not {:?}", self.rate)
        })?;
        ensure(!target.is_relay || self.senders == 1, || "the relay knows no channels: one sender only".to_owned())?;
        let mut network = Network::new()?;
        let mut load = Load::connect(self, target, &mut network)?;
        let (arrivals, title) = (self.arrivals(), format!("md fan-out {}", self.fan_out));
        let (begin, warm) = (Instant::now(), self.times.warm_up());
        let end = begin + warm + self.times.measured();
        let mut progress = Progress::new(&title, (end - begin).as_millis() as u64);
        load.run(&mut network, arrivals, begin + warm, begin, &mut progress)?;
        let (mark, already) = (Mark::take(target)?, load.begin_measuring());
        load.run(&mut network, arrivals, end, begin, &mut progress)?;
        let spent = Mark::take(target)?.since(&mark);
        load.record();
        let report = self.report(target, &load, already, &spent);
        load.drain(&mut network)?;
        Ok(report)
    }

    fn report(&self, target: &Target, load: &Load, (sent, delivered): (u64, u64), spent: &Spent) -> Report {
        let mut report = Report::new("md fan-out", target);
        report.set("fan_out", self.fan_out);
        report.set("payload_bytes", self.payload);
        report.set("senders", self.senders);
        match self.arrivals() {
            Arrivals::Window(window) => report.set("window", window),
            Arrivals::PerSecond(rate) => report.set("rate_per_s", rate),
        }
        report.set("one_per_write", self.one_per_write);
        // A message counts when all its copies have come: what is still on its way is that much less than a message.
        let deliveries = load.delivered - delivered;
        let messages = deliveries / u64::from(self.fan_out);
        report.set("sent", load.sent - sent);
        report.set_usage(spent, &[("messages", messages), ("deliveries", deliveries)]);
        report.set_latencies("latency_us", &load.latencies);
        report.set_rate("deliveries", &load.timeline);
        report.set("latency_counts_from", json!(if self.rate.is_some() { "due" } else { "sent" }));
        report
    }
}

#[derive(Debug)]
struct Sender {
    key: Key,
    /// One frame; stamp and sequence number are written into a copy.
    template: Vec<u8>,
    sequence: u32,
}

/// The state of a run.
#[derive(Debug)]
struct Load {
    fan_out: u64,
    one_per_write: bool,
    senders: Vec<Sender>,
    /// By slot of the connection: the sequence number that a receiver awaits.
    awaited: Vec<Option<u32>>,
    /// Stamps and the schedule of the open loop count from here.
    epoch: Instant,
    sent: u64,
    delivered: u64,
    latencies: Histogram<u64>,
    timeline: Timeline,
    /// Messages with the same stamp that came in the same read: the stamp, the time of the read, how many.
    unrecorded: (u64, Instant, u64),
    failure: Option<Failure>,
    /// Who sends next, in the open loop.
    turn: usize,
    /// Messages due since the epoch, in the open loop.
    due: u64,
    last_delivery: Instant,
}

impl Load {
    fn connect(options: &FanOut, target: &Target, network: &mut Network) -> Result<Self, Failure> {
        let receivers = open(network, target, options.receivers())?;
        let groups = options.senders as usize;
        if !target.is_relay {
            for (index, &receiver) in receivers.iter().enumerate() {
                network.send(receiver, &subscription(FIRST_CHANNEL + (index % groups) as u64));
            }
            let witness = open(network, target, 1)?[0];
            settle(network, witness, &receivers, FIRST_CHANNEL + groups as u64)?;
        }
        let keys = open(network, target, groups)?;
        let payload = vec![0; options.payload];
        let senders = keys.into_iter().enumerate().map(|(index, key)| {
            let channel = FIRST_CHANNEL + index as u64;
            Sender { key, template: frame(channel, channel, &payload), sequence: 0 }
        });
        let slots = receivers.iter().map(|key| key.slot() + 1).max().unwrap_or(0);
        let mut awaited = vec![None; slots];
        for key in &receivers {
            awaited[key.slot()] = Some(0);
        }
        Ok(Self {
            fan_out: u64::from(options.fan_out),
            one_per_write: options.one_per_write,
            senders: senders.collect(),
            awaited,
            epoch: Instant::now(),
            sent: 0,
            delivered: 0,
            latencies: latencies(),
            timeline: Timeline::new(Instant::now()),
            unrecorded: (0, Instant::now(), 0),
            failure: None,
            turn: 0,
            due: 0,
            last_delivery: Instant::now(),
        })
    }

    /// Forgets what was measured so far; what was sent and delivered before.
    fn begin_measuring(&mut self) -> (u64, u64) {
        self.record();
        self.latencies.reset();
        (self.sent, self.delivered)
    }

    fn run(
        &mut self,
        network: &mut Network,
        arrivals: Arrivals,
        until: Instant,
        begin: Instant,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        if self.sent == 0 {
            self.epoch = begin;
            self.timeline = Timeline::new(begin);
        }
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            let wait = match arrivals {
                Arrivals::Window(window) => self.send_window(network, window),
                Arrivals::PerSecond(rate) => self.send_due(network, rate, now),
            };
            self.turn(network, wait.min(until - now))?;
            progress.show(now, (now - begin).as_millis() as u64, || {
                format!("{} messages, {} deliveries", self.sent, self.delivered)
            });
        }
    }

    /// Sends what the window leaves room for. Returns how long to wait for news.
    fn send_window(&mut self, network: &mut Network, window: u64) -> Duration {
        let on_their_way = (self.sent * self.fan_out - self.delivered).div_ceil(self.fan_out);
        let mut credit = window.saturating_sub(on_their_way);
        let share = credit.div_ceil(self.senders.len() as u64);
        for index in 0..self.senders.len() {
            let mut mine = share.min(credit);
            credit -= mine;
            while mine > 0 && network.unsent_bytes(self.senders[index].key) == 0 {
                let stamp = self.epoch.elapsed().as_nanos() as u64;
                mine -= self.send(network, index, mine, stamp);
                if !network.write_now(self.senders[index].key) {
                    break;
                }
            }
        }
        Duration::from_millis(100)
    }

    /// Sends what is due. Returns how long nothing is.
    fn send_due(&mut self, network: &mut Network, rate: f64, now: Instant) -> Duration {
        let due = ((now - self.epoch).as_secs_f64() * rate) as u64;
        while self.due < due {
            let stamp = (self.due as f64 / rate * 1e9) as u64;
            let index = self.turn;
            self.turn = (self.turn + 1) % self.senders.len();
            self.send(network, index, 1, stamp);
            if self.one_per_write || network.unsent_bytes(self.senders[index].key) > WRITE_BYTES {
                network.write_now(self.senders[index].key);
            }
            self.due += 1;
        }
        let next = self.epoch + Duration::from_secs_f64((self.due + 1) as f64 / rate);
        next.saturating_duration_since(Instant::now())
    }

    /// Puts up to `count` messages of one sender into its buffer, at most one write's worth. Returns how many.
    fn send(&mut self, network: &mut Network, index: usize, count: u64, stamp: u64) -> u64 {
        let sender = &mut self.senders[index];
        let Some(output) = network.output(sender.key) else { return count };
        let fit = if self.one_per_write { 1 } else { (WRITE_BYTES / sender.template.len()).max(1) as u64 };
        let count = count.min(fit);
        for _ in 0..count {
            let at = output.len() + BEFORE_PAYLOAD;
            output.extend_from_slice(&sender.template);
            output[at..at + 8].copy_from_slice(&stamp.to_le_bytes());
            output[at + 8..at + 12].copy_from_slice(&sender.sequence.to_le_bytes());
            sender.sequence = sender.sequence.wrapping_add(1);
        }
        self.sent += count;
        count
    }

    fn turn(&mut self, network: &mut Network, timeout: Duration) -> Result<(), Failure> {
        let before = self.delivered;
        network.turn(Some(timeout), &mut |network, key, input| self.on_input(network, key, input))?;
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.delivered > before || self.sent * self.fan_out == self.delivered {
            self.last_delivery = network.now();
        }
        ensure(network.now().saturating_duration_since(self.last_delivery) < PATIENCE, || {
            format!("nothing was delivered for {PATIENCE:?}, of {} messages sent", self.sent)
        })
    }

    fn on_input(&mut self, network: &mut Network, key: Key, input: Input<'_>) {
        match input {
            Input::Frame(body) => {
                let Some(awaited) = self.awaited.get_mut(key.slot()).and_then(Option::as_mut) else {
                    return self.fail(|| "a link got something that subscribed to nothing".to_owned());
                };
                let Some((stamp, sequence)) = payload(body).and_then(read_stamp) else {
                    return self.fail(|| format!("a link got what was never sent: {body:02x?}"));
                };
                if sequence != *awaited {
                    let text = format!("message {sequence} arrived where {awaited} was awaited");
                    return self.fail(|| text);
                }
                *awaited = awaited.wrapping_add(1);
                self.delivered += 1;
                let (last_stamp, last_now, count) = &mut self.unrecorded;
                if *last_stamp == stamp && *last_now == network.now() {
                    *count += 1;
                } else {
                    self.record();
                    self.unrecorded = (stamp, network.now(), 1);
                }
            }
            Input::Ended(end) => self.fail(|| format!("the server has ended a link: {end:?}")),
            Input::Connected => {}
        }
    }

    /// Counts the latency of the messages that were sent and have arrived together.
    fn record(&mut self) {
        let (stamp, now, count) = self.unrecorded;
        self.timeline.add(now, count as u32);
        let now = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.latencies.saturating_record_n(now.saturating_sub(stamp).max(1), count);
        self.unrecorded.2 = 0;
    }

    fn fail(&mut self, text: impl FnOnce() -> String) {
        self.failure.get_or_insert_with(|| Failure::new(text()));
    }

    /// Waits for what is on its way: nothing may be missing.
    fn drain(&mut self, network: &mut Network) -> Result<(), Failure> {
        self.last_delivery = Instant::now();
        while self.delivered < self.sent * self.fan_out {
            self.turn(network, Duration::from_millis(100))?;
        }
        Ok(())
    }
}

fn read_stamp(payload: &[u8]) -> Option<(u64, u32)> {
    let (stamp, rest) = payload.split_first_chunk()?;
    Some((u64::from_le_bytes(*stamp), u32::from_le_bytes(*rest.first_chunk()?)))
}
