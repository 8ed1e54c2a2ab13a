//! What an operator may have a running daemon do as a whole: take over its files anew, drain it, end it.
//!
//! Signals and the admin endpoint both come here, from threads of their own; the executors hear of it by messages. It
//! decides when the daemon ends. It holds no state of a role, and nothing of it is on the way of a message.

use crate::config::{Admin, Config};
use crate::daemon::External;
use crate::reload::{Anew, Report};
use donet_shards::ShardId;
use serde::Serialize;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Clients that were ejected have gone for the executors at once, or something is very wrong.
const EJECT_DEADLINE: Duration = Duration::from_secs(10);
/// What the end of the last client has caused (post-removes, deletions, events) goes through some turns of several
/// executors before it is at the sockets of links.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a reload waits until every executor has taken over what was read; turns take milliseconds.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(10);

/// How far the daemon has come on the way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// New clients are welcome.
    Serving,
    /// No new client is admitted; it ends when the last one has gone, at this time at the latest.
    Draining {
        until: Instant,
    },
    Ending,
}

/// A drain as an operator is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DrainStatus {
    /// It had begun before.
    pub was_draining: bool,
    /// Until the clients that are left will be ejected.
    pub seconds_left: u64,
}

/// Why there is no drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    #[error("the daemon is ending")]
    Ending,
    #[error("the system has no thread for it")]
    Thread,
}

/// What of a daemon is no executor's, and hears of a changed configuration too.
pub trait Surroundings: Send + Sync {
    /// Reads everything anew that the daemon was started with; changes nothing.
    ///
    /// # Errors
    /// Why it cannot be used: the text that a start would give.
    fn read(&self, running: &Config) -> Result<Anew, String>;

    /// Goes on with this configuration: the log, the Event Loggers.
    fn take_over(&self, config: &Config);
}

/// The controls of one running daemon.
pub struct Control {
    shards: usize,
    send: Box<dyn Fn(ShardId, External) + Send + Sync>,
    surroundings: Box<dyn Surroundings>,
    phase: Mutex<Phase>,
    config: Mutex<Arc<Config>>,
    /// Held by the one reload that is under way: it reads files and resolves names, which may take long.
    reloading: Mutex<()>,
}

impl fmt::Debug for Control {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Control").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

/// A thread that panicked with the lock has changed nothing by halves: what is locked is replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// `send` hands something to an executor.
    pub fn new(
        config: Arc<Config>,
        shards: usize,
        surroundings: impl Surroundings + 'static,
        send: impl Fn(ShardId, External) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            shards,
            send: Box::new(send),
            surroundings: Box::new(surroundings),
            phase: Mutex::new(Phase::Serving),
            config: Mutex::new(config),
            reloading: Mutex::new(()),
        })
    }

    /// How far the daemon has come.
    pub fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    /// What it runs with.
    pub fn config(&self) -> Arc<Config> {
        lock(&self.config).clone()
    }

    /// Takes over what has changed in the files that the daemon was started with: all or nothing. What was changed, and
    /// what needs a restart, is in the report and in the log.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn reload(&self) -> Result<Report, String> {
        // Held to the end: of two reloads at once the later one wins everywhere.
        let _one_at_a_time = lock(&self.reloading);
        let anew = self.surroundings.read(&self.config()).inspect_err(|error| {
            tracing::error!(%error, "nothing was reloaded, what was loaded before stays in use");
        })?;
        let report = anew.report();
        self.surroundings.take_over(&anew.config);
        let (reloadable, read) = (&anew.loaded.reloadable, &anew.config);
        let (taken, all_taken) = channel();
        self.send_all(|| External::Reload {
            config: read.clone(),
            reloadable: reloadable.clone(),
            taken_over: taken.clone(),
        });
        drop(taken);
        // Each executor lets go of its sender when it has taken over: what is said below holds everywhere.
        if all_taken.recv_timeout(TAKE_OVER_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("an executor has not taken over yet what was reloaded: it will when it comes to it");
        }
        *lock(&self.config) = anew.config.clone();
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(
            changed = report.changes.applied.join(", "),
            certificates = report.certificates,
            "reloaded: certificates and what has changed"
        );
        if !report.changes.needs_restart.is_empty() {
            tracing::warn!(
                keys = report.changes.needs_restart.join(", "),
                "changed in the file, and in force after a restart"
            );
        }
        Ok(report)
    }

    fn send_all(&self, what: impl Fn() -> External) {
        for shard in 0..self.shards as u16 {
            (self.send)(ShardId(shard), what());
        }
    }

    /// Ends the daemon in order, without waiting for its clients.
    pub fn end(&self) {
        *lock(&self.phase) = Phase::Ending;
        self.send_all(|| External::Shutdown);
    }

    /// Admits no new clients from now on, and ends the daemon when the last one has gone, or been ejected at the deadline
    /// (`drain_deadline_s`). Asked for again, it goes on as it had begun.
    ///
    /// # Errors
    /// [`DrainError`].
    pub fn drain(self: &Arc<Self>) -> Result<DrainStatus, DrainError> {
        let until = Instant::now() + self.config().admin.drain_deadline.unwrap_or(Admin::DRAIN_DEADLINE);
        let mut phase = lock(&self.phase);
        let status = |until: Instant, was_draining| DrainStatus {
            was_draining,
            seconds_left: until.saturating_duration_since(Instant::now()).as_secs_f64().ceil() as u64,
        };
        match *phase {
            Phase::Ending => return Err(DrainError::Ending),
            Phase::Draining { until } => return Ok(status(until, true)),
            Phase::Serving => {}
        }
        let control = self.clone();
        let thread = std::thread::Builder::new().name("drain".to_owned());
        thread.spawn(move || control.wait_for_clients(until)).map_err(|_| DrainError::Thread)?;
        *phase = Phase::Draining { until };
        Ok(status(until, false))
    }

    /// The course of a drain.
    fn wait_for_clients(&self, until: Instant) {
        tracing::info!(
            deadline_s = until.saturating_duration_since(Instant::now()).as_secs_f64().ceil() as u64,
            "draining: no new clients are admitted, the daemon ends when the last one has gone"
        );
        let (drained, reports): (Sender<()>, Receiver<()>) = channel();
        self.send_all(|| External::Drain { drained: drained.clone() });
        let busy = wait_for(&reports, self.shards, until);
        if busy > 0 {
            tracing::warn!("the deadline of the drain is over: the clients that are left are ejected");
            self.send_all(|| External::EjectDrained);
            if wait_for(&reports, busy, Instant::now() + EJECT_DEADLINE) > 0 {
                tracing::error!("an executor still has clients after all were ejected; the daemon ends anyway");
            }
            // An eject that is on its way has this long to be read.
            let linger = self.config().client_agents.iter().map(|agent| agent.eject_linger).max();
            std::thread::sleep(linger.unwrap_or_default());
        }
        std::thread::sleep(SETTLE);
        tracing::info!("drained");
        self.end();
    }
}

