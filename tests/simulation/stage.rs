//! Whole daemons in a simulated world, with every role; what is stored is stored in memory.

use donet::config::{self, Config};
use donet::daemon::{Daemon, Shared};
use donet::database_server::{EngineHandle, SteppedEngine};
use donet::state_server::FanOutLimits;
use donet::wire::Doid;
use donet_dc::{Contract, Options, Source, TextPolicy};
use donet_shards::ShardId;
use donet_shards::sim::{DaemonId, Shape, World};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

/// The roles of [`Stage::whole`]. Client Agents come last, for a play to add to.
const CONFIG: &str = r#"
[global]
dc_multiple_inheritance = true
[services.message_director]
bind = "127.0.0.1:7199"
[services.state_server]
control_channel = 102000
[services.client_agent]
bind = "127.0.0.1:7198"
version_string = "sim"
channel_min = 1000000
channel_max = 1000999
interest_permission = "enabled"
"#;

/// What the daemons of a world have in common.
#[derive(Clone)]
pub struct Stage {
    config: Arc<Config>,
    contract: Arc<Contract>,
    fan_outs: FanOutLimits,
    databases: Vec<EngineHandle>,
}

impl Stage {
    /// A daemon of every role that needs no disk, with further settings of its Client Agents.
    #[allow(dead_code, reason = "not every simulated world has all roles")]
    pub fn whole(contract: &str, client_agents: &str) -> Self {
        Self::new(contract, &format!("{CONFIG}{client_agents}"))
    }

    /// # Panics
    /// When one of the two texts is wrong.
    pub fn new(contract: &str, config: &str) -> Self {
        let sources = [Source { name: "sim.dc".into(), text: contract.into() }];
        let contract = Contract::parse(&sources, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        let config = config::parse(Path::new("/sim/daemon.toml"), config).unwrap_or_else(|error| panic!("{error}"));
        let (config, contract) = (Arc::new(config), Arc::new(contract));
        Self { config, contract, fan_outs: FanOutLimits::default(), databases: Vec::new() }
    }

    /// With a database in memory for its Database Server, which has such a pool of doids. It writes when it is told to.
    #[allow(dead_code, reason = "not every simulated world stores something")]
    pub fn storing(self, pool: RangeInclusive<Doid>) -> (Self, SteppedEngine) {
        let engine = SteppedEngine::new(self.contract.clone(), pool);
        (Self { databases: vec![engine.handle()], ..self }, engine)
    }

    /// With other slices of what is for many objects.
    #[allow(dead_code, reason = "not every simulated world is small")]
    pub fn sliced(self, fan_outs: FanOutLimits) -> Self {
        Self { fan_outs, ..self }
    }

    /// A world of one daemon.
    pub fn world(&self, seed: u64, shape: Shape) -> World<Daemon> {
        World::shaped(seed, shape, self.executors(shape))
    }

    /// A further daemon of a world.
    #[allow(dead_code, reason = "not every world has several")]
    pub fn join(&self, world: &mut World<Daemon>, shape: Shape) -> DaemonId {
        world.add_daemon(shape, self.executors(shape))
    }

    /// Starts a daemon again that has crashed.
    #[allow(dead_code, reason = "not in every world daemons crash")]
    pub fn restart(&self, world: &mut World<Daemon>, daemon: DaemonId, shape: Shape) {
        world.restart(daemon, shape, self.executors(shape));
    }

    fn executors(&self, shape: Shape) -> impl FnMut(ShardId) -> Daemon {
        let shared = Shared {
            config: self.config.clone(),
            contract: self.contract.clone(),
            text: TextPolicy::Utf8,
            databases: self.databases.clone(),
            reloadable: Default::default(),
            fan_outs: self.fan_outs,
        };
        move |shard| Daemon::new(shared.clone(), shard, shape.shards)
    }

    /// The hash that clients say hello with.
    #[allow(dead_code, reason = "not every world has clients")]
    pub fn hash(&self) -> u32 {
        self.contract.hash()
    }

    /// The executor that accepts for the first Client Agent.
    #[allow(dead_code, reason = "not every world has clients")]
    pub fn home(&self, shards: usize) -> ShardId {
        donet::client_agent::pool_home(&self.config.client_agents[0].channels, shards)
    }
}
