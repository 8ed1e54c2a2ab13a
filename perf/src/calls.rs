//! Calls of one link to the roles behind a Message Director: so many on their way at once, or so many a second, and each
//! complete when the server has said so.
//!
//! What is asked and what completes it is the caller's; this module keeps the pace and the times.

use crate::failure::{Failure, ensure};
use crate::md::Arrivals;
use crate::net::{Input, Key, Network};
use crate::progress::Progress;
use crate::report::{Mark, Spent, latencies};
use crate::target::Target;
use crate::timeline::Timeline;
use donet::wire::{Channel, Encoder, MessageType, Reader, message_type as t};
use hashbrown::HashMap;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Who asks, and where answers go to. The AI of the players has another channel.
pub(crate) const CALLER: Channel = 3_000_001;
/// How long a server may go without answering before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// A turn puts about so many bytes into the link's buffer.
const WRITE_BYTES: usize = 48 * 1024;

/// A message as it comes to one of the links.
#[derive(Debug)]
pub(crate) struct Heard<'a> {
    /// The link, by its number; the caller's is 0.
    pub link: usize,
    pub message_type: MessageType,
    pub payload: Reader<'a>,
}

/// Calls of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course<'a> {
    /// For a person who watches.
    pub title: &'a str,
    pub calls: u64,
    pub arrivals: Arrivals,
}

/// What calls have cost.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub spent: Spent,
    /// From when a call was made (or due, at a fixed rate) until it was complete.
    pub latencies: Histogram<u64>,
    /// When how many were complete.
    pub complete: Timeline,
}

/// What became of calls.
#[derive(Debug)]
pub(crate) struct Made {
    pub latencies: Histogram<u64>,
    pub complete: Timeline,
}

/// Links to one server.
#[derive(Debug)]
pub(crate) struct Caller {
    network: Network,
    /// Of the Message Director.
    address: SocketAddr,
    links: Vec<Key>,
    /// The number of each link.
    numbers: HashMap<Key, usize>,
}

/// Appends it to what is to be sent.
pub(crate) fn put(out: &mut Vec<u8>, message: Encoder) {
    out.extend_from_slice(&message.finish().expect("messages of a load are short"));
}

