//! Sockets of one executor: readiness by io_uring, reads into the engine's buffers, one gathered send per connection
//! and turn.
//!
//! Decides how bytes move and when a connection is over. It never parses anything.

use super::executor::Core;
use crate::app::{
    Close, CloseCause, ConnectionId, ConnectionOptions, Effect, Input, ListenerId, Shard, Socket, SocketKind,
};
use bytes::{Buf, Bytes};
use glommio::io::PollableFd;
use glommio::timer::Timer;
use socket2::{SockRef, TcpKeepalive};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Buffers that one send gathers: a turn's worth of frames, well below the kernel's limit of 1,024.
const GATHER_MAX: usize = 256;
/// Idle time before keep-alive probes (`protocol-md-ca-el.md` §1.1).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Connections accepted in one go before other tasks run.
const ACCEPT_BURST: usize = 64;
/// Pause after an accept that failed for want of descriptors or memory: a tight loop would not bring any back.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// One open connection. The reader and the writer task hold it; it closes when both are gone.
pub(super) struct Connection {
    id: ConnectionId,
    stream: Rc<TcpStream>,
    options: ConnectionOptions,
    unsent: RefCell<VecDeque<Bytes>>,
    unsent_bytes: Cell<usize>,
    /// Bytes among the unsent that do not count against the budget.
    allowed_bytes: Cell<usize>,
    /// Whether the application wants to know when nothing is unsent.
    notify: Cell<bool>,
    state: Cell<State>,
    writer_runs: Cell<bool>,
    /// The reader, while it waits for the engine to take what it has.
    reader: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The application is done: send what is left, shut down writing, discard what comes.
    Lingering,
    Closed,
}

impl Connection {
    fn end(&self) {
        self.state.set(State::Closed);
        self.unsent.borrow_mut().clear();
        self.unsent_bytes.set(0);
        // Wakes the reader and the writer from their polls; they then let go of the socket.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.wake_reader();
    }

