//! The tables and keys of the file, with their defaults (`spec/config.md`). Ranges and references between tables are
//! checked in [`super::load`].

use crate::database_server::Renames;
use crate::wire::{Channel, Doid, Zone};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The most executors of one daemon (`donet_shards` keeps sets of executors as bits of this many).
pub const SHARD_COUNT_MAX: usize = 128;

/// A checked configuration: every default filled in, every path absolute, every address resolved.
#[derive(Clone, Debug)]
pub struct Config {
    pub daemon: Daemon,
    pub global: Global,
    pub shards: Shards,
    pub admin: Admin,
    pub uberdogs: Vec<Uberdog>,
    pub message_director: Option<MessageDirector>,
    pub client_agents: Vec<ClientAgent>,
    pub state_servers: Vec<StateServer>,
    pub database_servers: Vec<DatabaseServer>,
    pub database_state_servers: Vec<DatabaseStateServer>,
    pub event_loggers: Vec<EventLogger>,
    /// What was accepted but is worth a line in the log.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Daemon {
    pub name: String,
    pub id: Option<u32>,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a tracing filter.
    pub log_level: String,
}

#[derive(Clone, Debug)]
pub struct Global {
    pub eventlogger: Option<SocketAddr>,
    pub dc_files: Vec<PathBuf>,
    pub dc_multiple_inheritance: bool,
    pub dc_sort_inheritance_by_file: bool,
    pub dc_virtual_inheritance: bool,
    pub text: Text,
}

/// What strings may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    Utf8,
    Ascii,
    Bytes,
}

#[derive(Clone, Debug)]
pub struct Shards {
    pub count: ShardCount,
    pub pin: bool,
    /// The CPUs to use, in order; empty = those that the process may use.
    pub cpus: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardCount {
    Auto,
    Count(usize),
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub bind: Option<SocketAddr>,
    pub token: Option<String>,
    /// How long a drain waits for the clients to go by themselves; without it [`Admin::DRAIN_DEADLINE`], and SIGTERM ends
    /// the daemon without a drain.
    pub drain_deadline: Option<Duration>,
}

impl Admin {
    /// Of a drain that somebody asks for where the file says nothing.
    pub const DRAIN_DEADLINE: Duration = Duration::from_secs(300);
}

/// An object that exists by configuration (`protocol-md-ca-el.md` §3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uberdog {
    pub id: Doid,
    pub class: String,
    pub anonymous: bool,
}

#[derive(Clone, Debug)]
pub struct MessageDirector {
    pub bind: Vec<SocketAddr>,
    pub upstream: Option<SocketAddr>,
    pub upstream_reconnect: bool,
    pub link_budget_bytes: usize,
    pub link_stall_timeout: Duration,
    /// CIDR blocks that may connect; empty = all.
    pub allow: Vec<Cidr>,
    pub tls: Option<LinkTls>,
}

/// TLS of links: those that are accepted, and the one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTls {
    pub files: Tls,
    /// The name, or the address, that the certificate of the upstream Message Director must be for; there is one
    /// wherever there is an upstream.
    pub upstream_name: Option<String>,
    /// CIDR blocks whose processes speak plain TCP.
    pub plain_from: Vec<Cidr>,
    /// From the connection on.
    pub handshake_timeout: Duration,
}

/// A block of addresses: those that share the first `prefix_bits` bits with `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: std::net::IpAddr,
    pub prefix_bits: u8,
}

#[derive(Clone, Debug)]
pub struct ClientAgent {
    pub bind: SocketAddr,
    /// Binary WebSocket messages instead of bare TCP.
    pub websocket: bool,
    /// A PROXY header comes first.
    pub haproxy: bool,
    pub proxy_timeout: Duration,
    /// For TLS and WebSocket together, from the PROXY header or the connection on.
    pub handshake_timeout: Duration,
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub version_string: String,
    pub dc_file_hash: Option<u32>,
    pub channels: RangeInclusive<Channel>,
    pub relocate: bool,
    pub interest_permission: InterestPermission,
    pub send_hash: bool,
    pub send_version: bool,
    /// 0 = no limit.
    pub write_buffer_bytes: usize,
    pub write_timeout: Option<Duration>,
    pub heartbeat_timeout: Option<Duration>,
    pub interest_timeout: Duration,
    pub auth_timeout: Option<Duration>,
    pub historical_ttl: Option<Duration>,
    /// Zones that clients may open; empty = all.
    pub interest_zones_allow: Vec<RangeInclusive<Zone>>,
    pub interest_zones_deny: Vec<RangeInclusive<Zone>>,
    /// Of owned objects around which parents' rules keep zones open.
    pub avatar_class: Option<String>,
    pub leaving_owner: bool,
    pub strict_entrance: bool,
    pub eject_linger: Duration,
    pub channel_quarantine: Duration,
    pub flush_delay: Duration,
}

