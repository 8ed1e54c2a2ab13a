//! One executor's turns, without a runtime (design §3).
//!
//! Decides what is handled when, and when its effects may leave: the same code runs under glommio in the daemon and
//! under the simulator in the tests. It holds no socket, reads no clock and never waits; the runtime brings what was
//! received and carries effects out.

use crate::app::{ConnectionId, Effect, Input, Shard, ShardId, Turn};
use crate::counters::{Counters, Queues};
use crate::faults::{Fault, seeded};
use crate::mesh::Port;
use crate::receive::{READS_PER_INTAKE, ReceiveBuffer, ReceivePool};
use crate::timers::Timers;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Handlers that one turn runs before it emits: what a turn can add to a ring, and how long other executors and the
/// sockets wait for this one, are bounded by it. Size it in handlers, not time, so that a simulated run repeats.
pub const TURN_BUDGET_HANDLERS: usize = 512;

/// Timers that fire before sockets, other threads and executors are looked at again: many thousands may be due at once.
const TIMERS_PER_INTAKE: usize = 256;
/// A timer that fires so many microseconds late says that this executor has not run: no turn takes as long.
const LATE_US: u64 = 250_000;

enum Work<S: Shard> {
    Message(ShardId, S::Message),
    Received(ConnectionId),
    Input(Input<S::External, S::Timer>),
}

/// Runs the turns of one executor.
pub(crate) struct Engine<S: Shard> {
    shard: S,
    turn: Turn<S>,
    port: Port<S::Message>,
    /// What the sockets, timers and other threads brought since the last intake.
    arrived: VecDeque<Work<S>>,
    /// How much of it was there when the intake began: the rest came after the counters were loaded, and waits.
    taken_in: usize,
    takes_in: bool,
    /// How many of what arrived are connections to be read from.
    reads_waiting: usize,
    /// As many may wait.
    reads_max: usize,
    /// Handlers that one turn runs.
    budget: usize,
    /// What this turn, or the next ones if its budget is spent, have to handle, breadth first.
    work: VecDeque<Work<S>>,
    /// Effects of turns that are not committed yet, each with its turn.
    held: VecDeque<(u64, Effect)>,
    timers: Timers<S::Timer>,
    receive: HashMap<ConnectionId, ReceiveBuffer>,
    pool: ReceivePool,
    /// When the last turn began, and whether it ended clogged.
    last_turn: (u64, bool),
}

impl<S: Shard> Engine<S> {
    pub(crate) fn new(shard: S, port: Port<S::Message>, id: ShardId, shards: usize) -> Self {
        Self {
            shard,
            turn: Turn::new(id, shards),
            port,
            arrived: VecDeque::new(),
            taken_in: 0,
            takes_in: false,
            reads_waiting: 0,
            reads_max: READS_PER_INTAKE,
            budget: TURN_BUDGET_HANDLERS,
            work: VecDeque::new(),
            held: VecDeque::new(),
            timers: Timers::default(),
            receive: HashMap::new(),
            pool: ReceivePool::default(),
            last_turn: (0, false),
        }
    }

    pub(crate) fn start(&mut self, now_us: u64) {
        self.turn.now_us = now_us;
        self.shard.on_start(&mut self.turn);
        self.end_turn();
        let turn = self.port.emit(&mut self.turn.remote);
        self.held.extend(self.turn.effects.drain(..).map(|effect| (turn, effect)));
    }

    /// Whether sources may be read: not while what earlier ones caused waits for room in the mesh.
    pub(crate) fn accepts_input(&self) -> bool {
        !self.port.is_clogged()
    }

    /// How many more connections may be read before the next intake.
    pub(crate) fn room_for_reads(&self) -> usize {
        if self.accepts_input() { self.reads_max - self.reads_waiting } else { 0 }
    }

    /// The application, for tests that look inside.
    #[cfg(test)]
    pub(crate) fn shard(&mut self) -> &mut S {
        &mut self.shard
    }

    pub(crate) fn is_clogged(&self) -> bool {
        self.port.is_clogged()
    }

    /// The executors whose batches were taken since the last call.
    pub(crate) fn taken_from(&mut self, each: impl FnMut(ShardId)) {
        self.port.taken_from(each);
    }

    /// Whether a turn would do something.
    pub(crate) fn has_work(&self, now_us: u64) -> bool {
        !self.work.is_empty()
            || self.port.has_incoming()
            || self.port.can_push()
            || (self.accepts_input()
                && (!self.arrived.is_empty() || self.timers.next_us().is_some_and(|at_us| at_us <= now_us)))
    }

