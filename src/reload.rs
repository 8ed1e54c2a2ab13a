//! What a running daemon takes over anew when it is told to (SIGHUP).
//!
//! All or nothing: everything is loaded before anything is replaced, and what cannot be loaded leaves everything as it
//! was. Nothing of it is shared: each executor is given its own copy of the references, in a message.

use crate::config::Config;
use crate::transport::tls::{self, TlsError};
use std::sync::Arc;

/// Everything that can be replaced while the daemon runs.
#[derive(Clone, Debug, Default)]
pub struct Reloadable {
    /// The certificates of the Client Agents, in the order of the configuration; `None` where TLS is off.
    pub client_tls: Vec<Option<Arc<rustls::ServerConfig>>>,
}

/// Something that was loaded, and what is worth a line in the log about it.
#[derive(Debug)]
pub struct Loaded {
    pub reloadable: Reloadable,
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
    Ok(Loaded { reloadable: Reloadable { client_tls }, warnings })
}
