//! The message loop: any number of connections in one thread, cut into frames.
//!
//! It decides how bytes come and go, and must stay far cheaper per message than any server that it drives. So one
//! read takes as much as there is into one buffer that all connections share; bodies are handed on as slices of it;
//! what is sent gathers in the connection and leaves in one write per turn; nothing is allocated per message, and a
//! connection that is idle owns no buffer. It must never look into a body, and never wait anywhere but in
//! [`Network::turn`].

use crate::traffic::Traffic;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether waiting is done awake, in all of this process.
static STAYS_AWAKE: AtomicBool = AtomicBool::new(false);

/// From now on nothing in this process sleeps while it waits for the network. Whoever sends over loopback to somebody who
/// sleeps pays for waking him: on a virtual machine an interrupt to the other processor and an exit to the host, which no
/// client across a network costs its server, and more or fewer of them with every change of the load.
pub fn never_sleep() {
    STAYS_AWAKE.store(true, Ordering::Relaxed);
}

/// What one read may take from one connection; at least one frame of the largest size.
const READ_BYTES: usize = 256 * 1024;
/// An output buffer above this size is given back when it has been sent.
const KEEP_OUTPUT_BYTES: usize = 64 * 1024;
const EVENTS_PER_TURN: usize = 1024;

/// One connection of a [`Network`]. Keys are not used again, so a stale one does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// A small number that belongs to no other open connection: an index for tables beside the network.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    const fn pack(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    const fn unpack(packed: u64) -> Self {
        Self { slot: packed as u32, generation: (packed >> 32) as u32 }
    }
}

/// How the other side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its end of the stream, between two frames.
    EndOfFile,
    /// Its end of the stream, with so many bytes of an unfinished frame.
    InsideFrame { bytes: usize },
    /// The operating system reports an error: a reset, a refused connect.
    Error(io::ErrorKind),
}

/// What a connection brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// The connect has succeeded.
    Connected,
    /// A complete frame; the body, without its length.
    Frame(&'a [u8]),
    /// The connection is over, and its key with it.
    Ended(End),
}

/// The application of a [`Network`]: gets every input, and may send on any connection meanwhile.
pub type Handler<'h> = &'h mut dyn FnMut(&mut Network, Key, Input<'_>);

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    connected: bool,
    /// The beginning of a frame whose rest has not come yet.
    unfinished: Vec<u8>,
    output: Vec<u8>,
    output_sent: usize,
    /// Whether epoll is asked to say when the connection takes more.
    wants_write: bool,
    /// Whether it is in the list of connections to flush.
    is_dirty: bool,
    /// Shut down writing as soon as everything is sent.
    finishing: bool,
}

impl Connection {
    /// Writes as much as the socket takes. How many bytes that were, in how many writes.
    fn write_out(&mut self) -> (u64, u64) {
        let mut written = (0, 0);
        while self.output_sent < self.output.len() {
            match self.stream.write(&self.output[self.output_sent..]) {
                Ok(count) => {
                    self.output_sent += count;
                    written = (written.0 + count as u64, written.1 + 1);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The reading side reports the end, after what the server said last. Only a connection that cannot
                // be read any more would stay silent; epoll reports that one as HUP.
                Err(_) => self.output_sent = self.output.len(),
            }
        }
        if self.output_sent == self.output.len() {
            self.output_sent = 0;
            self.output.clear();
        }
        written
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// Connections of one thread. See the module.
pub struct Network {
    epoll: OwnedFd,
    slots: Vec<Slot>,
    free: Vec<u32>,
    dirty: Vec<Key>,
    scratch: Vec<u8>,
    events: Vec<epoll::Event>,
    now: Instant,
    open: usize,
    traffic: Traffic,
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Network").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Network {
    /// # Errors
    /// When the operating system has no room for another epoll instance.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; 2 * READ_BYTES],
            events: Vec::with_capacity(EVENTS_PER_TURN),
            now: Instant::now(),
            open: 0,
            traffic: Traffic::default(),
        })
    }

    /// When the present turn began or, while a handler is given frames, when their read returned: cheaper than a clock
    /// per message, and exact enough for latencies.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What all connections have moved so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// How many connections are open or being opened.
    pub fn open_connections(&self) -> usize {
        self.open
    }

