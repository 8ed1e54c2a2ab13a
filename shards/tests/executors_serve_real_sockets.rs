//! Executors under glommio, over real sockets: what the simulator cannot show.

use bytes::Bytes;
use donet_shards::runtime::{Executors, Placed, Placement, start};
use donet_shards::{
    Close, CloseCause, ConnectionId, ConnectionOptions, Dial, Input, ListenerId, Shard, ShardId, Socket, Turn,
};
use socket2::{Domain, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Ends a test that hangs; no test waits for it.
const HANG: Duration = Duration::from_secs(60);

/// Passes connections around: executor 0 accepts, the next executor in turn serves. What a connection sends goes to every
/// executor, each of which sends it on to the serving one, which writes it: one echo per executor.
struct Relay {
    next: usize,
    options: ConnectionOptions,
    ended: Sender<CloseCause>,
    /// Congested connections that have room again.
    relieved: Sender<()>,
}

enum Talk {
    Adopt(Socket),
    Spread { home: ShardId, connection: ConnectionId, bytes: Vec<u8> },
    Echo { connection: ConnectionId, bytes: Vec<u8> },
}

enum Order {
    Stop,
    /// Connect, and write a hundred bytes at once.
    Dial(SocketAddr, u64),
    /// Write so many bytes to every connection that ever was.
    Flood(usize),
    /// The same, beside the budget.
    AllowedFlood(usize),
}

impl Shard for Relay {
    type Message = Talk;
    type External = Order;
    type Timer = ();

    fn on_start(&mut self, _: &mut Turn<Self>) {}

    fn on_message(&mut self, _: ShardId, message: Talk, turn: &mut Turn<Self>) {
        match message {
            Talk::Adopt(socket) => {
                turn.attach(socket, self.options);
            }
            Talk::Spread { home, connection, bytes } => turn.send(home, Talk::Echo { connection, bytes }),
            Talk::Echo { connection, bytes } => turn.write(connection, bytes.into()),
        }
    }

    fn on_received(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
        if bytes == b"bye" {
            turn.write(connection, Bytes::from_static(b"farewell"));
            turn.close(connection, Close::Linger { us: 5_000_000 });
            return bytes.len();
        }
        for shard in 0..turn.shards() as u16 {
            let home = turn.shard();
            turn.send(ShardId(shard), Talk::Spread { home, connection, bytes: bytes.to_vec() });
        }
        bytes.len()
    }

    fn on_input(&mut self, input: Input<Order, ()>, turn: &mut Turn<Self>) {
        match input {
            Input::Accepted { socket, .. } => {
                self.next = (self.next + 1) % turn.shards();
                turn.send(ShardId(self.next as u16), Talk::Adopt(socket));
            }
            Input::Closed { cause, .. } => self.ended.send(cause).unwrap(),
            Input::External(Order::Stop) => turn.stop(),
            Input::External(Order::Dial(address, patience_us)) => {
                let dial = Dial { delay_us: 0, patience_us };
                let connection = turn.dial(address, dial, self.options);
                for number in 0..100_u8 {
                    turn.write(connection, vec![number].into());
                }
            }
            Input::External(Order::Flood(bytes)) => {
                for connection in 1..=16 {
                    turn.write(ConnectionId(connection), vec![7; bytes].into());
                }
            }
            Input::External(Order::AllowedFlood(bytes)) => {
                for connection in 1..=16 {
                    turn.allow(ConnectionId(connection), bytes);
                    turn.write(ConnectionId(connection), vec![7; bytes].into());
                }
            }
            Input::Sent { .. } | Input::Timer(()) => {}
            Input::Relieved { .. } => self.relieved.send(()).unwrap(),
            Input::Connected { .. } | Input::Congested { .. } => {}
        }
    }
}

struct Running {
    executors: Executors<Order>,
    address: SocketAddr,
    shards: usize,
    ended: Receiver<CloseCause>,
    relieved: Receiver<()>,
}

impl Running {
    fn start(shards: usize, options: ConnectionOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let placed = vec![Placed { shard: ShardId(0), value: (ListenerId(0), listener) }];
        let (tell, ended) = channel();
        let (tell_relieved, relieved) = channel();
        let executors = start::<Relay, _>(&Placement::Unpinned(shards), placed, |_, _| {
            let (ended, relieved) = (tell.clone(), tell_relieved.clone());
            move || Relay { next: 0, options, ended, relieved }
        })
        .unwrap();
        Self { executors, address, shards, ended, relieved }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream
    }

    fn stop(self) {
        for shard in 0..self.shards as u16 {
            self.executors.injector().send(ShardId(shard), Order::Stop);
        }
        assert_eq!(self.executors.join(), Vec::<String>::new());
    }
}

#[test]
fn every_executor_takes_part_and_all_end_in_order() {
    for shards in [1, 2, 4] {
        let running = Running::start(shards, ConnectionOptions::default());
        let mut clients: Vec<TcpStream> = (0..8).map(|_| running.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.write_all(&[number as u8; 3]).unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut echoes = vec![0; 3 * shards];
            client.read_exact(&mut echoes).unwrap();
            assert_eq!(echoes, vec![number as u8; 3 * shards]);
        }
        drop(clients);
        for _ in 0..8 {
            assert_eq!(running.ended.recv_timeout(HANG), Ok(CloseCause::EndOfFile));
        }
        running.stop();
    }
}

#[test]
fn what_a_full_socket_leaves_over_arrives_in_order() {
    leftovers_arrive_in_order(ConnectionOptions::default());
}

#[test]
fn what_is_gathered_arrives_in_order() {
    leftovers_arrive_in_order(GATHERED);
}

/// Sends wait for more.
const GATHERED: ConnectionOptions =
    ConnectionOptions { write_budget_bytes: 0, write_timeout_us: 0, high_water_bytes: 0, gather_us: 1000 };

fn leftovers_arrive_in_order(options: ConnectionOptions) {
    let running = Running::start(1, options);
    let mut client = running.connect();
    let sent: Vec<u8> = (0..20_000_000_u32).map(|index| (index % 251) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
    let mut received = vec![0; sent.len()];
    client.read_exact(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent);
    running.stop();
}

#[test]
fn last_words_arrive_although_the_peer_still_sends() {
    last_words_arrive(ConnectionOptions::default());
}

#[test]
fn gathered_last_words_arrive() {
    last_words_arrive(GATHERED);
}

fn last_words_arrive(options: ConnectionOptions) {
    let running = Running::start(2, options);
    let mut client = running.connect();
    client.write_all(b"bye").unwrap();
    let mut words = [0; 8];
    client.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"farewell");
    client.write_all(&[1; 100_000]).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "the server has shut down writing, and discards");
    client.shutdown(Shutdown::Both).unwrap();
    running.stop();
}