    /// When the next timer is due.
    pub(crate) fn next_timer_us(&self) -> Option<u64> {
        self.timers.next_us()
    }

    pub(crate) fn input(&mut self, input: Input<S::External, S::Timer>) {
        self.arrived.push_back(Work::Input(input));
    }

    /// Room for received bytes, or `None` while the connection must not be read: it is gone, paused, or has bytes that
    /// were not handled yet, or enough others have.
    pub(crate) fn receive_space(&mut self, connection: ConnectionId) -> Option<&mut [u8]> {
        if self.room_for_reads() == 0 {
            return None;
        }
        let buffer = self.receive.get_mut(&connection)?;
        buffer.space(&mut self.pool)
    }

    /// Whether the application has paused a connection: only [`Effect::Resume`] makes it readable again.
    pub(crate) fn is_paused(&self, connection: ConnectionId) -> bool {
        self.receive.get(&connection).is_some_and(ReceiveBuffer::is_paused)
    }

    /// Says how many bytes were put into [`Engine::receive_space`].
    pub(crate) fn received(&mut self, connection: ConnectionId, bytes: usize) {
        if let Some(buffer) = self.receive.get_mut(&connection) {
            buffer.filled(bytes);
            self.reads_waiting += 1;
            self.arrived.push_back(Work::Received(connection));
        }
    }

    /// Says that nothing was put into [`Engine::receive_space`].
    pub(crate) fn received_nothing(&mut self, connection: ConnectionId) {
        if let Some(buffer) = self.receive.get_mut(&connection) {
            buffer.settle(&mut self.pool);
        }
    }

    pub(crate) fn counters(&mut self) -> &mut Counters {
        &mut self.turn.counters
    }

    /// How full this executor's queues are.
    fn queues(&self) -> Queues {
        Queues {
            work: (self.work.len() + self.arrived.len()) as u64,
            held_effects: self.held.len() as u64,
            timers: self.timers.len() as u64,
            connections: self.receive.len() as u64,
            batches_waiting: self.port.waiting() as u64,
            ring_batches_max: self.port.fullest_ring() as u64,
        }
    }

    /// Makes turns shorter than [`TURN_BUDGET_HANDLERS`], and intakes smaller than [`READS_PER_INTAKE`], for a simulated
    /// world in which those are never spent.
    pub(crate) fn set_budget(&mut self, handlers: usize, reads: usize) {
        (self.budget, self.reads_max) = (handlers, reads);
    }

    /// One turn. `wake` is called for each executor that has something new to take. Effects that may leave are in
    /// [`Engine::effects`] afterwards.
    ///
    /// The parts are there for the simulator, which lets other executors run between them: each is what another thread
    /// may find done or not done.
    pub(crate) fn turn(&mut self, now_us: u64, wake: impl FnMut(ShardId)) {
        let shards = self.turn.shards;
        if self.begin_turn(now_us) {
            for index in 0..shards {
                self.observe(index);
            }
        }
        self.handle_turn(now_us);
        for index in 0..shards {
            self.push(index);
        }
        self.commit(wake);
    }

    /// Begins a turn. Returns whether it takes in something new: then [`Engine::observe`] follows for each executor.
    pub(crate) fn begin_turn(&mut self, now_us: u64) -> bool {
        self.turn.unread_us += self.unread_since_last_turn(now_us);
        self.turn.now_us = now_us;
        self.turn.queues = self.queues();
        // A turn that was cut short goes on with local work only: an intake before its leftovers would let an effect
        // overtake its cause.
        self.takes_in = self.work.is_empty() || seeded(Fault::IntakeBeforeLeftovers);
        if self.takes_in {
            self.taken_in = self.arrived.len();
            self.port.begin_intake();
        }
        self.takes_in
    }

    /// Loads the commit counter of an executor.
    pub(crate) fn observe(&mut self, index: usize) {
        self.port.observe(index);
    }

    /// Takes in, handles and emits: what only this executor can see.
    pub(crate) fn handle_turn(&mut self, now_us: u64) {
        if self.takes_in {
            self.intake(now_us);
        }
        let mut handled = 0;
        self.turn.budget = self.budget;
        // What a handler handles at once counts too.
        while self.turn.budget > 0 {
            let Some(work) = self.work.pop_front() else { break };
            self.turn.messages_waiting -= usize::from(matches!(work, Work::Message(..)));
            self.turn.budget -= 1;
            self.handle(work);
            handled += 1;
        }
        if handled > 0 {
            let counters = &mut self.turn.counters;
            counters.turns += 1;
            counters.handlers += handled as u64;
            counters.turns_cut_short += u64::from(!self.work.is_empty());
            self.end_turn();
        }
        let turn = self.port.emit(&mut self.turn.remote);
        self.held.extend(self.turn.effects.drain(..).map(|effect| (turn, effect)));
    }

