//! Executors with too much to do, and executors whose neighbour has ended: what only real threads show.

use donet_shards::runtime::{Executors, Placed, Placement, start};
use donet_shards::{ConnectionId, ConnectionOptions, Input, ListenerId, Shard, ShardId, Turn};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Ends a test that hangs; no test waits for it.
const HANG: Duration = Duration::from_secs(60);

enum Order {
    Stop,
    /// From now on send to this executor, itself perhaps, over and over.
    Chatter(ShardId),
    /// Nothing but a reason to wake up.
    Nudge,
}

/// Always has something to send to some executor, and answers whoever asks with the number of turns it has run.
#[derive(Default)]
struct Chatterbox {
    to: Option<ShardId>,
}

impl Shard for Chatterbox {
    type Message = ();
    type External = Order;
    type Timer = ();

    fn on_start(&mut self, _: &mut Turn<Self>) {}

    fn on_message(&mut self, _: ShardId, (): (), _: &mut Turn<Self>) {}

    fn on_received(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
        let turns = turn.counters().turns.to_le_bytes().to_vec();
        turn.write(connection, turns.into());
        bytes.len()
    }

    fn on_input(&mut self, input: Input<Order, ()>, turn: &mut Turn<Self>) {
        match input {
            Input::Accepted { socket, .. } => {
                turn.attach(socket, ConnectionOptions::default());
            }
            Input::External(Order::Stop) => turn.stop(),
            Input::External(Order::Chatter(to)) => {
                self.to = Some(to);
                turn.timer(turn.now_us(), ());
            }
            // A timer is a source: it waits while the mesh is full.
            Input::Timer(()) => {
                if let Some(to) = self.to {
                    turn.send(to, ());
                    turn.timer(turn.now_us(), ());
                }
            }
            _ => {}
        }
    }
}

fn start_chatterboxes(shards: usize) -> (Executors<Order>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let placed = vec![Placed { shard: ShardId(0), value: (ListenerId(0), listener) }];
    let executors = start::<Chatterbox, _>(&Placement::Unpinned(shards), placed, |_, _| Chatterbox::default).unwrap();
    (executors, address)
}

fn stop(executors: Executors<Order>, shards: u16) {
    for shard in 0..shards {
        executors.injector().send(ShardId(shard), Order::Stop);
    }
    assert_eq!(executors.join(), Vec::<String>::new());
}

#[test]
fn an_executor_that_always_has_work_looks_at_its_sockets_after_a_few_turns() {
    let (executors, address) = start_chatterboxes(1);
    let mut asker = TcpStream::connect(address).unwrap();
    asker.set_read_timeout(Some(HANG)).unwrap();
    let mut ask = || {
        asker.write_all(b"?").unwrap();
        let mut turns = [0; 8];
        asker.read_exact(&mut turns).unwrap();
        u64::from_le_bytes(turns)
    };
    ask();
    executors.injector().send(ShardId(0), Order::Chatter(ShardId(0)));
    let answers: Vec<u64> = (0..100).map(|_| ask()).collect();
    let fewest = answers.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    // A turn of this work takes less than a microsecond. The fewest, since this thread too has to be let run in between; left to
    // glommio it would be a tenth of a second's worth, hundreds of thousands.
    assert!(fewest < 20_000, "{fewest} turns from an answer to the next");
    stop(executors, 1);
}

#[test]
fn an_executor_that_waits_for_room_goes_on_when_the_other_has_ended() {
    for _ in 0..20 {
        let (executors, _) = start_chatterboxes(2);
        executors.injector().send(ShardId(1), Order::Chatter(ShardId(0)));
        executors.injector().send(ShardId(0), Order::Stop);
        executors.wait_for_first_end();
        // Its ring fills up, and it sleeps; what ends it now is a source, like any other.
        executors.injector().send(ShardId(1), Order::Stop);
        assert_eq!(executors.join(), Vec::<String>::new());
    }
}

#[test]
fn bells_and_sockets_at_once_lose_no_wake_up() {
    let (executors, address) = start_chatterboxes(2);
    let mut askers: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    for asker in &askers {
        asker.set_read_timeout(Some(HANG)).unwrap();
    }
    // Bells and sockets at once: each wakes the executor that the other has just woken.
    for _ in 0..2000 {
        for asker in &mut askers {
            asker.write_all(b"?").unwrap();
            executors.injector().send(ShardId(0), Order::Nudge);
        }
        for asker in &mut askers {
            asker.read_exact(&mut [0; 8]).unwrap();
        }
    }
    stop(executors, 2);
}
