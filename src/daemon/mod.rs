//! One executor of the daemon: its partition of every role, and the one place where their actions are carried out.
//!
//! Decides which role gets what, in which order, and what a role's failure costs. It holds no role's state and knows no
//! message but by the channel that it is addressed to.

mod actions;
mod at_once;
mod back_pressure;
mod deliver;
mod drain;
mod inspection;
mod link_load;
mod link_tls;
mod links;
mod message;
mod runs;
mod transports;
mod upstream;

pub use back_pressure::Source;
pub use message::{External, Message, Timer};

use crate::client_agent::{ClientAgents, Origin};
use crate::config::Config;
use crate::database_server::{DatabaseServer, EngineHandle};
use crate::database_state_server::DatabaseStateServer;
use crate::message_director::{Homes, PostRemoves, Receivers, Router};
use crate::outbox::{Action, Outbox, Participant, RoleMessage, RoleTimer};
use crate::reason::Reason;
use crate::reload::Reloadable;
use crate::state_server::{FanOutLimits, StateServer};
use crate::wire::Channel;
use back_pressure::BackPressure;
use donet_dc::{Contract, TextPolicy};
use donet_shards::{CloseCause, ConnectionId, Input, ListenerId, Shard, ShardId, Socket, Turn};
use hashbrown::HashMap;
use link_load::LinkTraffic;
use link_tls::TlsLinks;
use links::Links;
use std::sync::Arc;
use transports::{Then, Transports};
use upstream::{UPSTREAM_HOME, Upstream};

/// The listener of the Message Director; its accepted links are handed to the executor whose links have the least to do.
pub const LINK_LISTENER: ListenerId = ListenerId(0);
/// The executor that accepts links.
pub const LINK_ACCEPTOR: ShardId = ShardId(0);

/// The listener of a client agent.
pub fn client_listener(agent: u8) -> ListenerId {
    ListenerId(1 + u16::from(agent))
}

/// An executor that has so many batches of another one to take is behind: each may hold what a whole slice has caused.
const BEHIND_BATCHES: u64 = 4;
/// How long a slice waits until it looks again, in microseconds, and how often: it goes on under whatever load.
const SLICE_PAUSE_US: u64 = 200;
const SLICE_PAUSES_MAX: u32 = 25;

/// What the executors of one daemon have in common.
#[derive(Clone)]
pub struct Shared {
    pub config: Arc<Config>,
    pub contract: Arc<Contract>,
    pub text: TextPolicy,
    /// By the index of the database server.
    pub databases: Vec<EngineHandle>,
    pub reloadable: Reloadable,
    pub fan_outs: FanOutLimits,
}

/// What a connection of this executor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Link,
    /// A link through TLS, up or not.
    TlsLink,
    Upstream,
    TlsUpstream,
    Client,
    /// A client with layers around its bytes.
    Wrapped,
}

/// One executor's part of the daemon.
pub struct Daemon {
    shared: Shared,
    router: Router,
    receivers: Receivers,
    /// Sessions among the receivers of the datagram at hand; kept for its memory.
    sessions: Vec<Channel>,
    post_removes: PostRemoves,
    owners: HashMap<ConnectionId, Owner>,
    links: Links,
    tls_links: TlsLinks,
    link_traffic: LinkTraffic,
    transports: Transports,
    has_upstream: bool,
    is_ending: bool,
    drain: drain::Drain,
    /// On the executor that owns the link.
    upstream: Option<Upstream>,
    back_pressure: BackPressure,
    /// The connection whose bytes are the cause of what is being handled.
    source: Option<Source>,
    client_agents: ClientAgents,
    state_server: StateServer,
    /// How often the slice that is due has waited.
    slice_pauses: u32,
    database_servers: Vec<DatabaseServer>,
    database_state_servers: Vec<DatabaseStateServer>,
    outbox: Outbox,
    /// The actions at hand; kept for its memory.
    actions: Vec<Action>,
}

