//! One executor thread: its loop of turns, and how it sleeps.

use super::doorbell::Doorbell;
use super::injector::Injector;
use super::ring::{Readiness, Ring};
use super::sockets::{Connection, Watched, accept};
use crate::app::{ConnectionId, Effect, Input, ListenerId, MAX_SHARDS, Shard, ShardId};
use crate::counters::SLOW_TURN_US;
use crate::engine::Engine;
use crate::mesh::{Port, RING_BATCHES, ports};
use glommio::{LocalExecutorBuilder, Placement as GlommioPlacement};
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// Glommio's registered memory and ring entries for an executor: nothing of ours goes through its rings, and memlock is scarce
/// where it is limited.
const IO_MEMORY_BYTES: usize = 64 * 1024;
const RING_ENTRIES: usize = 16;
/// Glommio's timer that takes a task queue off the CPU: never. No task here runs for longer than a turn, and when the timer
/// strikes before the first task of a round ran, glommio takes the queue for empty and sleeps on what it holds.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);
/// An executor that always has work looks at its sockets so often: after the first turn that ends as many microseconds
/// after the last look.
const LOOK_AT_SOCKETS_US: u64 = 200;
/// How long an executor that ends waits for last bytes to leave.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// Where the executors run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each on the CPU of its index.
    Pinned(Vec<usize>),
    /// So many, wherever the scheduler likes.
    Unpinned(usize),
}

impl Placement {
    /// The number of executors.
    pub fn shards(&self) -> usize {
        match self {
            Placement::Pinned(cpus) => cpus.len(),
            Placement::Unpinned(count) => *count,
        }
    }
}

/// Something that belongs to one executor.
#[derive(Debug)]
pub struct Placed<T> {
    pub shard: ShardId,
    pub value: T,
}

/// Why an executor did not start.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error("executor {shard} could not be started: {text}")]
    Start { shard: u16, text: String },
    #[error("between 1 and {MAX_SHARDS} executors are possible, not {count}")]
    Count { count: usize },
    #[error("no UDP socket for events: {0}")]
    PacketSocket(std::io::Error),
    #[error("no descriptor to wake an executor by: {0}")]
    Doorbell(std::io::Error),
}

/// Executors that run.
#[derive(Debug)]
pub struct Executors<E> {
    threads: Vec<JoinHandle<Result<(), String>>>,
    injector: Injector<E>,
    ended: Receiver<ShardId>,
}

impl<E> Executors<E> {
    pub fn injector(&self) -> &Injector<E> {
        &self.injector
    }

    /// Waits until one executor has ended, well or badly.
    pub fn wait_for_first_end(&self) {
        // An error says that every executor has ended.
        let _ = self.ended.recv();
    }

    /// Waits until every executor has ended. Returns what those said that ended badly.
    pub fn join(self) -> Vec<String> {
        self.threads
            .into_iter()
            .filter_map(|thread| match thread.join() {
                Ok(Ok(())) => None,
                Ok(Err(text)) => Some(text),
                Err(_) => Some("an executor thread panicked".to_owned()),
            })
            .collect()
    }
}

/// Starts the executors; returns when all of them run.
///
/// `make` is called on this thread, once per executor, with its id, and yields what builds its [`Shard`] on the
/// executor's own thread. Each listener is served by the executor it is placed on; listeners are non-blocking.
///
/// # Errors
/// [`ExecutorError`]; executors that had started run on: the process is to end.
pub fn start<S, B>(
    placement: &Placement,
    listeners: Vec<Placed<(ListenerId, TcpListener)>>,
    mut make: impl FnMut(ShardId, Injector<S::External>) -> B,
) -> Result<Executors<S::External>, ExecutorError>
where
    S: Shard,
    B: FnOnce() -> S + Send + 'static,
{
    let shards = placement.shards();
    if shards == 0 || shards > MAX_SHARDS {
        return Err(ExecutorError::Count { count: shards });
    }
    let doorbells: Result<Vec<Arc<Doorbell>>, _> = (0..shards).map(|_| Doorbell::new().map(Arc::new)).collect();
    let doorbells = doorbells.map_err(ExecutorError::Doorbell)?;
    let (injector, receivers) = Injector::new(&doorbells);
    let mut listeners = listeners;
    let mut threads = Vec::with_capacity(shards);
    let (tell_end, ended) = channel();
    let (started, starting) = sync_channel::<Result<(), ExecutorError>>(shards);
    for ((index, port), external) in ports::<S::Message>(shards, RING_BATCHES).into_iter().enumerate().zip(receivers) {
        let shard = ShardId(index as u16);
        let mine: Vec<_> = listeners.extract_if(.., |listener| listener.shard == shard).map(|own| own.value).collect();
        let packets = PacketSockets::open().map_err(ExecutorError::PacketSocket)?;
        let build = make(shard, injector.clone());
        let (doorbells, started, cpu) = (doorbells.clone(), started.clone(), cpu_of(placement, index));
        let end = TellEnd { shard, ended: tell_end.clone() };
        let parts = Parts { shard, port, external, listeners: mine, packets, doorbells };
        let thread = std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                let _end = end;
                run(cpu, parts, build, &started)
            })
            .map_err(|error| ExecutorError::Start { shard: shard.0, text: error.to_string() })?;
        threads.push(thread);
    }
    for _ in 0..shards {
        starting.recv().expect("this thread has a sender too")?;
    }
    Ok(Executors { threads, injector, ended })
}

