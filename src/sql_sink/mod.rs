//! The SQL sink: what is stored, mirrored into a SQL database that people can query (`spec/config.md`, `sql_sink`).
//!
//! One table per dclass, a typed column per stored field. The database stays the source of truth: the sink reads what the
//! engine's outbox keeps for it, on a thread of its own, `sql-sink-<index>`; a slow or absent SQL server costs disk and
//! nothing else.
//!
//! * [`mirror`]: carrying changes over, and copying everything.
//! * [`tables`]: what tables and columns are called, and when they change; [`values`]: what a value looks like in one.
//! * [`connection`], [`postgres`], [`sqlite`]: speaking to a database.

mod connection;
mod mirror;
mod postgres;
mod sqlite;
mod tables;
mod values;

use crate::config::SqlTarget;
use crate::database_server::{OutboxReader, ReaderError, SinkFigures};
use connection::{Connection, SqlError};
use mirror::{Mirror, MirrorError};
pub use postgres::check_postgres_url;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Between two attempts to go on after something went wrong: twice as long each time.
const PAUSE_LEAST: Duration = Duration::from_millis(100);
const PAUSE_GREATEST: Duration = Duration::from_secs(30);
/// How long an idle connection is believed in.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long the end of the daemon waits for a transaction under way. What is cut off is carried over at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A running sink.
pub struct SqlSink {
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    ending: Arc<AtomicBool>,
    /// Closed by the end of the thread.
    ended: Receiver<()>,
}

impl SqlSink {
    /// Starts the thread. The SQL database need not be there.
    ///
    /// # Errors
    /// When the system has no thread to spare.
    pub fn start(index: u8, target: SqlTarget, reader: OutboxReader) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let (alive, ended) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let sink = Sink { target, reader, stopped, ending: ending.clone() };
        std::thread::Builder::new().name(format!("sql-sink-{index}")).spawn(move || {
            sink.run();
            drop(alive);
        })?;
        Ok(Self { stop: Some(stop), ending, ended })
    }

    /// Ends the thread after the transaction at hand, if that does not take long.
    pub fn stop(mut self) {
        self.ending.store(true, Ordering::Release);
        self.stop.take();
        if self.ended.recv_timeout(STOP_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the SQL database does not answer: its last transaction is cut off and done again later");
        }
    }
}

struct Sink {
    target: SqlTarget,
    reader: OutboxReader,
    stopped: Receiver<()>,
    ending: Arc<AtomicBool>,
}

impl Sink {
    fn run(self) {
        let figures = self.reader.figures.clone();
        let ending = self.ending.clone();
        let wait = |pause| match self.stopped.recv_timeout(pause) {
            Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        keep_trying(&figures, &ending, |on_success| self.connected(on_success), wait);
    }

    /// Carries over until something goes wrong, or the end.
    fn connected(&self, on_success: &mut dyn FnMut()) -> Result<(), MirrorError> {
        let mut connection = self.open()?;
        let mut mirror = Mirror::resume(&mut *connection, &self.reader)?;
        self.reader.figures.is_connected.store(true, Ordering::Relaxed);
        let mut checked = Instant::now();
        while !self.ending.load(Ordering::Acquire) {
            if mirror.step()? {
                on_success();
                checked = Instant::now();
            } else if checked.elapsed() >= CHECK_INTERVAL {
                mirror.check()?;
                on_success();
                checked = Instant::now();
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Connection>, SqlError> {
        Ok(match &self.target {
            SqlTarget::Postgres(url) => Box::new(postgres::PostgresConnection::open(url)?),
            SqlTarget::Sqlite(path) => Box::new(sqlite::SqliteConnection::open(path)?),
        })
    }
}

/// Attempts again and again, until an attempt comes to its end, the database ends, or `wait` says so. After each failure
/// it waits, longer each time; an attempt tells when it has got anywhere, and then the next wait is short again.
fn keep_trying(
    figures: &SinkFigures,
    ending: &AtomicBool,
    mut attempt: impl FnMut(&mut dyn FnMut()) -> Result<(), MirrorError>,
    mut wait: impl FnMut(Duration) -> ControlFlow<()>,
) {
    let mut failures = 0_u64;
    let mut pause = PAUSE_LEAST;
    while !ending.load(Ordering::Acquire) {
        let ended = attempt(&mut || {
            if failures > 0 {
                tracing::info!(attempts = failures, "the SQL database is there again");
            }
            failures = 0;
            pause = PAUSE_LEAST;
        });
        figures.is_connected.store(false, Ordering::Relaxed);
        let error = match ended {
            Ok(()) | Err(MirrorError::Reader(ReaderError::Ended)) => return,
            Err(error) => error,
        };
        failures += 1;
        figures.errors.fetch_add(1, Ordering::Relaxed);
        // A line for each attempt would tell nothing new for hours.
        if failures.is_power_of_two() {
            tracing::warn!(
                %error,
                attempts = failures,
                "the SQL sink cannot go on; changes wait on the disk, and it tries again"
            );
        }
        if wait(pause).is_break() {
            return;
        }
        pause = (2 * pause).min(PAUSE_GREATEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Attempts over simulated time, until it is over: when each was made. A server is there where `is_there` says so,
    /// and goes away again at once.
    fn attempts(until: Duration, is_there: impl Fn(Duration) -> bool) -> (Vec<Duration>, SinkFigures) {
        let (figures, now) = (SinkFigures::default(), std::cell::Cell::new(Duration::ZERO));
        let mut made = Vec::new();
        let attempt = |on_success: &mut dyn FnMut()| {
            made.push(now.get());
            if is_there(now.get()) {
                on_success();
            }
            Err(MirrorError::Sql(SqlError("connection refused".to_owned())))
        };
        let wait = |pause| {
            now.set(now.get() + pause);
            if now.get() < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        keep_trying(&figures, &AtomicBool::new(false), attempt, wait);
        (made, figures)
    }

    #[test]
    fn an_hour_without_the_sql_server_costs_few_attempts() {
        let (made, figures) = attempts(HOUR, |_| false);
        assert_eq!(figures.errors.load(Ordering::Relaxed), made.len() as u64);
        // 0.1 s doubled nine times is 51.1 s, and then one comes every 30 s.
        assert_eq!(made.len(), 9 + 119);
        let pauses: Vec<Duration> = made.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses.is_sorted() && pauses[0] == PAUSE_LEAST, "{pauses:?}");
        assert_eq!(pauses.last(), Some(&PAUSE_GREATEST), "a server that is back is found within half a minute");
    }

    #[test]
    fn after_a_success_the_sql_server_is_looked_for_soon_again() {
        let (made, _) = attempts(HOUR, |now| now > HOUR / 2);
        let first_there = made.iter().position(|at| *at > HOUR / 2).expect("it is found");
        assert!(made[first_there] - HOUR / 2 <= PAUSE_GREATEST);
        assert_eq!(made[first_there + 1] - made[first_there], PAUSE_LEAST);
    }

    #[test]
    fn the_end_of_the_database_ends_the_attempts() {
        let (figures, mut made) = (SinkFigures::default(), 0);
        let attempt = |_: &mut dyn FnMut()| {
            made += 1;
            Err(MirrorError::Reader(ReaderError::Ended))
        };
        keep_trying(&figures, &AtomicBool::new(false), attempt, |_| ControlFlow::Continue(()));
        assert_eq!((made, figures.errors.load(Ordering::Relaxed)), (1, 0));
    }
}
