//! One database of a configuration, for commands that look at its folder without starting a daemon.

use super::{BootError, contract, refuse};
use crate::config;
use crate::database_server::ContractText;
use donet_dc::{Contract, TextPolicy};
use std::path::Path;
use std::sync::Arc;

/// What it takes to open a database folder.
pub struct OneDatabase {
    pub settings: config::DatabaseServer,
    pub contract: Arc<Contract>,
    pub text: ContractText,
    pub policy: TextPolicy,
}

/// Reads a configuration and its DC files; of several database servers the one with this control channel.
///
/// # Errors
/// [`BootError`] when they are wrong, or there is no such database server.
pub fn one_database(file: &Path, control_channel: Option<u64>) -> Result<OneDatabase, BootError> {
    let config = config::load(file).map_err(refuse)?;
    let contract = contract::load(&config.global)?;
    let channels: Vec<String> =
        config.database_servers.iter().map(|settings| settings.control_channel.to_string()).collect();
    let mut chosen = config
        .database_servers
        .into_iter()
        .filter(|settings| control_channel.is_none_or(|channel| channel == settings.control_channel));
    let settings = chosen.next().ok_or_else(|| {
        BootError(match channels.len() {
            0 => format!("{} has no [services.database_server]", file.display()),
            _ => format!(
                "{} has no such database server; their control channels: {}",
                file.display(),
                channels.join(", ")
            ),
        })
    })?;
    if chosen.next().is_some() {
        let channels = channels.join(", ");
        return Err(BootError(format!(
            "{} has several database servers: choose one with --database CHANNEL, of {channels}",
            file.display()
        )));
    }
    let text = contract.text_for(&settings);
    Ok(OneDatabase { settings, text, policy: contract.text, contract: contract.contract })
}
