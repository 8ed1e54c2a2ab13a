//! Connections that come and break off at once: before a word, within a frame, after a hello, after garbage.
//!
//! They come from a thread and a [`Network`] of their own: what it takes to dial and reset thousands a second must not
//! stand in the way of those who measure.

use crate::failure::{Failure, ensure};
use crate::net::{Input, Key, Network};
use crate::report::Report;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// As many may be on their way: a server that is behind is not given ever more to do.
const UNDER_WAY_MAX: usize = 2000;
/// The longest wait for news.
const TURN: Duration = Duration::from_millis(20);
/// How long the last ones may take to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// The thread of the strangers.
pub(super) struct Strangers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Counts, Failure>>,
}

/// What became of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Connected to the end.
    connected: u64,
    refused: u64,
    /// From the first to the word that it is enough.
    elapsed: Duration,
}

impl Strangers {
    /// Lets so many a second come from now on. `hello` is what some of them say.
    pub(super) fn begin(agent: SocketAddr, per_second: f64, hello: Vec<u8>) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let (begin, stopped) = (Instant::now(), stop.clone());
        let coming =
            Coming { agent, per_second, begin, come: 0, connected: 0, refused: 0, open: HashSet::new(), hello };
        let thread = std::thread::Builder::new()
            .name("strangers".to_owned())
            .spawn(move || coming.run(Network::new()?, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Lets no more come, and waits until the last are gone.
    pub(super) fn end(self) -> Result<Counts, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("the thread of the strangers has panicked"))?
    }
}

impl Counts {
    pub(super) fn report(&self, report: &mut Report) {
        report.set("strangers", self.connected);
        report.set("strangers_per_s", self.connected as f64 / self.elapsed.as_secs_f64());
        report.set("strangers_refused", self.refused);
    }
}

struct Coming {
    agent: SocketAddr,
    per_second: f64,
    begin: Instant,
    come: u64,
    connected: u64,
    refused: u64,
    open: HashSet<Key>,
    hello: Vec<u8>,
}

impl Coming {
    fn run(mut self, mut network: Network, stop: &AtomicBool) -> Result<Counts, Failure> {
        while !stop.load(Ordering::Relaxed) {
            let due = (self.begin.elapsed().as_secs_f64() * self.per_second) as u64;
            while self.come < due && self.open.len() < UNDER_WAY_MAX {
                self.come += 1;
                self.open.insert(network.connect(self.agent)?);
            }
            let wait = self.wait();
            self.turn(&mut network, wait)?;
        }
        let elapsed = self.begin.elapsed();
        while !self.open.is_empty() {
            ensure(self.begin.elapsed() < elapsed + PATIENCE, || {
                format!("{} strangers are still being accepted {PATIENCE:?} after the last came", self.open.len())
            })?;
            self.turn(&mut network, TURN)?;
        }
        Ok(Counts { connected: self.connected, refused: self.refused, elapsed })
    }

    /// How long none is due.
    fn wait(&self) -> Duration {
        if self.open.len() >= UNDER_WAY_MAX {
            return TURN;
        }
        let next = self.begin + Duration::from_secs_f64((self.come + 1) as f64 / self.per_second);
        next.saturating_duration_since(Instant::now()).min(TURN)
    }

    fn turn(&mut self, network: &mut Network, timeout: Duration) -> Result<(), Failure> {
        network.turn(Some(timeout), &mut |network: &mut Network, key: Key, input: Input<'_>| {
            self.on_input(network, key, input);
        })?;
        Ok(())
    }

    fn on_input(&mut self, network: &mut Network, key: Key, input: Input<'_>) {
        if !self.open.remove(&key) {
            return;
        }
        if input != Input::Connected {
            self.refused += 1;
            return;
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
        // A reset: neither side keeps the pair of ports for a minute.
        network.reset(key);
    }
}
