//! What is due when: an open loop, so that a server that stalls is charged for all that it kept waiting.

use super::Players;
use super::crowd::Crowd;
use crate::net::Network;
use std::time::{Duration, Instant};

/// Something that each client does again and again, one client after the other at equal distances.
struct Round {
    begin: Instant,
    /// Of all clients together; none with 0.
    per_second: f64,
    done: u64,
}

impl Round {
    fn at(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How many were due by now: the first at the beginning.
    fn due(&self, now: Instant) -> u64 {
        let past = (now.saturating_duration_since(self.begin).as_secs_f64() * self.per_second) as u64;
        past + u64::from(self.per_second > 0.0)
    }

    fn wait(&self, now: Instant) -> Duration {
        if self.per_second > 0.0 { self.at(self.done).saturating_duration_since(now) } else { Duration::MAX }
    }

    /// The next one that is due, and when it was.
    fn next(&mut self, now: Instant) -> Option<(u64, Instant)> {
        if self.done >= self.due(now) {
            return None;
        }
        let number = self.done;
        self.done += 1;
        Some((number, self.at(number)))
    }
}

/// What the clients of a crowd do again and again.
pub(super) struct Schedule {
    clients: u64,
    /// Between a client and the next one of a scattered order.
    stride: u64,
    updates: Round,
    chats: Round,
    moves: Round,
    reconnects: Round,
    heartbeats: Round,
}

impl Schedule {
    pub(super) fn new(options: &Players, begin: Instant) -> Self {
        let clients = f64::from(options.population.clients);
        let in_zones = |rate: f64| if options.population.zone_size > 0 { rate.max(0.0) } else { 0.0 };
        let beating = if options.heartbeat > 0.0 { options.heartbeat.recip() } else { 0.0 };
        let round = |per_second| Round { begin, per_second, done: 0 };
        Self {
            clients: options.population.clients.into(),
            stride: scattering(options.population.clients.into()),
            updates: round(clients * in_zones(options.rate)),
            chats: round(clients * in_zones(options.chat)),
            moves: round(clients * in_zones(options.moves)),
            reconnects: round(in_zones(options.reconnects)),
            heartbeats: round(clients * beating),
        }
    }

    /// Neighbours in a zone follow each other in updates; in what changes zones they do not.
    fn scattered(&self, number: u64) -> u32 {
        (number % self.clients * self.stride % self.clients) as u32
    }

    pub(super) fn send_due(&mut self, crowd: &mut Crowd, network: &mut Network, now: Instant) {
        while let Some((number, due)) = self.updates.next(now) {
            crowd.update(network, (number % self.clients) as u32, due);
        }
        while let Some((number, due)) = self.chats.next(now) {
            crowd.chat(network, self.scattered(number), due);
        }
        while let Some((number, due)) = self.moves.next(now) {
            crowd.move_away(network, self.scattered(number), due);
        }
        while let Some((number, due)) = self.reconnects.next(now) {
            crowd.reconnect(network, self.scattered(number), due);
        }
        while let Some((number, _)) = self.heartbeats.next(now) {
            crowd.heartbeat(network, (number % self.clients) as u32);
        }
    }

    /// How long nothing is due.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let rounds = [&self.updates, &self.chats, &self.moves, &self.reconnects, &self.heartbeats];
        rounds.map(|round| round.wait(now)).into_iter().min().expect("there are some")
    }

    /// Updates that were due by then and have not been sent.
    pub(super) fn not_sent(&self, at: Instant) -> u64 {
        self.updates.due(at).saturating_sub(self.updates.done)
    }
}

/// A step with which one comes to every number below `count` before one comes to any again, far from the last few.
fn scattering(count: u64) -> u64 {
    fn greatest_common_divisor(one: u64, other: u64) -> u64 {
        if other == 0 { one } else { greatest_common_divisor(other, one % other) }
    }
    let golden = (count as f64 * 0.618) as u64;
    (golden.max(1)..).find(|&step| greatest_common_divisor(step, count) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_due_at_its_own_time_and_nothing_is_left_out() {
        let begin = Instant::now();
        let mut round = Round { begin, per_second: 100.0, done: 0 };
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        assert_eq!(round.next(begin), Some((0, at(0))));
        assert_eq!(round.next(begin), None);
        assert_eq!(round.wait(begin), Duration::from_millis(10));
        let late = begin + Duration::from_millis(35);
        let due: Vec<_> = std::iter::from_fn(|| round.next(late)).collect();
        assert_eq!(due, [(1, at(10)), (2, at(20)), (3, at(30))]);
        assert_eq!(round.wait(late), Duration::from_millis(5));
        assert_eq!(Round { begin, per_second: 0.0, done: 0 }.next(late), None);
    }

    #[test]
    fn a_scattered_order_has_everybody_once() {
        for count in [1, 2, 7, 50, 1000, 4096] {
            let mut seen = vec![false; count as usize];
            (0..count).for_each(|number| seen[(number * scattering(count) % count) as usize] = true);
            assert!(seen.iter().all(|&seen| seen), "{count}");
        }
    }
}
