//! The executor's own io_uring: which descriptors are ready, what time it is for its tasks, and one wait for all of it.
//!
//! Glommio runs the tasks; what they wait for comes from here. Its own reactor makes five system calls each time an
//! executor falls asleep, which is what sparse traffic consists of (docs/PERFORMANCE.md); this one makes one. Everything
//! here is about readiness: the ring never sees memory of ours, so that no buffer can outlive its owner in the kernel.

use crate::timers::Timers;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Entries that are submitted at once; more are submitted when these are full.
const SUBMISSIONS: u32 = 256;
/// Events that fit between two looks; the kernel keeps what is beyond them. The kernel also makes its table of polls
/// of this size: from 8192 on it has 256 lists of them, the most it knows, and to end a poll is to search a list. With 128
/// lists a sixth of the time went into that search when 12,000 connections ended.
const COMPLETIONS: u32 = 8192;
/// What answers a request to forget a descriptor carries: nobody waits for it.
const NOBODY: u64 = u64::MAX;
/// How long an executor that ends waits for the kernel to let go of its descriptors.
const CLOSE_PATIENCE: Timespec = Timespec::new().sec(1);

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Readable,
    Writable,
}

/// What is known of a watched descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readiness {
    /// The other end has sent its last byte, or something is wrong: a read finds out, behind what came before. If it does
    /// not, the descriptor cannot be watched.
    pub(super) ends: bool,
}

/// A descriptor that is watched, until [`Ring::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watch(u64);

enum Waiting<T> {
    /// Told of every time it becomes readable.
    Watched { fd: RawFd, what: T },
    /// A task waits for it once.
    Once(Rc<Outcome>),
}

#[derive(Default)]
struct Outcome {
    result: RefCell<Option<Result<()>>>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Alarm {
    rings: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One executor's ring. `T` is what its owner knows a watched descriptor by.
pub(super) struct Ring<T> {
    uring: RefCell<IoUring>,
    /// Each with the generation that its events carry: an event of one that is gone must not find its successor.
    waiting: RefCell<Slab<(u32, Waiting<T>)>>,
    generation: Cell<u32>,
    alarms: RefCell<Timers<Rc<Alarm>>>,
    /// Completions, between the ring and those they concern.
    arrived: RefCell<Vec<cqueue::Entry>>,
    has_woken: Cell<bool>,
    epoch: Instant,
}

impl<T: Clone> Ring<T> {
    /// The thread that makes it is the one that uses it.
    ///
    /// # Errors
    /// When the system has no ring for this process.
    pub(super) fn new() -> Result<Self> {
        // Before Linux 6.1 completions interrupt the thread instead of waiting until it looks: slower, and no different.
        let uring = deferring().or_else(|_| plain())?;
        // No ring tells that it knows lasting polls; this came with them.
        match uring.params().is_feature_resource_tagging() {
            true => Ok(Self::over(uring)),
            false => Err(Error::new(ErrorKind::Unsupported, "Linux 5.13 or later is needed")),
        }
    }

    fn over(uring: IoUring) -> Self {
        Self {
            uring: RefCell::new(uring),
            waiting: RefCell::default(),
            generation: Cell::new(0),
            alarms: RefCell::default(),
            arrived: RefCell::default(),
            has_woken: Cell::new(false),
            epoch: Instant::now(),
        }
    }

    /// Microseconds since this ring was made.
    pub(super) fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Whether tasks were woken, or spawned, since the last call: they are to run before anybody waits.
    pub(super) fn has_woken(&self) -> bool {
        self.has_woken.take()
    }

    /// Wakes a task of this executor.
    pub(super) fn wake(&self, waker: Waker) {
        self.has_woken.set(true);
        waker.wake();
    }

    /// Runs a task beside the turns.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.has_woken.set(true);
        glommio::spawn_local(task).detach();
    }

    /// Watches a descriptor, which must stay open until it is forgotten: [`Ring::look`] and [`Ring::wait`] tell whenever
    /// something came, and not again as long as that is not read. A read that fills less than its buffer has read
    /// everything, unless the descriptor [ends](Readiness::ends).
    pub(super) fn watch(&self, fd: &impl AsFd, what: T) -> Watch {
        let fd = fd.as_fd().as_raw_fd();
        let key = self.keep(Waiting::Watched { fd, what });
        self.submit(watching(fd).user_data(key));
        Watch(key)
    }

    /// Ends a watch, events under way included.
    pub(super) fn forget(&self, watch: Watch) {
        if self.release(watch.0) {
            self.submit(opcode::PollRemove::new(watch.0).build().user_data(NOBODY));
        }
    }

    /// Resolves when a descriptor is ready, an end or an error being readiness too.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub(super) fn ready<'r>(&'r self, fd: &'r impl AsFd, interest: Interest) -> Ready<'r, T> {
        let outcome = Rc::new(Outcome::default());
        let key = self.keep(Waiting::Once(outcome.clone()));
        let events = match interest {
            Interest::Readable => libc::POLLIN,
            Interest::Writable => libc::POLLOUT,
        };
        let fd = Fd(fd.as_fd().as_raw_fd());
        self.submit(opcode::PollAdd::new(fd, events as u32).build().user_data(key));
        Ready { ring: self, key, outcome }
    }