    /// Begins to connect. [`Input::Connected`] or [`Input::Ended`] follows; what is sent meanwhile waits.
    ///
    /// # Errors
    /// When there is no socket to be had, or the address cannot be dialled at all.
    pub fn connect(&mut self, address: SocketAddr) -> io::Result<Key> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, connection: None });
                (self.slots.len() - 1) as u32
            }
        };
        let key = Key { slot, generation: self.slots[slot as usize].generation };
        let stream = TcpStream::from(socket);
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP;
        if let Err(error) = epoll::add(&self.epoll, &stream, EventData::new_u64(key.pack()), interest) {
            self.free.push(slot);
            return Err(error.into());
        }
        self.slots[slot as usize].connection = Some(Connection {
            stream,
            connected: false,
            unfinished: Vec::new(),
            output: Vec::new(),
            output_sent: 0,
            wants_write: true,
            is_dirty: false,
            finishing: false,
        });
        self.open += 1;
        Ok(key)
    }

    fn wrote(&mut self, (bytes, writes): (u64, u64)) {
        self.traffic.bytes_out += bytes;
        self.traffic.writes += writes;
    }

    fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(key.slot())?;
        if slot.generation == key.generation { slot.connection.as_mut() } else { None }
    }

    /// Whether the connection has not ended.
    pub fn is_open(&mut self, key: Key) -> bool {
        self.connection(key).is_some()
    }

    /// This end's address, as the server sees it.
    pub fn local_address(&mut self, key: Key) -> Option<SocketAddr> {
        self.connection(key)?.stream.local_addr().ok()
    }

    /// Bytes that wait to be sent on a connection.
    pub fn unsent_bytes(&mut self, key: Key) -> usize {
        self.connection(key).map_or(0, |connection| connection.output.len() - connection.output_sent)
    }

    /// Sends bytes as they are: frames, or on purpose something else. They leave at the end of the turn.
    pub fn send(&mut self, key: Key, bytes: &[u8]) {
        if let Some(output) = self.output(key) {
            output.extend_from_slice(bytes);
        }
    }

    /// The output buffer of a connection, to encode into it without a detour; `None` when the connection has ended.
    pub fn output(&mut self, key: Key) -> Option<&mut Vec<u8>> {
        let slot = self.slots.get_mut(key.slot())?;
        let connection = if slot.generation == key.generation { slot.connection.as_mut()? } else { return None };
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
        Some(&mut connection.output)
    }

    /// Writes what waits on one connection now, not at the end of the turn: for loads that are to arrive in many small
    /// pieces, or that make more than a buffer's worth in one turn. Returns whether all of it has left.
    pub fn write_now(&mut self, key: Key) -> bool {
        let Some(connection) = self.connection(key) else { return false };
        let written = if connection.connected { connection.write_out() } else { (0, 0) };
        let is_sent = connection.output.is_empty();
        self.wrote(written);
        is_sent
    }

    /// Sends what waits, then shuts down writing; reading goes on until the other side ends.
    pub fn finish(&mut self, key: Key) {
        if self.output(key).is_some()
            && let Some(connection) = self.connection(key)
        {
            connection.finishing = true;
        }
    }

    /// Ends a connection at once; what was not sent is lost. There is no [`Input::Ended`] for it.
    pub fn close(&mut self, key: Key) {
        if self.connection(key).is_some() {
            let slot = &mut self.slots[key.slot()];
            if let Some(connection) = slot.connection.take() {
                // Removal from epoll happens with the last descriptor; asking for it keeps a descriptor that a
                // child process has inherited from reporting for ever.
                let _ = epoll::delete(&self.epoll, &connection.stream);
            }
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(key.slot);
            self.open -= 1;
        }
    }

    /// Ends a connection with a reset, as when a cable is cut or a process is killed with data unread.
    pub fn reset(&mut self, key: Key) {
        if let Some(connection) = self.connection(key) {
            // Without the option the connection still ends, only more politely.
            let _ = socket2::SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO));
        }
        self.close(key);
    }

    /// Sends what waits, waits for something to happen (at most `timeout`; `None` = for ever), hands it to the
    /// handler, and sends what the handler has written. Returns how many connections had something.
    ///
    /// # Errors
    /// When the wait itself fails. Errors of a connection are its [`Input::Ended`].
    pub fn turn(&mut self, timeout: Option<Duration>, handler: Handler<'_>) -> io::Result<usize> {
        self.flush(handler);
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let result = self.wait(timeout, &mut events);
        self.now = Instant::now();
        for event in &events {
            self.serve(Key::unpack(event.data.u64()), event.flags, handler);
        }
        self.events = events;
        self.flush(handler);
        result
    }

    /// Waits for events: asleep, or awake ([`never_sleep`]).
    fn wait(&self, timeout: Option<Duration>, events: &mut Vec<epoll::Event>) -> io::Result<usize> {
        let stays_awake = STAYS_AWAKE.load(Ordering::Relaxed);
        let end = timeout.filter(|_| stays_awake).map(|limit| Instant::now() + limit);
        let timeout = if stays_awake { Some(Duration::ZERO) } else { timeout };
        let timeout = timeout.map(|limit| Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 60, tv_nsec: 0 }));
        loop {
            let count = match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) if !stays_awake => return Ok(0),
                Err(rustix::io::Errno::INTR) => 0,
                Err(error) => return Err(error.into()),
            };
            if count > 0 || !stays_awake || end.is_some_and(|end| Instant::now() >= end) {
                return Ok(count);
            }
        }
    }

    fn serve(&mut self, key: Key, flags: EventFlags, handler: Handler<'_>) {
        let Some(connection) = self.connection(key) else { return };
        let mut just_connected = false;
        if !connection.connected {
            match connection.stream.take_error() {
                Ok(None) if flags.contains(EventFlags::OUT) => {
                    connection.connected = true;
                    just_connected = true;
                }
                Ok(None) => return,
                Ok(Some(error)) | Err(error) => return self.end(key, End::Error(error.kind()), handler),
            }
        }
        if just_connected {
            handler(self, key, Input::Connected);
        }
        if flags.contains(EventFlags::OUT) {
            self.flush_one(key, handler);
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            self.read(key, handler);
        }
    }

    /// Reads once and hands on every complete frame.
    fn read(&mut self, key: Key, handler: Handler<'_>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let Some(connection) = self.connection(key) else {
            self.scratch = scratch;
            return;
        };
        let kept = connection.unfinished.len();
        scratch[..kept].copy_from_slice(&connection.unfinished);
        match connection.stream.read(&mut scratch[kept..kept + READ_BYTES]) {
            Ok(0) => {
                let end = if kept == 0 { End::EndOfFile } else { End::InsideFrame { bytes: kept } };
                self.end(key, end, handler);
            }
            Ok(count) => {
                self.now = Instant::now();
                self.traffic.bytes_in += count as u64;
                self.traffic.reads += 1;
                let mut rest = &scratch[..kept + count];
                while let Some((body, used)) = donet::wire::next_frame(rest) {
                    rest = &rest[used..];
                    handler(self, key, Input::Frame(body));
                    if !self.is_open(key) {
                        // The handler has closed it: the rest is nobody's.
                        break;
                    }
                }
                if let Some(connection) = self.connection(key) {
                    if rest.is_empty() {
                        // An idle connection keeps no buffer.
                        connection.unfinished = Vec::new();
                    } else {
                        connection.unfinished.clear();
                        connection.unfinished.extend_from_slice(rest);
                    }
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => self.end(key, End::Error(error.kind()), handler),
        }
        self.scratch = scratch;
    }

    fn flush(&mut self, handler: Handler<'_>) {
        // A handler that is told of an end may write to others: they join the list while it is walked.
        while let Some(key) = self.dirty.pop() {
            self.flush_one(key, handler);
        }
    }

    fn flush_one(&mut self, key: Key, handler: Handler<'_>) {
        let Some(connection) = self.connection(key) else { return };
        connection.is_dirty = false;
        if !connection.connected {
            return;
        }
        let written = connection.write_out();
        let is_sent = connection.output.is_empty();
        if is_sent {
            if connection.output.capacity() > KEEP_OUTPUT_BYTES {
                connection.output = Vec::new();
            }
            if connection.finishing {
                // Fails only where the connection has ended, which the reading side reports.
                let _ = connection.stream.shutdown(Shutdown::Write);
                connection.finishing = false;
            }
        }
        let must_ask = connection.wants_write == is_sent;
        connection.wants_write = !is_sent;
        self.wrote(written);
        if must_ask {
            let mut interest = EventFlags::IN | EventFlags::RDHUP;
            interest.set(EventFlags::OUT, !is_sent);
            let slot = &self.slots[key.slot()];
            let stream = &slot.connection.as_ref().expect("looked up above").stream;
            if let Err(error) = epoll::modify(&self.epoll, stream, EventData::new_u64(key.pack()), interest) {
                self.end(key, End::Error(io::Error::from(error).kind()), handler);
            }
        }
    }

    fn end(&mut self, key: Key, end: End, handler: Handler<'_>) {
        self.close(key);
        handler(self, key, Input::Ended(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    type Inputs = VecDeque<(Key, Seen)>;

    /// Inputs, owned.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Connected,
        Frame(Vec<u8>),
        Ended(End),
    }

    fn collect(network: &mut Network, seen: &mut Inputs) {
        network
            .turn(Some(Duration::from_secs(20)), &mut |_, key, input| {
                seen.push_back((
                    key,
                    match input {
                        Input::Connected => Seen::Connected,
                        Input::Frame(body) => Seen::Frame(body.to_vec()),
                        Input::Ended(end) => Seen::Ended(end),
                    },
                ));
            })
            .unwrap();
    }

    fn next(network: &mut Network, seen: &mut Inputs) -> (Key, Seen) {
        while seen.is_empty() {
            collect(network, seen);
        }
        seen.pop_front().unwrap()
    }

    /// A listener, a network and so many connections between them, each with the other side's socket.
    fn connected<const N: usize>() -> (TcpListener, Network, Inputs, [(Key, TcpStream); N]) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut network = Network::new().unwrap();
        let pairs = std::array::from_fn(|_| (network.connect(address).unwrap(), listener.accept().unwrap().0));
        (listener, network, VecDeque::new(), pairs)
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = (body.len() as u16).to_le_bytes().to_vec();
        frame.extend_from_slice(body);
        frame
    }

    #[test]
    fn frames_are_reassembled_however_they_are_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = [vec![], vec![7], vec![1; 3], vec![9; 65_535], vec![], vec![2; 300]];
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_nodelay(true).unwrap();
            // Every cut within the first frames, and the long one in odd pieces.
            for piece in stream[..12].chunks(1).chain(stream[12..].chunks(4_099)) {
                socket.write_all(piece).unwrap();
            }
            socket.write_all(&[5, 0, 1]).unwrap();
        });
        let mut network = Network::new().unwrap();
        let mut seen = VecDeque::new();
        let key = network.connect(address).unwrap();
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Connected));
        for body in bodies {
            assert_eq!(next(&mut network, &mut seen), (key, Seen::Frame(body)));
        }
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Ended(End::InsideFrame { bytes: 3 })));
        assert!(!network.is_open(key));
        assert_eq!(network.open_connections(), 0);
        server.join().unwrap();
    }

    #[test]
    fn what_the_other_side_does_not_take_at_once_is_sent_later_in_order() {
        let (_, mut network, mut seen, [(key, mut socket)]) = connected();
        // More than all socket buffers hold, written before anything is read.
        let total_bytes = 64 << 20;
        let pattern: Vec<u8> = (0..total_bytes).map(|index: usize| (index / 7) as u8).collect();
        network.send(key, &pattern);
        network.finish(key);
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Connected));
        assert!(network.unsent_bytes(key) > 0, "the socket took everything: the test proves nothing");
        let expected = pattern.clone();
        let server = thread::spawn(move || {
            let mut received = Vec::new();
            socket.read_to_end(&mut received).unwrap();
            assert!(received == expected, "{} bytes came, {} were sent", received.len(), expected.len());
            socket.write_all(&frame(b"all")).unwrap();
        });
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Frame(b"all".to_vec())));
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Ended(End::EndOfFile)));
        server.join().unwrap();
    }

    #[test]
    fn a_handler_sends_on_any_connection_and_keys_do_not_come_back() {
        let (listener, mut network, mut seen, [(left, mut left_socket), (right, mut right_socket)]) = connected();
        for _ in 0..2 {
            assert_eq!(next(&mut network, &mut seen).1, Seen::Connected);
        }
        left_socket.write_all(&frame(b"over")).unwrap();
        let mut relayed = 0;
        while relayed == 0 {
            network
                .turn(Some(Duration::from_secs(20)), &mut |network, key, input| {
                    assert_eq!((key, input), (left, Input::Frame(b"over")));
                    network.send(right, &frame(b"and out"));
                    relayed += 1;
                })
                .unwrap();
        }
        let mut received = [0; 9];
        right_socket.read_exact(&mut received).unwrap();
        assert_eq!(received[..], frame(b"and out"));

        network.close(left);
        let again = network.connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(again.slot(), left.slot());
        assert_ne!(again, left);
        network.send(left, b"nobody");
        assert!(!network.is_open(left) && network.is_open(again));
        assert_eq!(network.unsent_bytes(again), 0);
    }

    #[test]
    fn a_refused_connect_and_a_reset_are_ends_with_their_error() {
        let (listener, mut network, mut seen, [(key, socket)]) = connected();
        let address = listener.local_addr().unwrap();
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Connected));
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        drop(socket);
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Ended(End::Error(io::ErrorKind::ConnectionReset))));
        drop(listener);
        let refused = network.connect(address).unwrap();
        assert_eq!(next(&mut network, &mut seen), (refused, Seen::Ended(End::Error(io::ErrorKind::ConnectionRefused))));
    }

    #[test]
    fn finish_and_reset_reach_the_other_side_as_what_they_are() {
        let (_, mut network, mut seen, [(key, mut socket)]) = connected();
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Connected));
        network.reset(key);
        let error = socket.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn awake_it_hears_the_same_and_gives_up_at_its_limit() {
        let (_listener, mut network, mut seen, [(key, mut other)]) = connected();
        never_sleep();
        // What belongs to connecting comes first; then a turn with a limit ends although nobody has sent.
        while network.turn(Some(Duration::from_millis(1)), &mut |_, _, _| ()).unwrap() > 0 {}
        let sender = thread::spawn(move || {
            other.write_all(&frame(b"late")).unwrap();
            other
        });
        assert_eq!(next(&mut network, &mut seen), (key, Seen::Frame(b"late".to_vec())));
        drop(sender.join().unwrap());
    }
}