impl Caller {
    /// Connects the caller, who hears what is sent to its channel.
    pub(crate) fn connect(address: SocketAddr, channel: Channel) -> Result<Self, Failure> {
        let mut caller = Self { network: Network::new()?, address, links: Vec::new(), numbers: HashMap::new() };
        caller.listen(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel))?;
        Ok(caller)
    }

    /// Adds a link that asks for something first. It is in effect when something that the link itself sends afterwards
    /// has been answered.
    pub(crate) fn listen(&mut self, first: Encoder) -> Result<(), Failure> {
        let link = self.network.connect(self.address)?;
        let mut frame = Vec::new();
        put(&mut frame, first);
        self.network.send(link, &frame);
        self.numbers.insert(link, self.links.len());
        self.links.push(link);
        Ok(())
    }

    /// Sends something on a link, whatever comes of it.
    pub(crate) fn tell(&mut self, link: usize, message: Encoder) {
        let mut frame = Vec::new();
        put(&mut frame, message);
        self.network.send(self.links[link], &frame);
    }

    /// Closes all links but the caller's.
    pub(crate) fn close_listeners(&mut self) {
        for link in self.links.drain(1..) {
            self.numbers.remove(&link);
            self.network.close(link);
        }
    }

    /// Makes the calls, and waits until all are complete. `ask` appends the frames of a call, by its number, to what the
    /// caller's link sends; `hear` says which call a message completes, if any.
    ///
    /// # Errors
    /// When the server ends a link, is silent for too long or completes a call twice, and what `hear` fails with.
    pub(crate) fn run(
        &mut self,
        target: &Target,
        course: Course<'_>,
        ask: impl FnMut(u64, &mut Vec<u8>),
        hear: impl FnMut(Heard<'_>) -> Result<Option<u64>, Failure>,
    ) -> Result<Outcome, Failure> {
        let before = Mark::take(target)?;
        let mut progress = Progress::new(course.title, course.calls);
        let show = |now, complete| progress.show(now, complete, || format!("{complete} of {}", course.calls));
        let Made { latencies, complete } = self.make(course, || false, show, ask, hear)?;
        Ok(Outcome { spent: Mark::take(target)?.since(&before), latencies, complete })
    }

    /// As [`Caller::run`]; when `is_enough` says so, no further calls are made, and those that are open are awaited.
    pub(crate) fn make(
        &mut self,
        course: Course<'_>,
        is_enough: impl Fn() -> bool,
        mut show: impl FnMut(Instant, u64),
        mut ask: impl FnMut(u64, &mut Vec<u8>),
        mut hear: impl FnMut(Heard<'_>) -> Result<Option<u64>, Failure>,
    ) -> Result<Made, Failure> {
        let Self { network, links, numbers, .. } = self;
        let begin = Instant::now();
        // When each was made; none once it is complete.
        let mut made: Vec<Option<Instant>> = Vec::new();
        let (mut calls, mut complete, mut last) = (course.calls, 0, begin);
        let (mut latencies, mut timeline) = (latencies(), Timeline::new(begin));
        while complete < calls {
            let now = Instant::now();
            if is_enough() {
                calls = made.len() as u64;
            }
            let due = due(course.arrivals, complete, now - begin).min(calls);
            while (made.len() as u64) < due && network.unsent_bytes(links[0]) < WRITE_BYTES {
                let Some(output) = network.output(links[0]) else { break };
                let number = made.len() as u64;
                ask(number, output);
                made.push(Some(due_at(course.arrivals, number, begin).unwrap_or(now)));
            }
            let pause = due_at(course.arrivals, made.len() as u64, begin).map(|at| at.saturating_duration_since(now));
            let wait = if (made.len() as u64) < due { Duration::ZERO } else { Duration::from_millis(100) };
            let mut failed = None;
            network.turn(Some(pause.unwrap_or(wait).min(wait)), &mut |network, key, input| {
                let Some(&link) = numbers.get(&key) else { return };
                match heard(link, input).and_then(|heard| heard.map_or(Ok(None), &mut hear)) {
                    Ok(None) => {}
                    Ok(Some(number)) => match made.get_mut(number as usize).and_then(Option::take) {
                        Some(at) => {
                            complete += 1;
                            last = network.now();
                            timeline.add(last, 1);
                            latencies.saturating_record((last.saturating_duration_since(at)).as_nanos().max(1) as u64);
                        }
                        None => failed = Some(Failure::new(format!("call {number} is complete and was not open"))),
                    },
                    Err(failure) => failed = Some(failure),
                }
            })?;
            if let Some(failure) = failed {
                return Err(failure);
            }
            if complete == made.len() as u64 {
                // Nothing is awaited.
                last = network.now();
            }
            ensure(last.elapsed() < PATIENCE, || {
                format!("{}: {complete} of {} were complete, then none for {PATIENCE:?}", course.title, made.len())
            })?;
            show(now, complete);
        }
        Ok(Made { latencies, complete: timeline })
    }
}

/// How many calls should have been made by now.
fn due(arrivals: Arrivals, complete: u64, elapsed: Duration) -> u64 {
    match arrivals {
        Arrivals::Window(window) => complete + window,
        Arrivals::PerSecond(rate) => (elapsed.as_secs_f64() * rate) as u64 + 1,
    }
}

/// When a call is due, if that does not depend on the others.
fn due_at(arrivals: Arrivals, number: u64, begin: Instant) -> Option<Instant> {
    match arrivals {
        Arrivals::Window(_) => None,
        Arrivals::PerSecond(rate) => Some(begin + Duration::from_secs_f64(number as f64 / rate)),
    }
}

fn heard(link: usize, input: Input<'_>) -> Result<Option<Heard<'_>>, Failure> {
    match input {
        Input::Frame(body) => {
            let mut header = Reader::new(body);
            let recipients = header.u8()?;
            header.take(usize::from(recipients) * size_of::<Channel>())?;
            header.channel()?;
            let message_type = MessageType(header.u16()?);
            Ok(Some(Heard { link, message_type, payload: Reader::new(header.rest()) }))
        }
        Input::Ended(end) => Err(Failure::new(format!("the server has ended a link: {end:?}"))),
        Input::Connected => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_as_calls_complete_and_a_rate_does_not_wait() {
        assert_eq!(due(Arrivals::Window(64), 10, Duration::from_secs(9)), 74);
        assert_eq!(due(Arrivals::PerSecond(100.0), 0, Duration::from_millis(95)), 10);
        let begin = Instant::now();
        assert_eq!(due_at(Arrivals::PerSecond(100.0), 9, begin), Some(begin + Duration::from_millis(90)));
        assert_eq!(due_at(Arrivals::Window(1), 9, begin), None);
    }
}