impl Daemon {
    pub fn new(shared: Shared, shard: ShardId, shards: usize) -> Self {
        let Shared { config, contract, text, fan_outs, .. } = &shared;
        let homes = Homes::new(config, shards);
        let databases = config.database_servers.iter().enumerate();
        let stored = config.database_state_servers.iter().enumerate();
        let director = config.message_director.as_ref();
        let has_upstream = director.is_some_and(|director| director.upstream.is_some());
        let links = Links::new(director, &shared.reloadable, shards);
        let mut outbox = Outbox::new(shard, shards);
        outbox.has_upstream = has_upstream;
        Self {
            has_upstream,
            is_ending: false,
            drain: drain::Drain::default(),
            upstream: director
                .filter(|_| shard == UPSTREAM_HOME)
                .and_then(|director| Upstream::new(director, links.options(), &shared.reloadable)),
            back_pressure: BackPressure::default(),
            source: None,
            router: Router::new(shard, shards, homes, has_upstream),
            receivers: Receivers::default(),
            sessions: Vec::new(),
            post_removes: PostRemoves::default(),
            owners: HashMap::new(),
            transports: Transports::new(&config.client_agents, &shared.reloadable),
            links,
            tls_links: TlsLinks::default(),
            link_traffic: LinkTraffic::default(),
            client_agents: ClientAgents::new(
                &config.client_agents,
                &config.uberdogs,
                contract.clone(),
                *text,
                shard,
                shards,
            ),
            state_server: StateServer::new(contract.clone(), *text, *fan_outs),
            slice_pauses: 0,
            database_servers: databases
                .map(|(index, settings)| {
                    DatabaseServer::new(index as u8, settings.clone(), contract.clone(), *text, shards)
                })
                .collect(),
            database_state_servers: stored
                .map(|(index, settings)| {
                    DatabaseStateServer::new(index as u8, settings.clone(), contract.clone(), *text)
                })
                .collect(),
            outbox,
            actions: Vec::new(),
            shared,
        }
    }

    fn on_accepted(&mut self, listener: ListenerId, socket: Socket, turn: &mut Turn<Self>) {
        if listener == LINK_LISTENER {
            self.accept_link(socket, turn);
        } else {
            let agent = (listener.0 - client_listener(0).0) as u8;
            self.client_agents.on_accepted(agent, socket, &mut self.outbox);
            self.carry_out(turn);
        }
    }

    fn adopt_client(&mut self, agent: u8, channel: Channel, socket: Socket, turn: &mut Turn<Self>) {
        if self.drain.is_over() {
            self.turn_away(agent, channel, turn);
            return;
        }
        let (peer, local) = (socket.peer, socket.local);
        let options = self.client_agents.connection_options(agent);
        if !self.transports.is_plain(agent) {
            self.wrap(agent, socket, options, Then::Adopt { channel, peer, local }, turn);
            return;
        }
        let connection = turn.attach(socket, options);
        self.owners.insert(connection, Owner::Client);
        self.client_agents.adopt(agent, channel, connection, Origin::direct(peer, local), &mut self.outbox);
        self.carry_out(turn);
    }

    fn on_closed(&mut self, connection: ConnectionId, cause: CloseCause, turn: &mut Turn<Self>) {
        match self.owners.remove(&connection) {
            Some(Owner::Link) => self.end_link(connection, links::reason_of(&cause), turn),
            Some(Owner::Upstream) => {
                self.relieve(connection, turn);
                self.on_upstream_lost(connection, links::reason_of(&cause), &links::what_of(&cause), turn);
            }
            Some(Owner::TlsLink | Owner::TlsUpstream) => self.tls_link_closed(connection, &cause, turn),
            Some(Owner::Client) => {
                self.client_agents.on_closed(connection, cause, &mut self.outbox);
                self.carry_out(turn);
            }
            Some(Owner::Wrapped) => self.wrapped_closed(connection, cause, turn),
            None => {}
        }
    }

    fn on_role_message(&mut self, from: ShardId, message: RoleMessage, turn: &mut Turn<Self>) {
        match message {
            RoleMessage::StateServer(message) => self.state_server.on_message(from, message, &mut self.outbox),
            RoleMessage::ClientAgent(message) => {
                self.client_agents.on_message(from, message, &mut self.outbox);
                self.drain.report(&self.client_agents);
            }
        }
        self.carry_out(turn);
    }

