//! The hot paths, each as something to repeat: timed by the bench beside this file, counted in instructions by
//! `benches/instructions`.

#[path = "clients.rs"]
mod clients;
#[path = "routing.rs"]
mod routing;

use donet::config;
use donet::daemon::{Daemon, Shared};
use donet_dc::{Contract, Options, Source, TextPolicy};
use donet_shards::sim::World;
use std::path::Path;
use std::sync::Arc;

/// One hot path.
pub struct Work {
    pub name: String,
    /// Operations of one repetition: messages, deliveries, frames.
    pub operations: u64,
    pub repeat: Box<dyn FnMut()>,
}

impl Work {
    fn new(name: impl Into<String>, operations: u64, repeat: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), operations, repeat: Box::new(repeat) }
    }
}

pub fn all() -> Vec<Work> {
    let mut all = routing::all();
    all.extend(clients::all());
    all
}

/// A daemon in a simulated world.
fn world(contract: &[Source], config: &str, shards: usize) -> (World<Daemon>, Shared) {
    let contract = Contract::parse(contract, &Options::default()).expect("it is valid");
    let config = config::parse(Path::new("/bench/daemon.toml"), config).unwrap_or_else(|error| panic!("{error}"));
    let shared = Shared {
        config: Arc::new(config),
        contract: Arc::new(contract),
        text: TextPolicy::Utf8,
        databases: Vec::new(),
        reloadable: Default::default(),
        fan_outs: Default::default(),
    };
    (World::new(1, shards, 64, |shard| Daemon::new(shared.clone(), shard, shards)), shared)
}
