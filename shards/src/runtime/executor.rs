//! One executor thread: its loop of turns, and how it sleeps.

use super::doorbell::{Doorbell, always_readable, answer};
use super::injector::Injector;
use super::sleeper::Sleeper;
use super::sockets::{Connection, accept};
use crate::app::{ConnectionId, Input, ListenerId, MAX_SHARDS, Shard, ShardId};
use crate::counters::SLOW_TURN_US;
use crate::engine::Engine;
use crate::mesh::{Port, RING_BATCHES, ports};
use glommio::io::PollableFd;
use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement as GlommioPlacement};
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Registered memory per executor: sockets do not use it, and memlock is scarce where it is limited.
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Entries of one executor's ring: readiness polls queue up beyond it, they are not lost.
const RING_ENTRIES: usize = 1024;
/// Glommio's timer that takes a task queue off the CPU: never. No task here runs for longer than a turn, and when the timer
/// strikes before the first task of a round ran, glommio takes the queue for empty and sleeps on what it holds.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);
/// An executor that always has work looks at its sockets so often: after the first turn that ends as many microseconds
/// after the last look. A look costs some four system calls, a few per cent of that.
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
    let ready = executor.and_then(|executor| Ok((executor, always_readable().map_err(|error| error.to_string())?)));
    let (executor, always_readable) = match ready {
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
            waiting_readers: RefCell::default(),
            waiting_acceptors: RefCell::default(),
            gathering: RefCell::default(),
            packets: parts.packets,
            scratch: RefCell::default(),
            stopping: Cell::new(false),
            failure: RefCell::new(None),
            writers: Cell::new(0),
            turns: RefCell::new(None),
            poked: Cell::new(false),
            epoch: Instant::now(),
        });
        core.engine.borrow_mut().start(core.now_us());
        for (id, listener) in parts.listeners {
            glommio::spawn_local(accept(core.clone(), id, listener)).detach();
        }
        let doorbell = parts.doorbells[parts.shard.index()].clone();
        glommio::spawn_local(answer_doorbell(core.clone(), doorbell.bell())).detach();
        match PollableFd::new(always_readable) {
            Ok(look) => core.run(&parts.doorbells, parts.shard, &parts.external, &look).await,
            Err(error) => core.fail(&error.to_string()),
        }
        core.failure.take()
    });
    failure.map_or(Ok(()), Err)
}

/// Wakes the turns whenever the bell has rung.
async fn answer_doorbell<S: Shard>(core: Rc<Core<S>>, bell: Arc<OwnedFd>) {
    let readable = PollableFd::new(bell);
    while let Ok(bell) = &readable
        && bell.readable().await.is_ok()
    {
        answer(bell.get_ref());
        core.poke();
    }
    core.fail("its doorbell cannot be watched");
}

/// What the tasks of one executor share.
pub(super) struct Core<S: Shard> {
    pub(super) engine: RefCell<Engine<S>>,
    pub(super) connections: RefCell<HashMap<ConnectionId, Rc<Connection>>>,
    /// Readers that wait until the engine has taken what they had.
    pub(super) waiting_readers: RefCell<Vec<Rc<Connection>>>,
    waiting_acceptors: RefCell<Vec<Waker>>,
    /// Connections whose bytes wait for more to be sent with them.
    pub(super) gathering: RefCell<Vec<Rc<Connection>>>,
    pub(super) packets: PacketSockets,
    /// Where small buffers are gathered to be sent together.
    pub(super) scratch: RefCell<Vec<u8>>,
    pub(super) stopping: Cell<bool>,
    /// Why this executor ends badly.
    pub(super) failure: RefCell<Option<String>>,
    /// Tasks that send what a full socket left over.
    pub(super) writers: Cell<usize>,
    /// The task that runs the turns, while it waits.
    turns: RefCell<Option<Waker>>,
    poked: Cell<bool>,
    epoch: Instant,
}

impl<S: Shard> Core<S> {
    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Says that the engine has something to handle.
    pub(super) fn poke(&self) {
        self.poked.set(true);
        if let Some(waker) = self.turns.borrow_mut().take() {
            waker.wake();
        }
    }

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