    fn on_timer(&mut self, timer: RoleTimer, turn: &mut Turn<Self>) {
        match timer {
            RoleTimer::StateServerSlice => self.slice_is_due(turn),
            RoleTimer::StateServerAiChanges => self.state_server.on_ai_period(&mut self.outbox),
            RoleTimer::LinkTraffic => self.report_link_traffic(turn),
            RoleTimer::EjectDrained => self.eject_drained(turn),
            RoleTimer::Handshake(connection) => self.handshake_timeout(connection, turn),
            RoleTimer::Client(timer) => self.client_agents.on_timer(timer, &mut self.outbox),
            RoleTimer::Dbss(timer) => {
                let index = timer.role as usize;
                if let Some(role) = self.database_state_servers.get_mut(index) {
                    role.on_timer(timer, &mut self.state_server, &mut self.outbox);
                }
            }
        }
        self.carry_out(turn);
    }

    /// Goes on with what is for many objects, unless another executor is behind: what a slice makes would only stand before
    /// whatever somebody waits for there, and the next slices before that.
    fn slice_is_due(&mut self, turn: &mut Turn<Self>) {
        let is_behind = turn.queues().ring_batches_max >= BEHIND_BATCHES;
        if is_behind && self.slice_pauses < SLICE_PAUSES_MAX {
            self.slice_pauses += 1;
            turn.timer(turn.now_us() + SLICE_PAUSE_US, RoleTimer::StateServerSlice);
            return;
        }
        self.slice_pauses = 0;
        self.state_server.on_slice(&mut self.outbox);
    }

    fn set_clocks(&mut self, turn: &Turn<Self>) {
        self.outbox.now_us = turn.now_us();
        self.outbox.unread_us = turn.unread_us();
    }

    fn on_effective(&mut self, participant: Participant, token: u64, turn: &mut Turn<Self>) {
        match participant {
            Participant::Link { shard, connection } if token == links::BARRIER => {
                self.router.subscriptions.release(participant);
                turn.send(shard, Message::BarrierPassed { connection });
            }
            Participant::Link { connection, .. } => self.read_on(connection, turn),
            Participant::Session(session) => {
                self.client_agents.on_subscribed(session, token, &mut self.outbox);
                self.carry_out(turn);
            }
            _ => {}
        }
    }

    /// Goes on with another configuration: what in it differs can change while the daemon runs.
    fn take_over(&mut self, config: Arc<Config>, reloadable: &Reloadable, turn: &mut Turn<Self>) {
        self.links.reload(config.message_director.as_ref(), reloadable);
        if let Some(upstream) = &mut self.upstream {
            upstream.reload(self.links.options(), reloadable);
        }
        self.transports.reload(&config.client_agents, reloadable);
        self.client_agents.reload(&config.client_agents, &mut self.outbox);
        for (role, settings) in self.database_servers.iter_mut().zip(&config.database_servers) {
            role.reload(settings.clone(), turn.shards());
        }
        for (role, settings) in self.database_state_servers.iter_mut().zip(&config.database_state_servers) {
            role.reload(settings.clone());
        }
        self.shared.config = config;
        self.carry_out(turn);
    }

    fn on_external(&mut self, external: External, turn: &mut Turn<Self>) {
        match external {
            External::Database { server, completion } => {
                if let Some(role) = self.database_servers.get_mut(server as usize) {
                    role.on_completion(completion, &mut self.outbox);
                }
                self.carry_out(turn);
            }
            External::Drain { drained } => self.begin_drain(drained),
            External::EjectDrained => self.end_drain(turn),
            External::Reload { config, reloadable, taken_over: _taken_over } => {
                self.take_over(config, &reloadable, turn);
            }
            External::Inspect(inspection) => self.inspect(inspection, turn),
            // Whoever waits for the executors tells all of them when the first has ended, these for the second time.
            External::Shutdown if self.is_ending => {}
            External::Shutdown => {
                self.is_ending = true;
                self.log_figures(turn);
                turn.stop();
            }
        }
    }
}

impl Daemon {
    /// What this executor has counted in its life, but for zeros: the last line of a log answers many questions.
    fn log_figures(&self, turn: &Turn<Self>) {
        let metrics = self.metrics(turn);
        let figures = turn.counters().figures().chain(metrics.figures()).map(|figure| (figure.name, figure.value));
        let closed = Reason::ALL.iter().map(|&reason| (reason.name(), metrics.closed(reason)));
        let text: Vec<String> = figures
            .chain(closed)
            .filter(|&(_, value)| value > 0)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        tracing::info!(shard = turn.shard().0, "counted: {}", text.join(" "));
    }
}