#[test]
fn a_peer_that_does_not_read_costs_itself_only() {
    let options =
        ConnectionOptions { write_budget_bytes: 1 << 20, write_timeout_us: 0, ..ConnectionOptions::default() };
    let running = Running::start(1, options);
    let mut stalled = running.connect();
    stalled.write_all(b"x").unwrap();
    stalled.read_exact(&mut [0; 1]).unwrap();
    running.executors.injector().send(ShardId(0), Order::Flood(64 << 20));
    assert_eq!(running.ended.recv_timeout(HANG), Ok(CloseCause::WriteBudget));
    let mut other = running.connect();
    other.write_all(b"still here").unwrap();
    let mut echo = [0; 10];
    other.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"still here");
    running.stop();
}

#[test]
fn what_is_allowed_beside_the_budget_waits_for_its_reader() {
    let bytes = 32 << 20;
    let options =
        ConnectionOptions { write_budget_bytes: 1 << 20, write_timeout_us: 0, ..ConnectionOptions::default() };
    let running = Running::start(1, options);
    let mut client = running.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    running.executors.injector().send(ShardId(0), Order::AllowedFlood(bytes));
    // Something that counts, and fits.
    running.executors.injector().send(ShardId(0), Order::Flood(1000));
    let mut received = vec![0; bytes + 1000];
    client.read_exact(&mut received).unwrap();
    assert!(received.iter().all(|&byte| byte == 7));
    assert!(running.ended.try_recv().is_err(), "nobody was ended");
    // As many have left: the budget is what it was.
    running.executors.injector().send(ShardId(0), Order::Flood(bytes));
    assert_eq!(running.ended.recv_timeout(HANG), Ok(CloseCause::WriteBudget));
    running.stop();
}

#[test]
fn a_peer_that_takes_nothing_for_too_long_is_dropped() {
    let options = ConnectionOptions { write_budget_bytes: 0, write_timeout_us: 50_000, ..ConnectionOptions::default() };
    let running = Running::start(1, options);
    let mut stalled = running.connect();
    stalled.write_all(b"x").unwrap();
    stalled.read_exact(&mut [0; 1]).unwrap();
    running.executors.injector().send(ShardId(0), Order::Flood(64 << 20));
    assert_eq!(running.ended.recv_timeout(HANG), Ok(CloseCause::WriteTimeout));
    // What was under way arrives, then the end.
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stalled.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break;
            }
        }
    }
    running.stop();
}

/// How often a connection was refused to somebody on this machine.
fn refused_attempts() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut tcp = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let mut both = names.split(' ').zip(values.split(' '));
    both.find(|(name, _)| *name == "AttemptFails").unwrap().1.parse().unwrap()
}

