//! Reading the DC files.

use super::BootError;
use crate::config::{Config, DatabaseServer, Global, Text};
use crate::database_server::ContractText;
use donet_dc::{Contract, Options, Source, TextPolicy};
use std::sync::Arc;

/// The contract, and what its strings may hold.
pub(super) struct Loaded {
    pub contract: Arc<Contract>,
    pub text: TextPolicy,
    /// What it was read from.
    pub sources: Vec<Source>,
    pub options: Options,
}

/// Reads and parses the DC files in the order of the configuration.
pub(super) fn load(global: &Global) -> Result<Loaded, BootError> {
    let mut sources = Vec::new();
    for path in &global.dc_files {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|error| BootError(format!("DC file {name}: {error}")))?;
        sources.push(Source { name, text });
    }
    let options = Options {
        multiple_inheritance: global.dc_multiple_inheritance,
        sort_inheritance_by_file: global.dc_sort_inheritance_by_file,
        virtual_inheritance: global.dc_virtual_inheritance,
    };
    let contract = Contract::parse(&sources, &options).map_err(|diagnostics| BootError(diagnostics.to_string()))?;
    let text = match global.text {
        Text::Utf8 => TextPolicy::Utf8,
        Text::Ascii => TextPolicy::Ascii,
        Text::Bytes => TextPolicy::Bytes,
    };
    Ok(Loaded { contract: Arc::new(contract), text, sources, options })
}

impl Loaded {
    /// What a database keeps beside its data.
    pub(super) fn text_for(&self, settings: &DatabaseServer) -> ContractText {
        ContractText { sources: self.sources.clone(), options: self.options, renames: settings.renames.clone() }
    }

    /// Every class that the configuration names must be in the DC files.
    pub(super) fn check_classes(&self, config: &Config) -> Result<(), BootError> {
        let uberdogs = config.uberdogs.iter().map(|uberdog| (format!("[[uberdogs]] {}", uberdog.id), &uberdog.class));
        let avatars = config.client_agents.iter().filter_map(|agent| agent.avatar_class.as_ref());
        let avatars = avatars.map(|class| ("[services.client_agent] avatar_class".to_owned(), class));
        for (place, class) in uberdogs.chain(avatars) {
            if self.contract.class_by_name(class).is_none() {
                let known: Vec<&str> = self.contract.classes().map(|class| class.name()).collect();
                return Err(BootError(format!(
                    "{place}: no class {class:?} in the DC files; they declare: {}",
                    known.join(", ")
                )));
            }
        }
        Ok(())
    }
}