/// Waits for so many reports. How many have not come in time.
fn wait_for(reports: &Receiver<()>, count: usize, until: Instant) -> usize {
    for waited in 0..count {
        match reports.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return count - waited,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A file that says another version each time; a negative number of times left is a broken one.
    struct Files(Mutex<Vec<Result<u32, String>>>);

    impl Surroundings for Files {
        fn read(&self, running: &Config) -> Result<Anew, String> {
            let seconds = lock(&self.0).pop().expect("no further reload")?;
            let mut read = running.clone();
            read.admin.drain_deadline = Some(Duration::from_secs(seconds.into()));
            let (config, changes) = crate::config::take_over(running, &read);
            let loaded = crate::reload::load(&config).expect("there are no certificates");
            Ok(Anew { config: Arc::new(config), loaded, changes })
        }

        fn take_over(&self, _: &Config) {}
    }

    /// What was sent to executors, by its kind.
    fn control(deadline: &str) -> (Arc<Control>, Receiver<(ShardId, External)>) {
        let text = format!("[admin]\n{deadline}\n[services.message_director]\n");
        let config = crate::config::parse(Path::new("/x/daemon.toml"), &text).expect("a valid file");
        let (sender, sent) = channel();
        let sender = Mutex::new(sender);
        let files = Files(Mutex::new(vec![Ok(9), Err("it is broken".to_owned())]));
        let control = Control::new(Arc::new(config), 2, files, move |shard, external| {
            let _ = lock(&sender).send((shard, external));
        });
        (control, sent)
    }

    fn next(sent: &Receiver<(ShardId, External)>) -> External {
        sent.recv_timeout(Duration::from_secs(60)).expect("something is sent").1
    }

    #[test]
    fn a_drain_ends_when_every_executor_has_lost_its_last_client() {
        let (control, sent) = control("drain_deadline_s = 600");
        assert_eq!(control.phase(), Phase::Serving);
        assert_eq!(control.drain(), Ok(DrainStatus { was_draining: false, seconds_left: 600 }));
        let asked = [next(&sent), next(&sent)];
        assert!(matches!(control.phase(), Phase::Draining { .. }));
        assert!(control.drain().is_ok_and(|status| status.was_draining));
        for external in asked {
            let External::Drain { drained } = external else { panic!("{external:?}") };
            drained.send(()).expect("somebody waits");
        }
        assert!(matches!(next(&sent), External::Shutdown));
        assert_eq!((control.phase(), control.drain()), (Phase::Ending, Err(DrainError::Ending)));
    }

    #[test]
    fn a_reload_reaches_every_executor_and_a_broken_file_reaches_nobody() {
        let (control, sent) = control("drain_deadline_s = 600");
        assert_eq!(control.reload(), Err("it is broken".to_owned()));
        assert!(sent.try_recv().is_err());
        assert_eq!(control.config().admin.drain_deadline, Some(Duration::from_secs(600)));
        let report = std::thread::scope(|scope| {
            let reload = scope.spawn(|| control.reload());
            let asked = (next(&sent), next(&sent));
            assert!(matches!(asked, (External::Reload { .. }, External::Reload { .. })));
            drop(asked.0);
            assert!(!reload.is_finished(), "one of them has not taken over");
            drop(asked.1);
            reload.join().expect("no panic").expect("a good file")
        });
        assert_eq!(report.changes.applied, ["[admin] drain_deadline_s"]);
        assert_eq!(control.config().admin.drain_deadline, Some(Duration::from_secs(9)));
    }

    #[test]
    fn at_the_deadline_clients_are_ejected_and_then_it_ends() {
        let (control, sent) = control("drain_deadline_s = 1");
        control.drain().expect("it is serving");
        let (External::Drain { drained }, External::Drain { drained: other }) = (next(&sent), next(&sent)) else {
            panic!("both executors are asked")
        };
        drained.send(()).expect("somebody waits");
        assert!(matches!((next(&sent), next(&sent)), (External::EjectDrained, External::EjectDrained)));
        other.send(()).expect("somebody waits");
        assert!(matches!(next(&sent), External::Shutdown));
    }
}