impl Shard for Daemon {
    type Message = Message;
    type External = External;
    type Timer = Timer;

    fn on_start(&mut self, turn: &mut Turn<Self>) {
        self.set_clocks(turn);
        self.start_upstream(turn);
    }

    fn on_message(&mut self, from: ShardId, message: Message, turn: &mut Turn<Self>) {
        self.set_clocks(turn);
        self.source = None;
        match message {
            Message::Deliver { from: sender, datagram, source } => {
                self.source = source;
                self.deliver(sender, &datagram, turn);
            }
            Message::DeliverRun { from: sender, run, source } => {
                self.source = source;
                self.deliver_run(sender, &run, turn);
            }
            Message::ToObjects { from: sender, frames, source } => {
                self.source = source;
                self.hand_to_objects(sender, &frames, turn);
            }
            Message::Upstream(news) => self.on_upstream_news(from, news, turn),
            Message::UpstreamAgain => {
                self.client_agents.on_upstream_again(&mut self.outbox);
                self.carry_out(turn);
            }
            Message::PauseSource { connection } => self.pause_source(connection, turn),
            Message::ResumeSource { connection } => self.resume_source(connection, turn),
            Message::Subscriptions(news) => {
                let (answer, changes) = self.router.subscriptions.on_news(from, news);
                if let Some(answer) = answer {
                    turn.send(from, Message::Subscriptions(answer));
                }
                self.apply(changes, turn);
            }
            Message::Effective { participant, token } => self.on_effective(participant, token, turn),
            Message::Role { message, source } => {
                self.source = source;
                self.on_role_message(from, message, turn);
            }
            Message::Barrier { connection } => {
                let link = Participant::Link { shard: from, connection };
                let changes = self.router.subscriptions.await_everything(link, links::BARRIER);
                self.apply(changes, turn);
            }
            Message::BarrierPassed { connection } => self.pass_barrier(connection, turn),
            Message::AdoptLink(socket) => self.adopt_link(*socket, turn),
            Message::LinkEnded => self.links.loads.release(from),
            Message::LinkTraffic { bytes } => self.links.loads.report(from, bytes, turn.now_us()),
            Message::AdoptClient { agent, channel, socket } => self.adopt_client(agent, channel, *socket, turn),
        }
    }

    fn on_received(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
        self.set_clocks(turn);
        if self.back_pressure.is_paused(connection) {
            turn.pause(connection);
            return 0;
        }
        self.source = Some(Source { shard: turn.shard(), connection });
        match self.owners.get(&connection) {
            Some(Owner::Link) => self.read_link_contained(connection, bytes, turn),
            Some(Owner::Upstream) => self.read_upstream_contained(connection, bytes, turn),
            Some(Owner::Client) => {
                let used = self.client_agents.on_received(connection, bytes, &mut self.outbox);
                self.carry_out(turn);
                used
            }
            Some(Owner::Wrapped) => self.receive_wrapped(connection, bytes, turn),
            Some(Owner::TlsLink | Owner::TlsUpstream) => self.receive_tls(connection, bytes, turn),
            None => bytes.len(),
        }
    }

    fn on_input(&mut self, input: Input<External, Timer>, turn: &mut Turn<Self>) {
        self.set_clocks(turn);
        self.source = None;
        match input {
            Input::Accepted { listener, socket } => self.on_accepted(listener, socket, turn),
            Input::Connected { connection } => self.on_upstream_connected(connection, turn),
            Input::Congested { connection } => self.on_congested(connection, turn),
            Input::Relieved { connection, has_room } => {
                if has_room {
                    tracing::info!(connection = connection.0, "the link has room again");
                }
                self.relieve(connection, turn);
            }
            Input::Closed { connection, cause } => self.on_closed(connection, cause, turn),
            Input::Sent { connection } => {
                self.client_agents.on_sent(connection, &mut self.outbox);
                self.carry_out(turn);
            }
            Input::Timer(timer) => self.on_timer(timer, turn),
            Input::External(external) => self.on_external(external, turn),
        }
    }

    fn on_turn_end(&mut self, turn: &mut Turn<Self>) {
        self.tls_links.seal(turn);
        self.note_link_traffic(turn);
    }
}
