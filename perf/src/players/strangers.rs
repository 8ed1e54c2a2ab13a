//! Connections that come and break off at once: before a word, within a frame, after a hello, after garbage.

use crate::failure::Failure;
use crate::net::{Input, Key, Network};
use crate::report::Report;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// As many may be on their way: a server that is behind is not given ever more to do.
const UNDER_WAY_MAX: usize = 2000;

pub(super) struct Strangers {
    agent: SocketAddr,
    per_second: f64,
    begin: Option<Instant>,
    come: u64,
    /// Connected to the end.
    connected: u64,
    refused: u64,
    open: HashSet<Key>,
    hello: Vec<u8>,
}

impl Strangers {
    /// `hello` is what some of them say.
    pub(super) fn new(agent: SocketAddr, per_second: f64, hello: Vec<u8>) -> Self {
        Self { agent, per_second, begin: None, come: 0, connected: 0, refused: 0, open: HashSet::new(), hello }
    }

    pub(super) fn begin(&mut self) {
        self.begin = Some(Instant::now());
    }

    fn due(&self, now: Instant) -> u64 {
        let since = self.begin.map_or(Duration::ZERO, |begin| now.saturating_duration_since(begin));
        (since.as_secs_f64() * self.per_second) as u64
    }

    /// Lets those come that are due.
    pub(super) fn come(&mut self, network: &mut Network, now: Instant) -> Result<(), Failure> {
        while self.come < self.due(now) && self.open.len() < UNDER_WAY_MAX {
            self.come += 1;
            self.open.insert(network.connect(self.agent)?);
        }
        Ok(())
    }

    /// How long none is due.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        match self.begin {
            Some(begin) if self.per_second > 0.0 && self.open.len() < UNDER_WAY_MAX => {
                let next = begin + Duration::from_secs_f64((self.come + 1) as f64 / self.per_second);
                next.saturating_duration_since(now)
            }
            _ => Duration::MAX,
        }
    }

    /// Returns whether it was one of theirs.
    pub(super) fn on_input(&mut self, network: &mut Network, key: Key, input: Input<'_>) -> bool {
        if !self.open.contains(&key) {
            return false;
        }
        if input != Input::Connected {
            self.refused += 1;
            self.open.remove(&key);
            return true;
        }
        self.connected += 1;
        let said: &[u8] = match self.connected % 4 {
            0 => b"",
            1 => &self.hello[..3],
            2 => &self.hello,
            _ => b"GET / HTTP/1.0\r\n\r\n",
        };
        network.send(key, said);
        network.write_now(key);
        self.open.remove(&key);
        // A reset: neither side keeps the pair of ports for a minute.
        network.reset(key);
        true
    }

    pub(super) fn are_gone(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn report(&self, report: &mut Report, elapsed: Duration) {
        report.set("strangers", self.connected);
        report.set("strangers_per_s", self.connected as f64 / elapsed.as_secs_f64());
        report.set("strangers_refused", self.refused);
    }
}
