//! Starting and ending the daemon.
//!
//! Decides the order in which its parts come up and go down. Whatever cannot work is found here, before the first
//! message, and told with its remedy; after the banner nothing is left that could refuse.

mod banner;
mod contract;
mod database;
mod memory;
mod outside;
mod placement;
mod surroundings;

use crate::admin::{AdminServer, Identity, Inspector};
use crate::config::{self, Config};
use crate::control::{Control, Phase};
use crate::daemon::{Daemon, External, LINK_ACCEPTOR, LINK_LISTENER, Shared, client_listener};
use crate::database_server::{Engine, EngineHandle};
use crate::event_logger::{EventLoggerServer, RunningEventLogger};
use crate::reload;
use crate::state_server::FanOutLimits;
use banner::Banner;
pub use database::{OneDatabase, one_database};
use donet_shards::runtime::{Executors, Injector, Placed, start as start_executors};
use donet_shards::{ListenerId, ShardId};
use outside::{Outside, init_logging};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Signals that come closer together are one request.
const SAME_REQUEST: Duration = Duration::from_millis(100);

/// Why the daemon does not start, or ended badly: a text for the operator, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BootError(pub String);

fn refuse(error: impl std::fmt::Display) -> BootError {
    BootError(error.to_string())
}

/// Runs the daemon of one configuration file until it is told to end.
///
/// # Errors
/// [`BootError`] when it cannot start, or when an executor ended by itself.
pub fn run(file: &Path) -> Result<(), BootError> {
    let config = config::load(file).map_err(refuse)?;
    let set_log_level = init_logging(&config.daemon.log_level)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let contract = contract::load(&config.global)?;
    contract.check_classes(&config)?;
    let placement = placement::choose(&config.shards)?;
    for note in surroundings::check(&config).map_err(refuse)? {
        tracing::warn!("{note}");
    }

    let loaded = reload::load(&config).map_err(refuse)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }

    let listeners = bind_listeners(&config, placement.shards())?;
    let admin = bind_admin(&config)?;
    let mut event_loggers = Vec::new();
    for settings in &config.event_loggers {
        event_loggers.push(EventLoggerServer::bind(settings).map_err(refuse)?);
    }
    let injector: Arc<OnceLock<Injector<External>>> = Arc::default();
    let databases = open_databases(&config, &contract, &injector)?;
    let sinks = start_sinks(&config, &contract, &databases)?;

    let mut banner = Banner::new(&config, &contract.contract, &placement);
    for listener in &listeners {
        banner.listener(listener.role, listener.address);
    }
    let mut running_loggers = Vec::new();
    for logger in event_loggers {
        let running = logger.start().map_err(refuse)?;
        banner.listener("event_logger", running.local_addr());
        running_loggers.push(running);
    }

    if let Some(listener) = &admin {
        banner.listener("admin", listener.local_addr().map_err(refuse)?);
    }

    let config = Arc::new(config);
    let shared = Shared {
        config: config.clone(),
        contract: contract.contract.clone(),
        text: contract.text,
        databases: databases.clone(),
        reloadable: loaded.reloadable,
        fan_outs: FanOutLimits::default(),
    };
    let shards = placement.shards();
    let placed =
        listeners.into_iter().map(|listener| Placed { shard: listener.shard, value: (listener.id, listener.socket) });
    let executors = start_executors::<Daemon, _>(&placement, placed.collect(), |shard, own_injector| {
        let _ = injector.set(own_injector);
        let shared = shared.clone();
        move || Daemon::new(shared, shard, shards)
    })
    .map_err(refuse)?;
    let logger_figures = running_loggers.iter().map(RunningEventLogger::figures).collect();
    let running_loggers = Arc::new(Mutex::new(running_loggers));
    let control = {
        let outside = Outside {
            file: file.to_owned(),
            dc_hash: contract.contract.hash(),
            set_log_level,
            event_loggers: running_loggers.clone(),
        };
        let injector = executors.injector().clone();
        Control::new(config.clone(), shards, outside, move |shard, external| injector.send(shard, external))
    };
    let admin = admin
        .map(|listener| {
            let injector = executors.injector().clone();
            let inspector = Inspector::new(shards, move |shard, inspection| {
                injector.send(shard, External::Inspect(inspection));
            });
            AdminServer::start(
                listener,
                identity(&config, contract.contract.hash()),
                inspector,
                control.clone(),
                logger_figures,
            )
        })
        .transpose()
        .map_err(refuse)?;
    let stop = serve_signals(control)?;
    memory::look_after().map_err(refuse)?;
    print!("{banner}");

    let badly = wait(executors, shards);
    stop.close();
    if let Some(admin) = admin {
        admin.stop();
    }
    drop(shared);
    for sink in sinks {
        sink.stop();
    }
    for database in databases {
        database.shutdown();
    }
    for logger in running_loggers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        logger.stop();
    }
    match badly {
        None => {
            tracing::info!("ended in order");
            Ok(())
        }
        Some(text) => Err(BootError(text)),
    }
}