    async fn run(
        self: &Rc<Self>,
        doorbells: &[Arc<Doorbell>],
        shard: ShardId,
        external: &Receiver<S::External>,
        look: &PollableFd<OwnedFd>,
    ) {
        let own = &doorbells[shard.index()];
        let mut looked_us = self.now_us();
        self.carry_out();
        loop {
            self.take_external(external);
            let began_us = self.now_us();
            {
                let mut engine = self.engine.borrow_mut();
                engine.turn(began_us, |to| doorbells[to.index()].ring());
                let took_us = self.now_us() - began_us;
                engine.counters().turn_times.record(took_us);
                if took_us >= SLOW_TURN_US {
                    tracing::debug!(shard = shard.0, took_us, "slow turn");
                }
            }
            self.carry_out();
            if self.stopping.get() {
                break;
            }
            self.wake_sources();
            {
                let mut engine = self.engine.borrow_mut();
                own.sleeper.set_clogged(engine.is_clogged());
                // The turn made room in the rings of those it took from.
                engine.taken_from(|from| doorbells[from.index()].ring_if_clogged());
            }
            let now_us = self.now_us();
            if !self.engine.borrow().has_work(now_us) {
                self.sleep(&own.sleeper, external).await;
                looked_us = self.now_us();
            } else if now_us - looked_us < LOOK_AT_SOCKETS_US {
                glommio::executor().yield_now().await;
            } else if let Err(error) = look.readable().await {
                self.fail(&error.to_string());
            } else {
                looked_us = self.now_us();
            }
        }
        self.engine.borrow_mut().close();
        for doorbell in doorbells {
            doorbell.ring();
        }
        self.send_gathered();
        self.drain().await;
    }

    /// Ends this executor badly after its next turn.
    fn fail(&self, why: &str) {
        *self.failure.borrow_mut() = Some(why.to_owned());
        self.stopping.set(true);
        self.poke();
    }

    fn take_external(&self, external: &Receiver<S::External>) {
        while let Ok(value) = external.try_recv() {
            self.engine.borrow_mut().input(Input::External(value));
        }
    }

    fn wake_sources(&self) {
        let (accepts_input, mut room) = {
            let engine = self.engine.borrow();
            (engine.accepts_input(), engine.room_for_reads())
        };
        // The first come first; who is not waiting any more takes no place.
        self.waiting_readers.borrow_mut().retain(|connection| {
            let stays = room == 0;
            room -= usize::from(!stays && connection.wake_reader());
            stays
        });
        if accepts_input {
            for waker in self.waiting_acceptors.borrow_mut().drain(..) {
                waker.wake();
            }
        }
    }

    /// Waits for a poke, that of the doorbell too, or the next timer.
    async fn sleep(&self, sleeper: &Sleeper, external: &Receiver<S::External>) {
        let mut timer = self.engine.borrow().next_timer_us().map(|at_us| {
            let wait_us = at_us.saturating_sub(self.now_us()).max(1);
            Timer::new(Duration::from_micros(wait_us))
        });
        let mut asleep = false;
        std::future::poll_fn(|context: &mut Context<'_>| {
            // Whoever polls a sleeper has a reason: the poke or the timer.
            if asleep || self.poked.get() {
                return Poll::Ready(());
            }
            if let Some(timer) = &mut timer
                && Pin::new(timer).poll(context).is_ready()
            {
                return Poll::Ready(());
            }
            *self.turns.borrow_mut() = Some(context.waker().clone());
            sleeper.fall_asleep();
            self.take_external(external);
            if self.engine.borrow().has_work(self.now_us()) {
                return Poll::Ready(());
            }
            asleep = true;
            Poll::Pending
        })
        .await;
        sleeper.wake_up();
        self.turns.borrow_mut().take();
        self.poked.set(false);
    }

    /// After the last turn: what a full socket left over has a moment to leave.
    async fn drain(&self) {
        let deadline = Instant::now() + SHUTDOWN_GRACE;
        while self.writers.get() > 0 && Instant::now() < deadline {
            Timer::new(Duration::from_millis(5)).await;
        }
    }
}
