//! A message there and its answer back, one at a time: how long it takes when there is nothing else to do.

use super::connections::{FIRST_CHANNEL, frame, open, settle, subscription};
use super::{PATIENCE, Times};
use crate::failure::{Failure, ensure};
use crate::net::{Input, Network};
use crate::progress::Progress;
use crate::report::{Mark, Report, latencies};
use crate::target::Target;
use crate::timeline::Timeline;
use clap::Args;
use std::time::{Duration, Instant};

/// One message on its way at any time.
#[derive(Clone, Copy, Debug, Args)]
pub struct PingPong {
    /// Bytes behind the header of each message.
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u16))]
    pub payload: u16,
    #[command(flatten)]
    pub times: Times,
}

impl PingPong {
    /// Runs it.
    ///
    /// # Errors
    /// When an answer does not come or the server ends a link.
    pub fn run(&self, target: &Target) -> Result<Report, Failure> {
        let mut network = Network::new()?;
        let pong = open(&mut network, target, 1)?[0];
        let ping = open(&mut network, target, 1)?[0];
        let payload = vec![0; usize::from(self.payload).min(65_000)];
        let (ping_channel, pong_channel) = (FIRST_CHANNEL, FIRST_CHANNEL + 1);
        if !target.is_relay {
            network.send(ping, &subscription(ping_channel));
            network.send(pong, &subscription(pong_channel));
            let witness = open(&mut network, target, 1)?[0];
            settle(&mut network, witness, &[ping, pong], FIRST_CHANNEL + 2)?;
        }
        let (there, back) = (frame(pong_channel, ping_channel, &payload), frame(ping_channel, pong_channel, &payload));
        let (mut latencies, mut round_trips) = (latencies(), 0_u64);
        let (mut sent, mut ended) = (Instant::now(), None);
        network.send(ping, &there);
        let begin = Instant::now();
        let (measure_at, end_at) = (begin + self.times.warm_up(), begin + self.times.warm_up() + self.times.measured());
        let mut progress = Progress::new("md ping-pong", (end_at - begin).as_millis() as u64);
        let (mut mark, mut timeline) = (None, Timeline::new(begin));
        loop {
            let now = Instant::now();
            if mark.is_none() && now >= measure_at {
                latencies.reset();
                round_trips = 0;
                mark = Some(Mark::take(target)?);
                // The pause for the mark is no latency of the server.
                sent = Instant::now();
            }
            if now >= end_at {
                break;
            }
            ensure(now - sent < PATIENCE, || format!("no answer came for {PATIENCE:?}"))?;
            network.turn(Some(Duration::from_millis(100)), &mut |network, key, input| match input {
                Input::Frame(_) if key == pong => network.send(pong, &back),
                Input::Frame(_) => {
                    latencies.saturating_record((network.now() - sent).as_nanos() as u64);
                    round_trips += 1;
                    timeline.add(network.now(), 1);
                    network.send(ping, &there);
                    sent = Instant::now();
                }
                Input::Ended(end) => ended = Some(end),
                Input::Connected => {}
            })?;
            if let Some(end) = ended {
                return Err(Failure::new(format!("the server has ended a link: {end:?}")));
            }
            progress.show(now, (now - begin).as_millis() as u64, || {
                format!("p50 {:.1} us", latencies.value_at_quantile(0.5) as f64 / 1000.0)
            });
        }
        let spent = Mark::take(target)?.since(&mark.expect("the measured time begins before it ends"));
        let mut report = Report::new("md ping-pong", target);
        report.set("payload_bytes", self.payload);
        report.set_usage(&spent, &[("round_trips", round_trips)]);
        report.set_latencies("round_trip_us", &latencies);
        report.set_rate("round trips", &timeline);
        Ok(report)
    }
}