    /// Resolves when so much time has passed.
    pub(super) fn after(&self, time: Duration) -> Sleep {
        let alarm = Rc::new(Alarm::default());
        let at_us = self.now_us().saturating_add(time.as_micros().try_into().unwrap_or(u64::MAX));
        self.alarms.borrow_mut().insert(at_us, alarm.clone());
        Sleep(alarm)
    }

    /// Tells of what has happened, and does not wait: no system call when nothing has.
    ///
    /// # Errors
    /// When the ring does not work.
    pub(super) fn look(&self, each: impl FnMut(&T, Readiness)) -> Result<()> {
        {
            let mut uring = self.uring.borrow_mut();
            let queue = uring.submission();
            let must_enter = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
            drop(queue);
            if must_enter {
                passing(uring.submit())?;
            }
        }
        self.tell(each);
        Ok(())
    }

    /// Waits until something happens, `wake_us` ([`Ring::now_us`]) has come, or a task's time; then tells.
    ///
    /// # Errors
    /// When the ring does not work.
    pub(super) fn wait(&self, wake_us: Option<u64>, each: impl FnMut(&T, Readiness)) -> Result<()> {
        let next_us = [wake_us, self.alarms.borrow().next_us()].into_iter().flatten().min();
        {
            let uring = self.uring.borrow();
            let entered = match next_us.map(|at_us| at_us.saturating_sub(self.now_us())) {
                Some(0) => uring.submit(),
                Some(left_us) => {
                    let time = Timespec::from(Duration::from_micros(left_us));
                    uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
                }
                None => uring.submit_and_wait(1),
            };
            passing(entered)?;
        }
        self.tell(each);
        Ok(())
    }

    /// Forgets everything at once, so that what is closed now is closed for everybody else too.
    pub(super) fn close(&self) {
        // Wakers among them may be all that holds a task, which looks for its place here when it goes.
        let (waiting, alarms) = (self.waiting.take(), self.alarms.take());
        drop((waiting, alarms));
        let uring = self.uring.borrow();
        // What is cancelled lets go of its descriptor when its completion is worked off, so a second call. Before Linux 6.0
        // the ring's end does it, a little later.
        let _ = uring.submit();
        let _ = uring.submitter().register_sync_cancel(Some(CLOSE_PATIENCE), CancelBuilder::any());
        let _ = uring.submit();
    }

    fn tell(&self, mut each: impl FnMut(&T, Readiness)) {
        let mut arrived = self.arrived.take();
        arrived.extend(self.uring.borrow_mut().completion());
        for event in arrived.drain(..) {
            self.tell_one(&event, &mut each);
        }
        self.arrived.replace(arrived);
        let now_us = self.now_us();
        while let Some(alarm) = self.pop_due(now_us) {
            alarm.rings.set(true);
            if let Some(waker) = alarm.waker.take() {
                self.wake(waker);
            }
        }
    }

    fn pop_due(&self, now_us: u64) -> Option<Rc<Alarm>> {
        self.alarms.borrow_mut().pop_due(now_us)
    }

