//! What a running daemon takes over anew when it is told to (SIGHUP, `POST /api/reload`).
//!
//! All or nothing: everything is read and loaded before anything is replaced, and what cannot be used leaves everything as
//! it was. Which keys can change while a daemon runs is decided in [`crate::config::take_over`]. Nothing is shared between
//! executors: each is given its own references, in a message.

use crate::config::{Changes, Config};
use crate::transport::tls::{self, TlsError};
use rustls::pki_types::ServerName;
use serde::Serialize;
use std::sync::Arc;

/// What was loaded from files beside the configuration, for the executors.
#[derive(Clone, Debug, Default)]
pub struct Reloadable {
    /// The certificates of the Client Agents, in the order of the configuration; `None` where TLS is off.
    pub client_tls: Vec<Option<Arc<rustls::ServerConfig>>>,
    /// Of links that are accepted; `None` where they are plain.
    pub link_tls: Option<Arc<rustls::ServerConfig>>,
    /// Of the link upstream, with the name that its certificate must be for.
    pub upstream_tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
}

/// Something that was loaded, and what is worth a line in the log about it.
#[derive(Debug)]
pub struct Loaded {
    pub reloadable: Reloadable,
    pub warnings: Vec<String>,
}

/// What a running daemon is to go on with.
#[derive(Debug)]
pub struct Anew {
    /// What it runs with, with everything that has changed and can change.
    pub config: Arc<Config>,
    pub loaded: Loaded,
    pub changes: Changes,
}

/// What an operator is told of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub changes: Changes,
    /// Client Agents whose certificates were loaded anew, for new connections, and the Message Director if it has one.
    pub certificates: usize,
    pub warnings: Vec<String>,
}

/// Loads everything that the configuration names.
///
/// # Errors
/// [`TlsError`] with the first file that cannot be used.
pub fn load(config: &Config) -> Result<Loaded, TlsError> {
    let mut warnings = Vec::new();
    let mut client_tls = Vec::new();
    for agent in &config.client_agents {
        let loaded = agent.tls.as_ref().map(tls::server).transpose()?;
        client_tls.push(loaded.map(|mut loaded| {
            warnings.append(&mut loaded.warnings);
            loaded.config
        }));
    }
    let mut reloadable = Reloadable { client_tls, ..Reloadable::default() };
    if let Some(settings) = config.message_director.as_ref().and_then(|director| director.tls.as_ref()) {
        let mut loaded = tls::server(&settings.files)?;
        warnings.append(&mut loaded.warnings);
        reloadable.link_tls = Some(loaded.config);
        if let Some(name) = settings.upstream_name.as_ref().and_then(|name| ServerName::try_from(name.clone()).ok()) {
            reloadable.upstream_tls = Some((tls::client(&settings.files)?.config, name));
        }
    }
    Ok(Loaded { reloadable, warnings })
}

impl Anew {
    /// What there is to say about it.
    pub fn report(&self) -> Report {
        let reloadable = &self.loaded.reloadable;
        Report {
            changes: self.changes.clone(),
            certificates: reloadable.client_tls.iter().chain([&reloadable.link_tls]).flatten().count(),
            warnings: self.loaded.warnings.clone(),
        }
    }
}
