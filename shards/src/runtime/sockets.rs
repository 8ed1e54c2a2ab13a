//! Sockets of one executor: reads into the engine's buffers when the ring says so, one gathered send per connection and
//! turn. What is rare (dialling, accepting, what a full socket left over) are tasks; reading is not.
//!
//! Decides how bytes move and when a connection is over. It never parses anything.

use super::executor::Core;
use super::ring::{Interest, Readiness, Watch};
use super::unsent::Unsent;
use crate::app::{
    Close, CloseCause, ConnectionId, ConnectionOptions, Dial, Effect, Input, ListenerId, Shard, Socket, SocketKind,
};
use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use std::cell::{Cell, OnceCell, RefCell};
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// So many bytes are sent at once, even where more is waited for.
const SEND_NOW_BYTES: usize = 64 * 1024;
/// Idle time before keep-alive probes (`protocol-md-ca-el.md` §1.1).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Connections accepted in one go before other tasks run.
const ACCEPT_BURST: usize = 64;
/// Pause after an accept that failed for want of descriptors or memory: a tight loop would not bring any back.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// The pause between two attempts to dial, while patience lasts.
const DIAL_PAUSE: Duration = Duration::from_millis(50);
/// An attempt to dial that is not answered is given up: the system would try for two minutes.
const DIAL_ATTEMPT: Duration = Duration::from_secs(10);

/// Who a descriptor is watched for.
#[derive(Clone)]
pub(super) enum Watched {
    Connection(Rc<Connection>),
    Doorbell,
}

/// One open connection. It closes when the ring has forgotten it and its writer task, if there is one, is gone.
pub(super) struct Connection {
    id: ConnectionId,
    /// None while it is being dialled.
    stream: OnceCell<TcpStream>,
    watch: Cell<Option<Watch>>,
    /// Something has come that was not read: the ring does not tell of it again.
    is_readable: Cell<bool>,
    /// The ring has told of its end, or of an error: only a read that finds it has read everything.
    ends: Cell<bool>,
    /// Its place among [`Core::readable`] is taken.
    is_queued: Cell<bool>,
    options: ConnectionOptions,
    unsent: RefCell<Unsent>,
    unsent_bytes: Cell<usize>,
    /// Bytes among the unsent that do not count against the budget.
    allowed_bytes: Cell<usize>,
    /// Whether the application wants to know when nothing is unsent.
    notify: Cell<bool>,
    /// Since when more than the high-water mark waits.
    congested_since: Cell<Option<Instant>>,
    state: Cell<State>,
    writer_runs: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The application is done: send what is left, shut down writing, discard what comes.
    Lingering,
    Closed,
}

impl Connection {
    fn new(id: ConnectionId, options: ConnectionOptions) -> Self {
        Self {
            id,
            stream: OnceCell::new(),
            watch: Cell::new(None),
            is_readable: Cell::new(false),
            ends: Cell::new(false),
            is_queued: Cell::new(false),
            options,
            unsent: RefCell::default(),
            unsent_bytes: Cell::new(0),
            allowed_bytes: Cell::new(0),
            notify: Cell::new(false),
            congested_since: Cell::new(None),
            state: Cell::new(State::Open),
            writer_runs: Cell::new(false),
        }
    }

    /// Takes bytes to be sent. Returns how many waited before.
    fn push(&self, bytes: &Bytes) -> usize {
        self.unsent.borrow_mut().push(bytes);
        self.unsent_bytes.replace(self.unsent_bytes.get() + bytes.len())
    }