    /// Pushes what an executor is sent, as far as its ring has room.
    pub(crate) fn push(&mut self, index: usize) {
        self.port.push(index);
    }

    /// Commits what is in the rings whole.
    pub(crate) fn commit(&mut self, wake: impl FnMut(ShardId)) {
        self.port.publish(wake);
        self.turn.counters.clogged_turns += u64::from(self.port.is_clogged());
        self.last_turn = (self.turn.now_us, self.port.is_clogged());
    }

    /// For how long the sources were not read since the last turn. A timer that comes very late says that nothing ran: it
    /// must not find its connection silent before that has been read once.
    fn unread_since_last_turn(&self, now_us: u64) -> u64 {
        let (last_us, was_clogged) = self.last_turn;
        let since_us = now_us.saturating_sub(last_us);
        let late_us = self.timers.next_us().map_or(0, |at_us| now_us.saturating_sub(at_us)).min(since_us);
        match was_clogged {
            true => since_us,
            false if late_us >= LATE_US => late_us + LATE_US,
            false => 0,
        }
    }

    /// Effects whose turn is committed, in order. Bytes leave only after the turn that made them (rule 5).
    pub(crate) fn effects(&mut self) -> impl Iterator<Item = Effect> {
        let committed = if seeded(Fault::SocketsBeforeCommit) { u64::MAX } else { self.port.committed() };
        let ready = self.held.iter().take_while(|(turn, _)| *turn <= committed).count();
        self.held.drain(..ready).map(|(_, effect)| effect)
    }

    /// Ends this executor's part in the mesh: what others still have for it is given up, and nobody waits for room in its
    /// rings. There are no turns after it.
    pub(crate) fn close(&mut self) {
        self.port.close();
    }

    fn intake(&mut self, now_us: u64) {
        // The sockets have been read by now: `arrived` is what they brought. Messages are taken and handled first.
        let Self { port, work, turn: Turn { counters, messages_waiting, .. }, .. } = self;
        let leftovers = work.len();
        port.take_observed(|from, message| {
            counters.messages_taken += 1;
            *messages_waiting += 1;
            work.push_back(Work::Message(from, message));
        });
        if seeded(Fault::IntakeBeforeLeftovers) {
            work.rotate_left(leftovers);
        }
        if self.accepts_input() {
            let Self { reads_waiting, arrived, work, taken_in, .. } = self;
            work.extend(arrived.drain(..*taken_in).inspect(|taken| {
                *reads_waiting -= usize::from(matches!(taken, Work::Received(_)));
            }));
            let due = std::iter::from_fn(|| self.timers.pop_due(now_us)).take(TIMERS_PER_INTAKE);
            self.work.extend(due.map(|timer| Work::Input(Input::Timer(timer))));
        }
    }

    fn handle(&mut self, work: Work<S>) {
        let handler = AssertUnwindSafe(|| match work {
            Work::Message(from, message) => self.shard.on_message(from, message, &mut self.turn),
            Work::Received(connection) => {
                Self::offer(&mut self.shard, &mut self.receive, &mut self.pool, connection, &mut self.turn);
            }
            Work::Input(Input::Closed { connection, cause })
                if self.receive.get(&connection).is_some_and(ReceiveBuffer::is_pending) =>
            {
                self.work.push_back(Work::Input(Input::Closed { connection, cause }));
            }
            Work::Input(input) => {
                let Some(input) = Self::unless_early_or_late(&mut self.receive, &mut self.pool, input) else { return };
                self.shard.on_input(input, &mut self.turn);
            }
        });
        let outcome = catch_unwind(handler);
        self.after(outcome);
    }