/// A port of ours at which nobody listens yet: whoever connects is refused.
fn reserved_port() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn what_is_written_before_a_dial_succeeds_is_sent_when_it_does() {
    let running = Running::start(1, ConnectionOptions::default());
    let (reserved, address) = reserved_port();
    let refused_before = refused_attempts();
    running.executors.injector().send(ShardId(0), Order::Dial(address, u64::MAX));
    // Somebody else's attempt may be the one that is counted: the outcome is the same if ours has not been made yet.
    let deadline = Instant::now() + HANG;
    while refused_attempts() == refused_before {
        assert!(Instant::now() < deadline, "no attempt was refused");
        std::thread::sleep(Duration::from_millis(1));
    }
    reserved.listen(1).unwrap();
    let (mut stream, _) = TcpListener::from(reserved).accept().unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    let mut received = [0; 100];
    stream.read_exact(&mut received).unwrap();
    assert!(received.iter().copied().eq(0..100));
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut received[..1]).unwrap();
    assert_eq!(received[0], b'x', "it is served like one that was accepted");
    running.stop();
}

#[test]
fn what_has_filled_a_connection_before_it_stood_is_gone_when_its_socket_takes_it() {
    let running = Running::start(1, ConnectionOptions { high_water_bytes: 50, ..ConnectionOptions::default() });
    let (reserved, address) = reserved_port();
    running.executors.injector().send(ShardId(0), Order::Dial(address, u64::MAX));
    reserved.listen(1).unwrap();
    let _peer = TcpListener::from(reserved).accept().unwrap();
    assert_eq!(running.relieved.recv_timeout(HANG), Ok(()), "whoever filled it would wait for ever");
    running.stop();
}

#[test]
fn a_dial_that_fails_for_too_long_ends_the_connection() {
    let running = Running::start(1, ConnectionOptions::default());
    let (_reserved, address) = reserved_port();
    running.executors.injector().send(ShardId(0), Order::Dial(address, 30_000));
    assert_eq!(running.ended.recv_timeout(HANG), Ok(CloseCause::Error("connection refused".to_owned())));
    running.stop();
}

/// Tells where its thread may run, and ends.
struct Whereabouts(Sender<(ShardId, String)>);

impl Shard for Whereabouts {
    type Message = ();
    type External = ();
    type Timer = ();

    fn on_start(&mut self, turn: &mut Turn<Self>) {
        self.0.send((turn.shard(), allowed_cpus())).unwrap();
        turn.stop();
    }

    fn on_message(&mut self, _: ShardId, (): (), _: &mut Turn<Self>) {}

    fn on_received(&mut self, _: ConnectionId, bytes: &[u8], _: &mut Turn<Self>) -> usize {
        bytes.len()
    }

    fn on_input(&mut self, _: Input<(), ()>, _: &mut Turn<Self>) {}
}

/// Where the system may run this thread, as proc(5) writes it: "0-3,6".
fn allowed_cpus() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("Linux has it");
    list.trim().to_owned()
}

#[test]
fn executors_run_where_they_are_placed() {
    let all = allowed_cpus();
    let number = |text: &str| text.parse::<usize>().unwrap();
    let first = number(all.split(['-', ',']).next().unwrap());
    let last = number(all.rsplit(['-', ',']).next().unwrap());
    let places = |placement: &Placement| {
        let (tell, told) = channel();
        let executors = start::<Whereabouts, _>(placement, Vec::new(), |_, _| {
            let tell = tell.clone();
            move || Whereabouts(tell)
        });
        assert_eq!(executors.unwrap().join(), Vec::<String>::new());
        let mut places: Vec<_> = told.iter().take(placement.shards()).collect();
        places.sort();
        places
    };
    // Each on its own processor; several on one are possible, and slow.
    let pinned = places(&Placement::Pinned(vec![last, first, last]));
    assert_eq!(
        pinned,
        [last, first, last]
            .map(|cpu| cpu.to_string())
            .into_iter()
            .enumerate()
            .map(|(index, cpu)| (ShardId(index as u16), cpu))
            .collect::<Vec<_>>()
    );
    assert_eq!(places(&Placement::Unpinned(2)), [0, 1].map(|index| (ShardId(index), all.clone())));
    // A processor that is not there is an error with its executor's number, and no hang.
    let (tell, _told) = channel();
    let nowhere = start::<Whereabouts, _>(&Placement::Pinned(vec![1 << 20]), Vec::new(), |_, _| {
        let tell = tell.clone();
        move || Whereabouts(tell)
    });
    let error = nowhere.expect_err("there is no such processor").to_string();
    assert!(error.starts_with("executor 0 could not be started"), "{error}");
}