    /// Sends what it can. `Ok(true)` when nothing is left.
    fn flush(&self, sends: &mut u64, bytes_sent: &mut u64) -> std::io::Result<bool> {
        let Some(mut stream) = self.stream.get() else { return Ok(false) };
        let mut unsent = self.unsent.borrow_mut();
        let load = unsent.load();
        while !unsent.is_empty() {
            match unsent.write(&mut stream) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    *sends += 1;
                    *bytes_sent += sent as u64;
                    self.unsent_bytes.set(self.unsent_bytes.get() - sent);
                    self.allowed_bytes.set(self.allowed_bytes.get().saturating_sub(sent));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        unsent.give_back(load);
        if self.state.get() == State::Lingering {
            let _ = stream.shutdown(Shutdown::Write);
        }
        Ok(true)
    }
}

fn cause_of(error: &std::io::Error) -> CloseCause {
    // The text of the operating system without Rust's "(os error N)": it goes into events.
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    CloseCause::Error(text.to_lowercase())
}

impl<S: Shard> Core<S> {
    /// Carries out the effects of committed turns, then sends: one gathered send per connection.
    pub(super) fn carry_out(self: &Rc<Self>) {
        // Kept from turn to turn: nothing is allocated on the hot path.
        let mut effects = self.effects.take();
        let mut dirty = self.dirty.take();
        effects.extend(self.engine.borrow_mut().effects());
        let mut notify: Vec<Rc<Connection>> = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Attach { connection, socket } => self.attach(connection, *socket),
                Effect::Dial { connection, dial: dialled } => {
                    let (address, how, options) = *dialled;
                    let connection = Rc::new(Connection::new(connection, options));
                    self.connections.borrow_mut().insert(connection.id, connection.clone());
                    self.ring.spawn(dial(self.clone(), connection, address, how));
                }
                Effect::Write { connection, bytes } => self.write(connection, &bytes, &mut dirty),
                Effect::WriteToAll(to_all) => {
                    let (connections, bytes) = *to_all;
                    for connection in connections {
                        self.write(connection, &bytes, &mut dirty);
                    }
                }
                Effect::Allow { connection, bytes } => {
                    if let Some(connection) = self.connections.borrow().get(&connection) {
                        connection.allowed_bytes.set(connection.allowed_bytes.get() + bytes);
                    }
                }
                Effect::NotifySent { connection } => {
                    if let Some(connection) = self.connections.borrow().get(&connection) {
                        connection.notify.set(true);
                        notify.push(connection.clone());
                    }
                }
                Effect::Resume { connection } => {
                    if let Some(connection) = self.connections.borrow().get(&connection) {
                        self.queue_to_read(connection);
                    }
                }
                Effect::Close { connection, close } => {
                    let Some(connection) = self.connections.borrow_mut().remove(&connection) else { continue };
                    self.close(&connection, close);
                }
                Effect::SendPacket(packet) => self.send_packet(packet.0, &packet.1),
                Effect::Stop(failure) => {
                    self.stopping.set(true);
                    if failure.is_some() {
                        *self.failure.borrow_mut() = failure;
                    }
                }
            }
        }
        for connection in dirty.drain(..) {
            if connection.options.gather_us > 0 && connection.unsent_bytes.get() < SEND_NOW_BYTES {
                self.send_soon(connection);
            } else {
                self.send(&connection);
            }
        }
        (*self.effects.borrow_mut(), *self.dirty.borrow_mut()) = (effects, dirty);
        for connection in notify {
            self.notify_if_sent(&connection);
        }
    }

    /// Takes bytes for a connection; what is to be sent now is among the `dirty` ones afterwards.
    fn write(self: &Rc<Self>, id: ConnectionId, bytes: &Bytes, dirty: &mut Vec<Rc<Connection>>) {
        let connections = self.connections.borrow();
        let Some(connection) = connections.get(&id) else { return };
        if connection.state.get() != State::Open || bytes.is_empty() {
            return;
        }
        let before = connection.push(bytes);
        if before == 0 || (before < SEND_NOW_BYTES && connection.unsent_bytes.get() >= SEND_NOW_BYTES) {
            dirty.push(connection.clone());
        }
        if connection.writer_runs.get() || connection.stream.get().is_none() {
            let connection = connection.clone();
            drop(connections);
            self.check_budget(&connection);
        }
    }

    fn attach(self: &Rc<Self>, id: ConnectionId, (socket, options): (Socket, ConnectionOptions)) {
        let SocketKind::Tcp(stream) = socket.kind else {
            unreachable!("only the simulator makes simulated sockets");
        };
        let connection = Rc::new(Connection::new(id, options));
        self.connections.borrow_mut().insert(id, connection.clone());
        self.serve(&connection, stream);
    }

    /// Reads a connection that stands from now on.
    fn serve(&self, connection: &Rc<Connection>, stream: TcpStream) {
        let stream = connection.stream.get_or_init(|| stream);
        connection.watch.set(Some(self.ring.watch(stream, Watched::Connection(connection.clone()))));
    }

    fn close(self: &Rc<Self>, connection: &Rc<Connection>, close: Close) {
        match close {
            Close::Now => {
                if connection.options.gather_us > 0 {
                    // It would have been sent by now.
                    self.send(connection);
                }
                self.end(connection);
            }
            Close::Linger { us } => {
                connection.state.set(State::Lingering);
                self.queue_to_read(connection);
                self.send(connection);
                let (core, connection) = (self.clone(), connection.clone());
                self.ring.spawn(async move {
                    core.ring.after(Duration::from_micros(us.max(1000))).await;
                    core.end(&connection);
                });
            }
        }
    }

    /// Sends when more may have gathered: together with every connection that waits for the same, at the time of the first.
    fn send_soon(self: &Rc<Self>, connection: Rc<Connection>) {
        let gather = Duration::from_micros(connection.options.gather_us);
        let mut gathering = self.gathering.borrow_mut();
        gathering.push(connection);
        if gathering.len() == 1 {
            let core = self.clone();
            self.ring.spawn(async move {
                core.ring.after(gather).await;
                core.send_gathered();
            });
        }
    }

    /// Ends the gathering.
    pub(super) fn send_gathered(self: &Rc<Self>) {
        for connection in self.gathering.take() {
            self.send(&connection);
            self.notify_if_sent(&connection);
        }
    }

    /// Sends now; what the socket does not take is left to a writer task, or ends the connection if it is too much.
    fn send(self: &Rc<Self>, connection: &Rc<Connection>) {
        if connection.writer_runs.get() || connection.stream.get().is_none() {
            return;
        }
        match self.flush(connection) {
            // What waited for the connection to stand may have been much.
            Ok(true) => self.check_relief(connection),
            Ok(false) => {
                self.check_budget(connection);
                if connection.state.get() != State::Closed {
                    connection.writer_runs.set(true);
                    self.writers.set(self.writers.get() + 1);
                    self.ring.spawn(write(self.clone(), connection.clone()));
                }
            }
            Err(error) => self.lost(connection, cause_of(&error)),
        }
    }

    fn flush(&self, connection: &Connection) -> std::io::Result<bool> {
        let (mut sends, mut bytes_sent) = (0, 0);
        let result = connection.flush(&mut sends, &mut bytes_sent);
        let mut engine = self.engine.borrow_mut();
        engine.counters().sends += sends;
        engine.counters().bytes_sent += bytes_sent;
        result
    }

    /// Tells the application that nothing is unsent, if it has asked.
    fn notify_if_sent(&self, connection: &Connection) {
        if connection.unsent_bytes.get() == 0 && connection.state.get() == State::Open && connection.notify.take() {
            self.input(Input::Sent { connection: connection.id });
        }
    }

    fn check_budget(self: &Rc<Self>, connection: &Rc<Connection>) {
        let budget = connection.options.write_budget_bytes;
        if budget > 0 && connection.unsent_bytes.get().saturating_sub(connection.allowed_bytes.get()) > budget {
            self.lost(connection, CloseCause::WriteBudget);
            return;
        }
        let high_water = connection.options.high_water_bytes;
        let is_congested = connection.congested_since.get().is_some();
        if high_water > 0 && !is_congested && connection.unsent_bytes.get() > high_water {
            connection.congested_since.set(Some(Instant::now()));
            self.engine.borrow_mut().counters().congestions += 1;
            self.input(Input::Congested { connection: connection.id });
        }
    }

    /// Tells when a congested connection has room again.
    fn check_relief(&self, connection: &Connection) {
        let is_congested = connection.congested_since.get().is_some();
        if is_congested && connection.unsent_bytes.get() <= connection.options.high_water_bytes / 2 {
            connection.congested_since.set(None);
            self.input(Input::Relieved { connection: connection.id, has_room: true });
        }
    }

    fn input(&self, input: Input<S::External, S::Timer>) {
        self.engine.borrow_mut().input(input);
    }

    /// Ends a connection without the application's doing, and tells it.
    fn lost(&self, connection: &Rc<Connection>, cause: CloseCause) {
        if connection.state.get() == State::Open {
            self.connections.borrow_mut().remove(&connection.id);
            // Whoever was stopped for it, itself perhaps, goes on: the end of a paused connection would not be told.
            if connection.congested_since.take().is_some() {
                self.input(Input::Relieved { connection: connection.id, has_room: false });
            }
            self.input(Input::Closed { connection: connection.id, cause });
        }
        self.end(connection);
    }

    /// Lets go of a connection; a second time does nothing.
    fn end(&self, connection: &Connection) {
        connection.state.set(State::Closed);
        connection.unsent.borrow_mut().clear();
        connection.unsent_bytes.set(0);
        if let Some(watch) = connection.watch.take() {
            self.ring.forget(watch);
        }
        // Wakes the writer, which then lets go of it too.
        if let Some(stream) = connection.stream.get() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What the ring tells of a watched connection.
    pub(super) fn on_readable(&self, connection: &Rc<Connection>, readiness: Readiness) {
        connection.is_readable.set(true);
        connection.ends.set(connection.ends.get() | readiness.ends);
        self.queue_to_read(connection);
    }

    fn queue_to_read(&self, connection: &Rc<Connection>) {
        if connection.is_readable.get() && !connection.is_queued.replace(true) {
            self.readable.borrow_mut().push_back(connection.clone());
        }
    }

    /// Reads each connection that has something, once, as far as the engine has room. Returns whether anything came of it.
    pub(super) fn read_once(&self) -> bool {
        let mut has_read = false;
        let waiting = self.readable.borrow().len();
        for _ in 0..waiting {
            if self.engine.borrow().room_for_reads() == 0 {
                break;
            }
            let Some(connection) = self.readable.borrow_mut().pop_front() else { break };
            connection.is_queued.set(false);
            has_read |= match connection.state.get() {
                State::Open => self.read(&connection),
                State::Lingering => self.discard(&connection),
                State::Closed => false,
            };
        }
        has_read
    }

    fn read(&self, connection: &Rc<Connection>) -> bool {
        let Some(mut stream) = connection.stream.get() else { return false };
        let mut engine = self.engine.borrow_mut();
        let Some(space) = engine.receive_space(connection.id) else {
            // One that is paused comes back when it is resumed; any other when the engine has handled what it has.
            if !engine.is_paused(connection.id) {
                self.queue_to_read(connection);
            }
            return false;
        };
        let room = space.len();
        match stream.read(space) {
            Ok(0) => {
                drop(engine);
                self.lost(connection, CloseCause::EndOfFile);
            }
            Ok(bytes) => {
                engine.counters().receives += 1;
                engine.counters().bytes_received += bytes as u64;
                engine.received(connection.id, bytes);
                connection.is_readable.set(bytes == room || connection.ends.get());
                self.queue_to_read(connection);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => self.queue_to_read(connection),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                connection.is_readable.set(false);
                engine.received_nothing(connection.id);
                drop(engine);
                if connection.ends.get() {
                    self.lost(connection, CloseCause::Error("it cannot be watched".into()));
                }
                return false;
            }
            Err(error) => {
                drop(engine);
                self.lost(connection, cause_of(&error));
            }
        }
        true
    }

    /// Reads what comes behind the application's end, for nobody.
    fn discard(&self, connection: &Connection) -> bool {
        connection.is_readable.set(false);
        if let Some(stream) = connection.stream.get()
            && discard(stream)
        {
            self.end(connection);
        }
        true
    }

    fn send_packet(&self, to: std::net::SocketAddr, bytes: &[u8]) {
        let sent = self.packets.send(to, bytes);
        let mut engine = self.engine.borrow_mut();
        let counters = engine.counters();
        if sent { counters.packets_sent += 1 } else { counters.packets_failed += 1 }
    }
}

