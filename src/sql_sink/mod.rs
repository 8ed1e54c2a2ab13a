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
use crate::database_server::{OutboxReader, ReaderError};
use connection::{Connection, SqlError};
use mirror::{Mirror, MirrorError};
pub use postgres::check_postgres_url;
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
        let mut failures = 0_u64;
        let mut pause = PAUSE_LEAST;
        while !self.ending.load(Ordering::Acquire) {
            let ended = self.connected(&mut || {
                if failures > 0 {
                    tracing::info!(attempts = failures, "the SQL database is there again");
                }
                failures = 0;
                pause = PAUSE_LEAST;
            });
            self.reader.figures.is_connected.store(false, Ordering::Relaxed);
            let error = match ended {
                Ok(()) | Err(MirrorError::Reader(ReaderError::Ended)) => return,
                Err(error) => error,
            };
            failures += 1;
            self.reader.figures.errors.fetch_add(1, Ordering::Relaxed);
            // A line for each attempt would tell nothing new for hours.
            if failures.is_power_of_two() {
                tracing::warn!(
                    %error,
                    attempts = failures,
                    "the SQL sink cannot go on; changes wait on the disk, and it tries again"
                );
            }
            if self.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            pause = (2 * pause).min(PAUSE_GREATEST);
        }
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