    fn end_turn(&mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.shard.on_turn_end(&mut self.turn)));
        self.after(outcome);
    }

    fn after(&mut self, outcome: std::thread::Result<()>) {
        if outcome.is_err() {
            // The application contains the panics of its participants; this one had none.
            self.turn.counters.uncontained_panics += 1;
            tracing::error!(shard = self.turn.shard.0, "a handler panicked outside of any participant");
        }
        self.after_handler();
    }

    fn offer(
        shard: &mut S,
        receive: &mut HashMap<ConnectionId, ReceiveBuffer>,
        pool: &mut ReceivePool,
        connection: ConnectionId,
        turn: &mut Turn<S>,
    ) {
        let Some(buffer) = receive.get_mut(&connection) else { return };
        buffer.offered();
        if !buffer.is_paused() {
            let used = shard.on_received(connection, buffer.bytes(), turn);
            buffer.consume(used);
        }
        buffer.settle(pool);
    }

    /// An end of a connection is told after everything that it had sent, and only if the application has not closed it.
    fn unless_early_or_late(
        receive: &mut HashMap<ConnectionId, ReceiveBuffer>,
        pool: &mut ReceivePool,
        input: Input<S::External, S::Timer>,
    ) -> Option<Input<S::External, S::Timer>> {
        let (connection, cause) = match input {
            Input::Connected { connection } | Input::Congested { connection } | Input::Relieved { connection, .. } => {
                return receive.contains_key(&connection).then_some(input);
            }
            Input::Closed { connection, cause } => (connection, cause),
            other => return Some(other),
        };
        let buffer = receive.get_mut(&connection)?;
        if buffer.is_paused() {
            buffer.end(cause);
            return None;
        }
        buffer.release(pool);
        receive.remove(&connection);
        Some(Input::Closed { connection, cause })
    }

    /// What must take effect before the next handler, not at the end of the turn.
    fn after_handler(&mut self) {
        let from = self.turn.shard;
        self.turn.messages_waiting += self.turn.local.len();
        if seeded(Fault::DepthFirstLocal) {
            for message in self.turn.local.drain(..).rev() {
                self.work.push_front(Work::Message(from, message));
            }
        }
        self.work.extend(self.turn.local.drain(..).map(|message| Work::Message(from, message)));
        for (connection, flow) in self.turn.flow.drain(..) {
            use crate::app::Flow;
            match flow {
                Flow::Attached => {
                    self.receive.insert(connection, ReceiveBuffer::default());
                }
                Flow::Closed => {
                    if let Some(mut buffer) = self.receive.remove(&connection) {
                        buffer.release(&mut self.pool);
                    }
                }
                Flow::Paused => {
                    if let Some(buffer) = self.receive.get_mut(&connection) {
                        buffer.pause();
                    }
                }
                Flow::Resumed => {
                    let Some(buffer) = self.receive.get_mut(&connection) else { continue };
                    if buffer.resume() {
                        self.work.push_back(Work::Received(connection));
                    }
                    if let Some(cause) = buffer.take_end() {
                        self.work.push_back(Work::Input(Input::Closed { connection, cause }));
                    }
                }
            }
        }
        for (at_us, timer) in self.turn.timers.drain(..) {
            self.timers.insert(at_us, timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::ports;

    const CLIENTS: usize = 100_000;
    const PERIOD_US: u64 = 10_000_000;

    /// Has a heartbeat for each client, all at once at first, and is asked now and then how many it has seen.
    #[derive(Default)]
    struct Heart {
        beats: Vec<u32>,
        seen: usize,
        seen_when_asked: Vec<usize>,
    }

    impl Shard for Heart {
        type Message = ();
        type External = ();
        type Timer = usize;

        fn on_start(&mut self, turn: &mut Turn<Self>) {
            self.beats = vec![0; CLIENTS];
            (0..CLIENTS).for_each(|client| turn.timer(PERIOD_US, client));
        }

        fn on_message(&mut self, _: ShardId, (): (), _: &mut Turn<Self>) {}

        fn on_received(&mut self, _: ConnectionId, bytes: &[u8], _: &mut Turn<Self>) -> usize {
            bytes.len()
        }

        fn on_input(&mut self, input: Input<(), usize>, turn: &mut Turn<Self>) {
            match input {
                Input::Timer(client) => {
                    self.beats[client] += 1;
                    self.seen += 1;
                    turn.timer(turn.now_us() + PERIOD_US, client);
                }
                _ => self.seen_when_asked.push(self.seen),
            }
        }
    }

    #[test]
    fn a_hundred_thousand_heartbeats_at_once_keep_nobody_waiting() {
        let mut engine = Engine::new(Heart::default(), ports(1, 1).remove(0), ShardId(0), 1);
        engine.start(0);
        for round in 1..=3 {
            let now_us = round * PERIOD_US;
            engine.turn(now_us - 1, |_| ());
            assert_eq!(engine.shard().seen, 0, "none is early");
            while engine.next_timer_us() == Some(now_us) {
                engine.input(Input::External(()));
                engine.turn(now_us, |_| ());
            }
            while engine.has_work(now_us) {
                engine.turn(now_us, |_| ());
            }
            assert_eq!(engine.queues().timers, CLIENTS as u64, "an entry each, and no more");
            let heart = engine.shard();
            assert!(heart.beats.iter().all(|&beats| u64::from(beats) == round));
            let asked = std::mem::take(&mut heart.seen_when_asked);
            assert!(asked.windows(2).all(|pair| pair[1] - pair[0] <= TIMERS_PER_INTAKE), "{asked:?}");
            assert!(asked.len() >= CLIENTS / TIMERS_PER_INTAKE);
            heart.seen = 0;
        }
    }

    /// Asks as often as it is told to whether a message may be handled at once, and sends itself one if it is told to.
    #[derive(Default)]
    struct Eager {
        allowed: Vec<usize>,
    }

    impl Shard for Eager {
        type Message = ();
        type External = (usize, bool);
        type Timer = ();

        fn on_start(&mut self, _: &mut Turn<Self>) {}

        fn on_message(&mut self, _: ShardId, (): (), _: &mut Turn<Self>) {}

        fn on_received(&mut self, _: ConnectionId, bytes: &[u8], _: &mut Turn<Self>) -> usize {
            bytes.len()
        }

        fn on_input(&mut self, input: Input<(usize, bool), ()>, turn: &mut Turn<Self>) {
            let Input::External((often, sends)) = input else { return };
            self.allowed.push((0..often).filter(|_| turn.may_handle_at_once()).count());
            if sends {
                turn.send(turn.shard(), ());
            }
        }
    }

    fn eager(inputs: &[(usize, bool)]) -> Engine<Eager> {
        let mut engine = Engine::new(Eager::default(), ports(1, 1).remove(0), ShardId(0), 1);
        engine.start(0);
        inputs.iter().for_each(|&input| engine.input(Input::External(input)));
        engine.turn(1, |_| ());
        engine
    }

    #[test]
    fn what_is_handled_at_once_counts_as_handlers_of_the_turn() {
        let mut engine = eager(&[(10 * TURN_BUDGET_HANDLERS, false)]);
        let [allowed] = engine.shard().allowed[..] else { panic!("one was asked") };
        assert!((1..=TURN_BUDGET_HANDLERS).contains(&allowed), "{allowed}");
        assert_eq!(engine.counters().handlers_at_once, allowed as u64);
        engine.input(Input::External((10 * TURN_BUDGET_HANDLERS, false)));
        engine.turn(2, |_| ());
        assert_eq!(engine.shard().allowed, [allowed; 2], "the next turn has a budget of its own");
    }

    #[test]
    fn nothing_is_handled_at_once_before_a_message_that_waits() {
        let mut engine = eager(&[(1, true), (1, false)]);
        assert_eq!(engine.shard().allowed, [1, 0]);
        while engine.has_work(2) {
            engine.turn(2, |_| ());
        }
        engine.input(Input::External((1, false)));
        engine.turn(3, |_| ());
        assert_eq!(engine.shard().allowed, [1, 0, 1], "it has been handled meanwhile");
    }

    /// Sends numbers to the other executor, adding to the message that goes there anyway if there is one.
    #[derive(Default)]
    struct Adder {
        got: Vec<Vec<u32>>,
    }

    impl Shard for Adder {
        type Message = Vec<u32>;
        type External = u32;
        type Timer = ();

        fn on_start(&mut self, _: &mut Turn<Self>) {}

        fn on_message(&mut self, _: ShardId, numbers: Vec<u32>, turn: &mut Turn<Self>) {
            turn.count_handlers(numbers.len() - 1);
            self.got.push(numbers);
        }

        fn on_received(&mut self, _: ConnectionId, bytes: &[u8], _: &mut Turn<Self>) -> usize {
            bytes.len()
        }

        fn on_input(&mut self, input: Input<u32, ()>, turn: &mut Turn<Self>) {
            let Input::External(number) = input else { return };
            match turn.last_sent_mut(ShardId(1)) {
                Some(numbers) => numbers.push(number),
                None => turn.send(ShardId(1), vec![number]),
            }
        }
    }

    #[test]
    fn what_is_added_to_a_message_travels_with_it_and_each_counts_as_a_handler() {
        let mut ports = ports(2, 4).into_iter();
        let mut engine = |id| Engine::new(Adder::default(), ports.next().unwrap(), ShardId(id), 2);
        let (mut sender, mut receiver) = (engine(0), engine(1));
        for numbers in [&[1, 2, 3][..], &[4]] {
            numbers.iter().for_each(|&number| sender.input(Input::External(number)));
            sender.turn(1, |_| ());
        }
        receiver.turn(1, |_| ());
        assert_eq!(receiver.shard().got, [vec![1, 2, 3], vec![4]], "what has left is not added to");
        let counters = receiver.counters();
        assert_eq!((counters.handlers, counters.handlers_at_once), (2, 2));
    }
}