/// Dials until it succeeds or its patience is at its end, then serves the connection.
async fn dial<S: Shard>(core: Rc<Core<S>>, connection: Rc<Connection>, address: SocketAddr, how: Dial) {
    let deadline = Instant::now().checked_add(Duration::from_micros(how.patience_us.saturating_add(how.delay_us)));
    if how.delay_us > 0 {
        core.ring.after(Duration::from_micros(how.delay_us)).await;
    }
    loop {
        if connection.state.get() != State::Open {
            return;
        }
        match futures_lite::future::or(connect(&core, address), unanswered(&core)).await {
            Ok(_) if connection.state.get() != State::Open => return,
            Ok(stream) => {
                core.serve(&connection, stream);
                core.input(Input::Connected { connection: connection.id });
                return core.send(&connection);
            }
            Err(error) if deadline.is_some_and(|deadline| Instant::now() + DIAL_PAUSE > deadline) => {
                return core.lost(&connection, cause_of(&error));
            }
            Err(error) => tracing::debug!(%address, %error, "dialling failed, trying again"),
        }
        core.ring.after(DIAL_PAUSE).await;
    }
}

async fn unanswered<S: Shard>(core: &Core<S>) -> std::io::Result<TcpStream> {
    core.ring.after(DIAL_ATTEMPT).await;
    Err(ErrorKind::TimedOut.into())
}