    fn tell_one(&self, event: &cqueue::Entry, each: &mut impl FnMut(&T, Readiness)) {
        let key = event.user_data();
        let mut waiting = self.waiting.borrow_mut();
        let Some((generation, found)) = waiting.get(index_of(key)) else { return };
        if *generation != generation_of(key) {
            return;
        }
        match found {
            Waiting::Watched { fd, what } => {
                let (fd, what, events) = (*fd, what.clone(), event.result());
                drop(waiting);
                if events >= 0 && !cqueue::more(event.flags()) {
                    // The kernel may end a watch whenever it likes.
                    self.submit(watching(fd).user_data(key));
                }
                let ending = i32::from(libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR);
                each(&what, Readiness { ends: events < 0 || events & ending != 0 });
            }
            Waiting::Once(outcome) => {
                let outcome = outcome.clone();
                waiting.remove(index_of(key));
                drop(waiting);
                let result = if event.result() < 0 { Err(Error::from_raw_os_error(-event.result())) } else { Ok(()) };
                outcome.result.replace(Some(result));
                if let Some(waker) = outcome.waker.take() {
                    self.wake(waker);
                }
            }
        }
    }

    fn keep(&self, waiting: Waiting<T>) -> u64 {
        let generation = self.generation.get();
        self.generation.set(generation.wrapping_add(1));
        let index = self.waiting.borrow_mut().insert((generation, waiting));
        u64::from(generation) << 32 | index as u64
    }
}

impl<T> Ring<T> {
    /// Whether it was still kept.
    fn release(&self, key: u64) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let is_kept = waiting.get(index_of(key)).is_some_and(|(generation, _)| *generation == generation_of(key));
        if is_kept {
            waiting.remove(index_of(key));
        }
        is_kept
    }

    fn submit(&self, entry: squeue::Entry) {
        let mut uring = self.uring.borrow_mut();
        while !push(&mut uring, &entry) {
            if let Err(error) = passing(uring.submit()) {
                // The ring is broken, which whoever waits for it next finds out too.
                tracing::error!(%error, "a request to the ring is lost");
                return;
            }
        }
    }
}

/// Whether there was room for it.
fn push(uring: &mut IoUring, entry: &squeue::Entry) -> bool {
    // SAFETY: only polls and their removal come here. They carry a descriptor's number and a key, and no address: there is
    // no memory that would have to stay valid. A descriptor that was closed meanwhile is an error of the poll, and one that
    // was opened in its place an event of a key that nobody knows.
    unsafe { uring.submission().push(entry).is_ok() }
}

/// Completions are worked off when the executor looks, and do not interrupt it (Linux 6.1).
fn deferring() -> Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS).setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    builder.build(SUBMISSIONS)
}

/// As every kernel has it that knows lasting polls (Linux 5.13).
fn plain() -> Result<IoUring> {
    IoUring::builder().setup_cqsize(COMPLETIONS).build(SUBMISSIONS)
}

fn watching(fd: RawFd) -> squeue::Entry {
    let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
    opcode::PollAdd::new(Fd(fd), events).multi(true).build()
}

fn index_of(key: u64) -> usize {
    key as u32 as usize
}

fn generation_of(key: u64) -> u32 {
    (key >> 32) as u32
}

/// A wait that ended early, or found too much to tell at once, is none the worse.
fn passing(entered: Result<usize>) -> Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ETIME) || error.kind() == ErrorKind::Interrupted => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A task's wait for a descriptor.
pub(super) struct Ready<'r, T> {
    ring: &'r Ring<T>,
    key: u64,
    outcome: Rc<Outcome>,
}

impl<T> Future for Ready<'_, T> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(result) = self.outcome.result.take() {
            return Poll::Ready(result);
        }
        self.outcome.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl<T> Drop for Ready<'_, T> {
    fn drop(&mut self) {
        if self.ring.release(self.key) {
            self.ring.submit(opcode::PollRemove::new(self.key).build().user_data(NOBODY));
        }
    }
}

/// A task's wait for a time. It may be polled again after it was over.
pub(super) struct Sleep(Rc<Alarm>);

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.rings.get() {
            return Poll::Ready(());
        }
        self.0.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
