//! What of a daemon is no executor's and can change while it runs: its log and its Event Loggers; and reading its files
//! anew.

use super::{BootError, contract, refuse};
use crate::config::{self, Config};
use crate::control::Surroundings;
use crate::event_logger::RunningEventLogger;
use crate::reload::{self, Anew};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;

/// Sets the level of the log, or its filter.
pub(super) type SetLogLevel = Box<dyn Fn(&str) + Send + Sync>;

/// Begins to log to standard error.
pub(super) fn init_logging(level: &str) -> Result<SetLogLevel, BootError> {
    use std::io::IsTerminal;
    let filter =
        EnvFilter::try_new(level).map_err(|error| BootError(format!("[daemon] log_level {level:?}: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    let _ = builder.try_init();
    Ok(Box::new(move |level| {
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string());
        // The configuration has looked at it.
        let set = filter.and_then(|filter| handle.reload(filter).map_err(|error| error.to_string()));
        if let Err(error) = set {
            tracing::error!(level, error, "the log stays as it was");
        }
    }))
}

pub(super) struct Outside {
    pub file: PathBuf,
    /// Of the contract that the daemon runs with.
    pub dc_hash: u32,
    pub set_log_level: SetLogLevel,
    /// In the order of the configuration.
    pub event_loggers: Arc<Mutex<Vec<RunningEventLogger>>>,
}

impl Outside {
    fn read_anew(&self, running: &Config) -> Result<Anew, BootError> {
        let read = config::load(&self.file).map_err(refuse)?;
        let contract = contract::load(&read.global)?;
        contract.check_classes(&read)?;
        let (config, mut changes) = config::take_over(running, &read);
        if contract.contract.hash() != self.dc_hash && read.global.dc_files == running.global.dc_files {
            changes.needs_restart.push("[global] dc_files (what stands in them)".to_owned());
        }
        let mut loaded = reload::load(&config).map_err(refuse)?;
        loaded.warnings.extend(read.warnings);
        Ok(Anew { config: Arc::new(config), loaded, changes })
    }
}

impl Surroundings for Outside {
    fn read(&self, running: &Config) -> Result<Anew, String> {
        self.read_anew(running).map_err(|error| error.to_string())
    }

    fn take_over(&self, config: &Config) {
        (self.set_log_level)(&config.daemon.log_level);
        let loggers = self.event_loggers.lock().unwrap_or_else(PoisonError::into_inner);
        for (logger, settings) in loggers.iter().zip(&config.event_loggers) {
            logger.reload(settings);
        }
    }
}