/// Reads and checks a configuration and its DC files without starting anything.
///
/// # Errors
/// As [`run`].
pub fn check(file: &Path) -> Result<(), BootError> {
    let config = config::load(file).map_err(refuse)?;
    let contract = contract::load(&config.global)?;
    contract.check_classes(&config)?;
    placement::choose(&config.shards)?;
    let loaded = reload::load(&config).map_err(refuse)?;
    for warning in config.warnings.iter().chain(&loaded.warnings) {
        println!("warning: {warning}");
    }
    println!("{}: no fault found (DC hash 0x{:08x})", file.display(), contract.contract.hash());
    Ok(())
}

/// A listening socket and where it is served.
struct Listener {
    role: &'static str,
    id: ListenerId,
    shard: ShardId,
    address: SocketAddr,
    socket: TcpListener,
}

/// Binds every port before any executor starts, so that a refusal costs nothing.
fn bind_listeners(config: &Config, shards: usize) -> Result<Vec<Listener>, BootError> {
    let mut listeners = Vec::new();
    let mut bind = |role, id, shard, address| -> Result<(), BootError> {
        let socket = surroundings::listen(address).map_err(|error| BootError(format!("{role}: {error}")))?;
        let address = socket.local_addr().map_err(refuse)?;
        listeners.push(Listener { role, id, shard, address, socket });
        Ok(())
    };
    for &address in config.message_director.iter().flat_map(|director| &director.bind) {
        bind("message_director", LINK_LISTENER, LINK_ACCEPTOR, address)?;
    }
    for (index, agent) in config.client_agents.iter().enumerate() {
        let home = crate::client_agent::pool_home(&agent.channels, shards);
        bind("client_agent", client_listener(index as u8), home, agent.bind)?;
    }
    Ok(listeners)
}

fn bind_admin(config: &Config) -> Result<Option<TcpListener>, BootError> {
    let listen = |address| surroundings::listen(address).map_err(|error| BootError(format!("admin: {error}")));
    let listener = config.admin.bind.map(listen).transpose()?;
    if let Some(address) = config.admin.bind.filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(%address, "[admin] bind: whoever reaches this address sees every session and object");
    }
    Ok(listener)
}

fn identity(config: &Config, dc_hash: u32) -> Identity {
    Identity {
        name: config.daemon.name.clone(),
        id: config.daemon.id,
        version: env!("CARGO_PKG_VERSION"),
        dc_hash: format!("{dc_hash:08x}"),
        pid: std::process::id(),
    }
}

fn open_databases(
    config: &Config,
    contract: &contract::Loaded,
    injector: &Arc<OnceLock<Injector<External>>>,
) -> Result<Vec<EngineHandle>, BootError> {
    let mut databases = Vec::new();
    for (index, settings) in config.database_servers.iter().enumerate() {
        let injector = injector.clone();
        let server = index as u8;
        let complete = move |shard: ShardId, completion| {
            // Completions answer requests, and those come from executors: the injector has been set.
            if let Some(injector) = injector.get() {
                injector.send(shard, External::Database { server, completion });
            }
        };
        let text = contract.text_for(settings);
        let engine = Engine::open(server, settings, contract.contract.clone(), &text, Box::new(complete));
        databases.push(engine.map_err(refuse)?);
    }
    Ok(databases)
}