/// One attempt to connect.
async fn connect<S: Shard>(core: &Core<S>, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    prepare(&socket);
    let stream = TcpStream::from(socket);
    core.ring.ready(&stream, Interest::Writable).await?;
    stream.take_error()?.map_or(Ok(stream), Err)
}

/// No delay, and keep-alive probes. A connection that is reset by now fails here; that is its own affair.
fn prepare(socket: &socket2::Socket) {
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE));
}

/// Reads what there is, for nobody. Whether the connection has ended.
fn discard(mut stream: &TcpStream) -> bool {
    let mut scratch = [0; 4096];
    loop {
        match stream.read(&mut scratch) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Sends what a full socket left over; ends when nothing is left.
async fn write<S: Shard>(core: Rc<Core<S>>, connection: Rc<Connection>) {
    if let Some(stream) = connection.stream.get() {
        write_out(&core, &connection, stream).await;
    }
    connection.writer_runs.set(false);
    core.writers.set(core.writers.get() - 1);
}

async fn write_out<S: Shard>(core: &Rc<Core<S>>, connection: &Rc<Connection>, stream: &TcpStream) {
    let timeout = Duration::from_micros(connection.options.write_timeout_us);
    let mut progress = Instant::now();
    // One sleep at a time, the end of which moves on with every byte that leaves: it looks what has become of that.
    let mut sleep = None;
    loop {
        // Nothing accepted for so long, or congested for so long: whichever is over first.
        let since = connection.congested_since.get().map_or(progress, |since| since.min(progress));
        let left = timeout.saturating_sub(since.elapsed());
        let writable = async { Some(core.ring.ready(stream, Interest::Writable).await) };
        let outcome = if timeout.is_zero() {
            writable.await
        } else if left.is_zero() {
            None
        } else {
            let sleep = sleep.get_or_insert_with(|| core.ring.after(left));
            let over = async {
                sleep.await;
                None
            };
            futures_lite::future::or(writable, over).await
        };
        if connection.state.get() == State::Closed {
            break;
        }
        match outcome {
            None if left.is_zero() => {
                core.lost(connection, CloseCause::WriteTimeout);
                break;
            }
            None => sleep = None,
            Some(Err(error)) => {
                core.lost(connection, CloseCause::Error(error.to_string()));
                break;
            }
            Some(Ok(())) => match core.flush(connection) {
                Ok(done) => {
                    progress = Instant::now();
                    core.check_relief(connection);
                    if done {
                        core.notify_if_sent(connection);
                        break;
                    }
                }
                Err(error) => {
                    core.lost(connection, cause_of(&error));
                    break;
                }
            },
        }
    }
}

/// Accepts connections and hands them to the engine.
pub(super) async fn accept<S: Shard>(core: Rc<Core<S>>, id: ListenerId, listener: TcpListener) {
    // Linux gives what it accepts the options of the listener: calls that need not be made for every connection.
    prepare(&SockRef::from(&listener));
    let bound = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
    loop {
        if let Err(error) = core.ring.ready(&listener, Interest::Readable).await {
            tracing::error!(%error, "a listener cannot be watched");
            return;
        }
        for _ in 0..ACCEPT_BURST {
            match accept_one(&listener, bound) {
                Ok(Some(socket)) => {
                    core.input(Input::Accepted { listener: id, socket });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    core.ring.after(ACCEPT_RETRY).await;
                    break;
                }
            }
        }
        core.wait_until_accepting().await;
    }
}

/// The next connection, ready to be served; `None` when there is none. `bound` is the listener's address, unless it is that
/// of every interface.
fn accept_one(listener: &TcpListener, bound: Option<SocketAddr>) -> std::io::Result<Option<Socket>> {
    let (stream, peer) = match listener.accept() {
        Ok(accepted) => accepted,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(None),
        // The peer was gone before it was served.
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_nonblocking(true)?;
    let local = bound.map_or_else(|| stream.local_addr(), Ok)?;
    Ok(Some(Socket { kind: SocketKind::Tcp(stream), peer, local }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_connection_has_its_listeners_options() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            prepare(&SockRef::from(&listener));
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let bound = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
            let socket = accept_one(&listener, bound).unwrap().expect("a connection");
            assert_eq!((socket.local, socket.peer), (client.peer_addr().unwrap(), client.local_addr().unwrap()));
            let SocketKind::Tcp(stream) = socket.kind else { panic!("{:?}", socket.kind) };
            let accepted = SockRef::from(&stream);
            assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
            assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        }
    }
}