/// Tells of an executor's end, a panic included.
struct TellEnd {
    shard: ShardId,
    ended: Sender<ShardId>,
}

impl Drop for TellEnd {
    fn drop(&mut self) {
        let _ = self.ended.send(self.shard);
    }
}

fn cpu_of(placement: &Placement, index: usize) -> Option<usize> {
    match placement {
        Placement::Pinned(cpus) => Some(cpus[index]),
        Placement::Unpinned(_) => None,
    }
}

/// Where packets leave: a socket for each family of addresses that this machine has.
#[derive(Debug)]
pub(super) struct PacketSockets {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
}

impl PacketSockets {
    fn open() -> std::io::Result<Self> {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        v4.set_nonblocking(true)?;
        let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok();
        if let Some(v6) = &v6 {
            v6.set_nonblocking(true)?;
        }
        Ok(Self { v4, v6 })
    }

    /// Whether the packet was handed to the system.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> bool {
        let socket = if to.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        socket.is_some_and(|socket| socket.send_to(bytes, to).is_ok())
    }
}

/// What one executor thread starts from.
struct Parts<M, E> {
    shard: ShardId,
    port: Port<M>,
    external: Receiver<E>,
    listeners: Vec<(ListenerId, TcpListener)>,
    packets: PacketSockets,
    doorbells: Vec<Arc<Doorbell>>,
}

fn run<S: Shard>(
    cpu: Option<usize>,
    parts: Parts<S::Message, S::External>,
    build: impl FnOnce() -> S,
    started: &SyncSender<Result<(), ExecutorError>>,
) -> Result<(), String> {
    let placement = cpu.map_or(GlommioPlacement::Unbound, GlommioPlacement::Fixed);
    let executor = LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{}", parts.shard.0))
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_ENTRIES)
        .preempt_timer(PREEMPT_TIMER)
        .make()
        .map_err(|error| error.to_string());
    // The thread that makes a ring is the one that uses it.
    let ready = executor.and_then(|executor| Ok((executor, Ring::new().map_err(|error| error.to_string())?)));
    let (executor, ring) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            let _ = started.send(Err(ExecutorError::Start { shard: parts.shard.0, text: error.clone() }));
            return Err(error);
        }
    };
    let _ = started.send(Ok(()));
    let failure = executor.run(async move {
        let shards = parts.doorbells.len();
        let core = Rc::new(Core {
            engine: RefCell::new(Engine::new(build(), parts.port, parts.shard, shards)),
            connections: RefCell::default(),
            readable: RefCell::default(),
            waiting_acceptors: RefCell::default(),
            gathering: RefCell::default(),
            packets: parts.packets,
            effects: RefCell::default(),
            dirty: RefCell::default(),
            stopping: Cell::new(false),
            failure: RefCell::new(None),
            writers: Cell::new(0),
            ring,
        });
        core.engine.borrow_mut().start(core.ring.now_us());
        for (id, listener) in parts.listeners {
            core.ring.spawn(accept(core.clone(), id, listener));
        }
        let doorbell = parts.doorbells[parts.shard.index()].clone();
        core.ring.watch(doorbell.bell(), Watched::Doorbell);
        if let Err(error) = core.run(&parts.doorbells, parts.shard, &parts.external).await {
            *core.failure.borrow_mut() = Some(format!("its ring does not work: {error}"));
        }
        core.ring.close();
        core.waiting_acceptors.take();
        core.failure.take()
    });
    failure.map_or(Ok(()), Err)
}

/// What the tasks of one executor share.
pub(super) struct Core<S: Shard> {
    pub(super) engine: RefCell<Engine<S>>,
    pub(super) connections: RefCell<HashMap<ConnectionId, Rc<Connection>>>,
    /// Connections that have something to be read, in the order in which they are.
    pub(super) readable: RefCell<VecDeque<Rc<Connection>>>,
    waiting_acceptors: RefCell<Vec<Waker>>,
    /// Connections whose bytes wait for more to be sent with them.
    pub(super) gathering: RefCell<Vec<Rc<Connection>>>,
    pub(super) packets: PacketSockets,
    /// Effects, and the connections that they are to be sent on, while they are carried out; kept for their memory.
    pub(super) effects: RefCell<Vec<Effect>>,
    pub(super) dirty: RefCell<Vec<Rc<Connection>>>,
    pub(super) stopping: Cell<bool>,
    /// Why this executor ends badly.
    pub(super) failure: RefCell<Option<String>>,
    /// Tasks that send what a full socket left over.
    pub(super) writers: Cell<usize>,
    pub(super) ring: Ring<Watched>,
}