/// Mirrors the databases that are to be.
#[cfg(feature = "sql")]
fn start_sinks(
    config: &Config,
    contract: &contract::Loaded,
    databases: &[EngineHandle],
) -> Result<Vec<crate::sql_sink::SqlSink>, BootError> {
    let mut sinks = Vec::new();
    for (index, (settings, database)) in config.database_servers.iter().zip(databases).enumerate() {
        let Some(sink) = &settings.sql_sink else { continue };
        let reader = database.outbox_reader(contract.contract.clone()).map_err(refuse)?;
        let started = crate::sql_sink::SqlSink::start(index as u8, sink.target.clone(), reader);
        sinks.push(started.map_err(|error| BootError(format!("no thread for the SQL sink: {error}")))?);
    }
    Ok(sinks)
}

/// A configuration that asks for one has been refused.
#[cfg(not(feature = "sql"))]
fn start_sinks(_: &Config, _: &contract::Loaded, _: &[EngineHandle]) -> Result<Vec<NoSink>, BootError> {
    Ok(Vec::new())
}

#[cfg(not(feature = "sql"))]
enum NoSink {}

#[cfg(not(feature = "sql"))]
impl NoSink {
    fn stop(self) {
        match self {}
    }
}

/// Takes over what has changed, in a thread of its own: names that do not resolve take long, and the next signal may be
/// the one to end.
fn reload_beside(control: &Arc<Control>) {
    let control = control.clone();
    // The log has the outcome, either way.
    let reload = move || drop(control.reload());
    if let Err(error) = std::thread::Builder::new().name("reload".to_owned()).spawn(reload) {
        tracing::error!(%error, "nothing was reloaded: there is no thread for it");
    }
}

/// SIGTERM and SIGINT end the daemon in order; a second one ends it at once. With a `drain_deadline_s`, SIGTERM drains it
/// first, and the second one ends it without waiting for clients. SIGUSR1 drains it. SIGHUP takes over anew what can be.
fn serve_signals(control: Arc<Control>) -> Result<signal_hook::iterator::Handle, BootError> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        .map_err(|error| BootError(format!("signals cannot be watched: {error}")))?;
    let handle = signals.handle();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut asked: Option<Instant> = None;
            for signal in signals.forever() {
                match signal {
                    SIGHUP => {
                        reload_beside(&control);
                        continue;
                    }
                    SIGUSR1 => {
                        drain(&control);
                        continue;
                    }
                    // `timeout` and some supervisors signal the process and its group: that is one request.
                    _ if asked.is_some_and(|asked: Instant| asked.elapsed() < SAME_REQUEST) => continue,
                    _ => asked = Some(Instant::now()),
                }
                match control.phase() {
                    Phase::Serving if signal == SIGTERM && control.config().admin.drain_deadline.is_some() => {
                        drain(&control);
                    }
                    Phase::Serving => {
                        tracing::info!("ending: a second signal ends at once");
                        control.end();
                    }
                    Phase::Draining { .. } => {
                        tracing::info!("ending without waiting for clients any longer: the next signal ends at once");
                        control.end();
                    }
                    Phase::Ending => {
                        tracing::warn!("ended at once by a second signal");
                        std::process::exit(128 + signal);
                    }
                }
            }
        })
        .map_err(|error| BootError(format!("no thread for signals: {error}")))?;
    Ok(handle)
}

fn drain(control: &Arc<Control>) {
    if let Err(error) = control.drain() {
        tracing::warn!(%error, "no drain");
    }
}

fn stop_all(injector: &Injector<External>, shards: usize) {
    for shard in 0..shards as u16 {
        injector.send(ShardId(shard), External::Shutdown);
    }
}

/// Waits for the end. Some text when an executor ended badly; the others are told to end then.
fn wait(executors: Executors<External>, shards: usize) -> Option<String> {
    executors.wait_for_first_end();
    stop_all(executors.injector(), shards);
    let badly = executors.join();
    (!badly.is_empty()).then(|| badly.join("; "))
}