/// Certificates of one end of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM; may hold the chain behind the certificate.
    pub certificate: PathBuf,
    pub key_file: PathBuf,
    pub chain_file: Option<PathBuf>,
    /// Who must have signed the peer's certificate; without it a listener asks for none.
    pub cert_authority: Option<PathBuf>,
}

/// What one client, and one address, may take of a Client Agent. 0 and `None` = no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Received; bursts of some seconds are forgiven.
    pub bytes_per_second: u32,
    /// Received, heartbeats aside.
    pub messages_per_second: u32,
    pub interests: u32,
    /// Of all interests together.
    pub zones: u32,
    pub visible_objects: u32,
    /// Connections of one agent that have not said CLIENT_HELLO yet.
    pub handshakes: u32,
    /// Connections of one IPv4 address, or of one IPv6 /64 network.
    pub connections_per_address: u32,
    /// From the connection, or the end of its handshakes, to CLIENT_HELLO.
    pub hello_timeout: Option<Duration>,
    /// Without a byte of the client.
    pub idle_timeout: Option<Duration>,
}

impl Limits {
    pub(super) const HELLO_TIMEOUT_MS: u64 = 60_000;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_per_second: 1 << 20,
            messages_per_second: 2000,
            interests: 4096,
            zones: 16_376,
            visible_objects: 1 << 16,
            handshakes: 20_000,
            connections_per_address: 0,
            hello_timeout: Some(Duration::from_millis(Self::HELLO_TIMEOUT_MS)),
            idle_timeout: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterestPermission {
    Enabled,
    Visible,
    Disabled,
}

#[derive(Clone, Debug)]
pub struct StateServer {
    pub control_channel: Channel,
}

#[derive(Clone, Debug)]
pub struct DatabaseServer {
    pub control_channel: Channel,
    pub generate: RangeInclusive<Doid>,
    pub broadcast: bool,
    pub directory: PathBuf,
    pub durability: Durability,
    /// Bytes of what was read or set lately that all executors together keep in memory; 0 = nothing.
    pub cache_bytes: usize,
    /// Classes and fields that were renamed in the DC files.
    pub renames: Renames,
    /// `None` = what is stored is not mirrored.
    pub sql_sink: Option<SqlSink>,
}

/// A SQL database that mirrors what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlSink {
    pub target: SqlTarget,
    /// Bytes of changes that may wait for it on the disk.
    pub outbox_bytes_max: u64,
}

/// Which SQL database.
#[derive(Clone, PartialEq, Eq)]
pub enum SqlTarget {
    /// A connection string; it may hold a password.
    Postgres(String),
    /// The path of a file.
    Sqlite(PathBuf),
}

impl std::fmt::Debug for SqlTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SqlTarget::Postgres(_) => f.write_str("Postgres(…)"),
            SqlTarget::Sqlite(path) => write!(f, "Sqlite({})", path.display()),
        }
    }
}

/// When a write counts as done (`spec/config.md`, `durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// An answer means that it is on disk.
    Sync,
    /// At most so long may be lost.
    Interval(Duration),
    /// The operating system writes when it likes.
    Os,
}

#[derive(Clone, Debug)]
pub struct DatabaseStateServer {
    pub db_channel: Channel,
    pub ranges: Vec<RangeInclusive<Doid>>,
    pub activate_on_location: bool,
    pub follow_database: bool,
    pub load_timeout: Duration,
    pub load_queue_max: usize,
}

#[derive(Clone, Debug)]
pub struct EventLogger {
    pub bind: SocketAddr,
    pub output: PathBuf,
    pub log_format: String,
    /// `None` = never.
    pub rotate_interval: Option<Duration>,
    /// `None` = no limit.
    pub file_bytes_max: Option<u64>,
}