impl<S: Shard> Core<S> {
    /// Resolves when the mesh has room for what a new connection may cause.
    pub(super) async fn wait_until_accepting(&self) {
        std::future::poll_fn(|context| {
            if self.engine.borrow().accepts_input() {
                return Poll::Ready(());
            }
            self.waiting_acceptors.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Turn by turn, until the application stops.
    ///
    /// # Errors
    /// When the ring does not work.
    async fn run(
        self: &Rc<Self>,
        doorbells: &[Arc<Doorbell>],
        shard: ShardId,
        external: &Receiver<S::External>,
    ) -> std::io::Result<()> {
        let own = &doorbells[shard.index()];
        let mut looked_us = self.ring.now_us();
        self.carry_out();
        loop {
            self.run_tasks().await;
            self.take_external(external);
            self.read_once();
            let began_us = self.ring.now_us();
            {
                let mut engine = self.engine.borrow_mut();
                engine.turn(began_us, |to| doorbells[to.index()].ring());
                let took_us = self.ring.now_us() - began_us;
                engine.counters().turn_times.record(took_us);
                if took_us >= SLOW_TURN_US {
                    tracing::debug!(shard = shard.0, took_us, "slow turn");
                }
            }
            self.carry_out();
            if self.stopping.get() {
                break;
            }
            self.wake_acceptors();
            {
                let mut engine = self.engine.borrow_mut();
                own.sleeper.set_clogged(engine.is_clogged());
                // The turn made room in the rings of those it took from.
                engine.taken_from(|from| doorbells[from.index()].ring_if_clogged());
            }
            self.run_tasks().await;
            let now_us = self.ring.now_us();
            if !self.engine.borrow().has_work(now_us) && !self.read_once() {
                self.sleep(own, external)?;
                looked_us = self.ring.now_us();
            } else if now_us - looked_us >= LOOK_AT_SOCKETS_US {
                self.ring.look(|watched, readiness| self.on_ready(own, watched, readiness))?;
                looked_us = now_us;
            }
        }
        self.engine.borrow_mut().close();
        for doorbell in doorbells {
            doorbell.ring();
        }
        self.send_gathered();
        self.drain(own).await
    }

    /// Runs the tasks that were woken, and those that they wake.
    async fn run_tasks(&self) {
        while self.ring.has_woken() {
            // Behind all that are ready by now: the queue is first in, first out.
            glommio::executor().yield_now().await;
        }
    }

    fn on_ready(&self, own: &Doorbell, watched: &Watched, readiness: Readiness) {
        match watched {
            Watched::Connection(connection) => self.on_readable(connection, readiness),
            Watched::Doorbell => own.answer(),
        }
    }

    fn take_external(&self, external: &Receiver<S::External>) {
        while let Ok(value) = external.try_recv() {
            self.engine.borrow_mut().input(Input::External(value));
        }
    }

    fn wake_acceptors(&self) {
        if self.engine.borrow().accepts_input() {
            for waker in self.waiting_acceptors.borrow_mut().drain(..) {
                self.ring.wake(waker);
            }
        }
    }

    /// Waits for the ring: sockets, the doorbell, tasks, the next timer. No task is ready, and nothing is to be read.
    fn sleep(&self, own: &Doorbell, external: &Receiver<S::External>) -> std::io::Result<()> {
        own.sleeper.fall_asleep();
        // Who made something visible before that did not ring.
        self.take_external(external);
        let now_us = self.ring.now_us();
        let wake_us = {
            let engine = self.engine.borrow();
            if engine.has_work(now_us) { Some(now_us) } else { engine.next_timer_us() }
        };
        let waited = self.ring.wait(wake_us, |watched, readiness| self.on_ready(own, watched, readiness));
        own.sleeper.wake_up();
        waited
    }

    /// After the last turn: what a full socket left over has a moment to leave.
    async fn drain(&self, own: &Doorbell) -> std::io::Result<()> {
        let deadline_us = self.ring.now_us() + SHUTDOWN_GRACE.as_micros() as u64;
        self.run_tasks().await;
        while self.writers.get() > 0 && self.ring.now_us() < deadline_us {
            self.ring.wait(Some(deadline_us), |watched, readiness| self.on_ready(own, watched, readiness))?;
            self.run_tasks().await;
        }
        Ok(())
    }
}