    pub(super) fn wake_reader(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Sends what it can. `Ok(true)` when nothing is left.
    fn flush(&self, sends: &mut u64, bytes_sent: &mut u64) -> std::io::Result<bool> {
        let mut unsent = self.unsent.borrow_mut();
        while !unsent.is_empty() {
            let slices: smallvec::SmallVec<[IoSlice<'_>; 32]> =
                unsent.iter().take(GATHER_MAX).map(|bytes| IoSlice::new(bytes)).collect();
            let written = (&*self.stream).write_vectored(&slices);
            drop(slices);
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(mut sent) => {
                    *sends += 1;
                    *bytes_sent += sent as u64;
                    self.unsent_bytes.set(self.unsent_bytes.get() - sent);
                    self.allowed_bytes.set(self.allowed_bytes.get().saturating_sub(sent));
                    while let Some(front) = unsent.front_mut() {
                        if sent < front.len() {
                            front.advance(sent);
                            break;
                        }
                        sent -= front.len();
                        unsent.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.state.get() == State::Lingering {
            let _ = self.stream.shutdown(Shutdown::Write);
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
        let effects: Vec<Effect> = self.engine.borrow_mut().effects().collect();
        let mut dirty: Vec<Rc<Connection>> = Vec::new();
        let mut notify: Vec<Rc<Connection>> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Attach { connection, socket, options } => self.attach(connection, socket, options),
                Effect::Write { connection, bytes } => {
                    let Some(connection) = self.connections.borrow().get(&connection).cloned() else { continue };
                    if connection.state.get() == State::Open && !bytes.is_empty() {
                        if connection.unsent_bytes.get() == 0 {
                            dirty.push(connection.clone());
                        }
                        connection.unsent_bytes.set(connection.unsent_bytes.get() + bytes.len());
                        connection.unsent.borrow_mut().push_back(bytes);
                        if connection.writer_runs.get() {
                            self.check_budget(&connection);
                        }
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
                        connection.wake_reader();
                    }
                }
                Effect::Close { connection, close } => {
                    let Some(connection) = self.connections.borrow_mut().remove(&connection) else { continue };
                    self.close(&connection, close);
                }
                Effect::SendPacket { to, bytes } => self.send_packet(to, &bytes),
                Effect::Stop => self.stopping.set(true),
            }
        }
        for connection in dirty {
            self.send(&connection);
        }
        for connection in notify {
            self.notify_if_sent(&connection);
        }
    }

    fn attach(self: &Rc<Self>, id: ConnectionId, socket: Socket, options: ConnectionOptions) {
        let SocketKind::Tcp(stream) = socket.kind else {
            unreachable!("only the simulator makes simulated sockets");
        };
        let connection = Rc::new(Connection {
            id,
            stream: Rc::new(stream),
            options,
            unsent: RefCell::default(),
            unsent_bytes: Cell::new(0),
            allowed_bytes: Cell::new(0),
            notify: Cell::new(false),
            state: Cell::new(State::Open),
            writer_runs: Cell::new(false),
            reader: RefCell::new(None),
        });
        self.connections.borrow_mut().insert(id, connection.clone());
        glommio::spawn_local(read(self.clone(), connection)).detach();
    }

    fn close(self: &Rc<Self>, connection: &Rc<Connection>, close: Close) {
        match close {
            Close::Now => connection.end(),
            Close::Linger { us } => {
                connection.state.set(State::Lingering);
                connection.wake_reader();
                self.send(connection);
                let connection = connection.clone();
                glommio::spawn_local(async move {
                    Timer::new(Duration::from_micros(us.max(1000))).await;
                    if connection.state.get() != State::Closed {
                        connection.end();
                    }
                })
                .detach();
            }
        }
    }

    /// Sends now; what the socket does not take is left to a writer task, or ends the connection if it is too much.
    fn send(self: &Rc<Self>, connection: &Rc<Connection>) {
        if connection.writer_runs.get() {
            return;
        }
        match self.flush(connection) {
            Ok(true) => {}
            Ok(false) => {
                self.check_budget(connection);
                if connection.state.get() != State::Closed {
                    connection.writer_runs.set(true);
                    self.writers.set(self.writers.get() + 1);
                    glommio::spawn_local(write(self.clone(), connection.clone())).detach();
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
            self.engine.borrow_mut().input(Input::Sent { connection: connection.id });
            self.poke();
        }
    }

    fn check_budget(self: &Rc<Self>, connection: &Rc<Connection>) {
        let budget = connection.options.write_budget_bytes;
        if budget > 0 && connection.unsent_bytes.get().saturating_sub(connection.allowed_bytes.get()) > budget {
            self.lost(connection, CloseCause::WriteBudget);
        }
    }

    /// Ends a connection without the application's doing, and tells it.
    fn lost(&self, connection: &Rc<Connection>, cause: CloseCause) {
        if connection.state.get() == State::Open {
            self.connections.borrow_mut().remove(&connection.id);
            self.engine.borrow_mut().input(Input::Closed { connection: connection.id, cause });
            self.poke();
        }
        connection.end();
    }

    fn send_packet(&self, to: std::net::SocketAddr, bytes: &[u8]) {
        let sent = self.packets.send(to, bytes);
        let mut engine = self.engine.borrow_mut();
        let counters = engine.counters();
        if sent { counters.packets_sent += 1 } else { counters.packets_failed += 1 }
    }
}

/// Reads one connection until it ends, as fast as the engine takes what came.
async fn read<S: Shard>(core: Rc<Core<S>>, connection: Rc<Connection>) {
    let Ok(readiness) = PollableFd::new(connection.stream.clone()) else { return };
    let mut full = false;
    loop {
        // After a read that filled its buffer there is more: reading again is cheaper than asking.
        if !full && readiness.readable().await.is_err() {
            break;
        }
        if connection.state.get() == State::Open {
            wait_for_space(&core, &connection).await;
        }
        match connection.state.get() {
            State::Closed => break,
            State::Lingering => match discard(&connection) {
                Discarded::More => full = false,
                Discarded::End => {
                    connection.end();
                    break;
                }
            },
            State::Open => {
                let mut engine = core.engine.borrow_mut();
                let Some(space) = engine.receive_space(connection.id) else { continue };
                let room = space.len();
                match (&*connection.stream).read(space) {
                    Ok(0) => {
                        drop(engine);
                        core.lost(&connection, CloseCause::EndOfFile);
                        break;
                    }
                    Ok(bytes) => {
                        full = bytes == room;
                        engine.counters().receives += 1;
                        engine.counters().bytes_received += bytes as u64;
                        engine.received(connection.id, bytes);
                        drop(engine);
                        core.poke();
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                        full = false;
                    }
                    Err(error) => {
                        drop(engine);
                        core.lost(&connection, cause_of(&error));
                        break;
                    }
                }
            }
        }
    }
}

/// Resolves when the engine can take bytes of this connection, or the connection is not open any more.
async fn wait_for_space<S: Shard>(core: &Rc<Core<S>>, connection: &Rc<Connection>) {
    std::future::poll_fn(|context| {
        if connection.state.get() != State::Open || core.engine.borrow_mut().receive_space(connection.id).is_some() {
            return Poll::Ready(());
        }
        *connection.reader.borrow_mut() = Some(context.waker().clone());
        core.waiting_readers.borrow_mut().push(connection.clone());
        Poll::Pending
    })
    .await;
}

enum Discarded {
    More,
    End,
}

fn discard(connection: &Connection) -> Discarded {
    let mut scratch = [0; 4096];
    loop {
        match (&*connection.stream).read(&mut scratch) {
            Ok(0) => return Discarded::End,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Discarded::More,
            Err(_) => return Discarded::End,
        }
    }
}

/// Sends what a full socket left over; ends when nothing is left.
async fn write<S: Shard>(core: Rc<Core<S>>, connection: Rc<Connection>) {
    if let Ok(readiness) = PollableFd::new(connection.stream.clone()) {
        write_out(&core, &connection, &readiness).await;
    }
    connection.writer_runs.set(false);
    core.writers.set(core.writers.get() - 1);
}

async fn write_out<S: Shard>(core: &Rc<Core<S>>, connection: &Rc<Connection>, readiness: &PollableFd<Rc<TcpStream>>) {
    let timeout_us = connection.options.write_timeout_us;
    loop {
        let writable = async { Some(readiness.writable().await) };
        let outcome = if timeout_us == 0 {
            writable.await
        } else {
            let expired = async {
                Timer::new(Duration::from_micros(timeout_us)).await;
                None
            };
            futures_lite::future::or(writable, expired).await
        };
        if connection.state.get() == State::Closed {
            break;
        }
        match outcome {
            None => {
                core.lost(connection, CloseCause::WriteTimeout);
                break;
            }
            Some(Err(error)) => {
                core.lost(connection, CloseCause::Error(error.to_string()));
                break;
            }
            Some(Ok(())) => match core.flush(connection) {
                Ok(true) => {
                    core.notify_if_sent(connection);
                    break;
                }
                Ok(false) => {}
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
    let listener = match PollableFd::new(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener cannot be watched");
            return;
        }
    };
    loop {
        if let Err(error) = listener.readable().await {
            tracing::error!(%error, "a listener cannot be watched");
            return;
        }
        for _ in 0..ACCEPT_BURST {
            match accept_one(listener.get_ref()) {
                Ok(Some(socket)) => {
                    core.engine.borrow_mut().input(Input::Accepted { listener: id, socket });
                    core.poke();
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    Timer::new(ACCEPT_RETRY).await;
                    break;
                }
            }
        }
        core.wait_until_accepting().await;
    }
}

/// The next connection, ready to be served; `None` when there is none.
fn accept_one(listener: &TcpListener) -> std::io::Result<Option<Socket>> {
    let (stream, peer) = match listener.accept() {
        Ok(accepted) => accepted,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(None),
        // The peer was gone before it was served.
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_nonblocking(true)?;
    // A connection that is reset by now fails here; that is its own affair.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE));
    let local = stream.local_addr()?;
    Ok(Some(Socket { kind: SocketKind::Tcp(stream), peer, local }))
}
