//! The rim of the Event Logger: one thread that owns the UDP socket and the files.
//!
//! No executor waits for it, and nothing that arrives stops it: a bad packet is counted and noted in the daemon's log,
//! a full disk costs lines and one message for each burst. What a file is called and what stands in it is decided by
//! [`super::log`].

use super::EventLoggerFigures;
use super::log::{self, Log, Opening};
use crate::config;
use jiff::Zoned;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The largest UDP packet is 65,507 bytes (EL-9).
const PACKET_BYTES_MAX: usize = 65_535;
/// What the kernel holds while this thread writes: some 40,000 events of 200 bytes. The system may grant less.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Lines are gathered up to so many bytes while packets wait; then, or when none waits, they are written.
const BATCH_BYTES: usize = 256 << 10;
/// So many packets are read before what else is asked of the thread is looked at, whatever comes of them.
const BATCH_PACKETS: usize = 4096;
/// For how long packets that go on coming are still read after the signal to stop.
const LAST_READS: Duration = Duration::from_secs(1);
/// How long after a failure to open a file the next attempt is made.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Files of one name, each with a number behind it, that may be full: more of them are a template without a time.
const NUMBERED_FILES_MAX: u32 = 10_000;
/// Refused packets are noted at most this often, with their number.
const REFUSALS_NOTED_EVERY: Duration = Duration::from_secs(1);

/// Why an Event Logger cannot start.
#[derive(Debug, thiserror::Error)]
#[error("event_logger: cannot listen on UDP {address}: {}", why(.source))]
pub struct BindError {
    pub address: SocketAddr,
    pub source: io::Error,
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "the address is in use. Is another donetd running? `ss -lunp` shows who has the port".into()
        }
        ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address; `ip address` shows those there are".into()
        }
        ErrorKind::PermissionDenied => "ports below 1024 need a privilege: CAP_NET_BIND_SERVICE".into(),
        _ => error.to_string(),
    }
}

/// A bound Event Logger that does not read yet.
#[derive(Debug)]
pub struct EventLoggerServer {
    socket: UdpSocket,
    log: Log,
    figures: Arc<EventLoggerFigures>,
}

impl EventLoggerServer {
    /// Binds the socket. Files are created later, by the thread.
    ///
    /// # Errors
    /// [`BindError`], if the address cannot be bound.
    pub fn bind(config: &config::EventLogger) -> Result<Self, BindError> {
        let address = config.bind;
        let bound = (|| {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            // As much as the system allows; how much is a matter of net.core.rmem_max.
            let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
            socket.bind(&address.into())?;
            socket.set_nonblocking(true)?;
            let socket = UdpSocket::from(socket);
            let local_addr = socket.local_addr()?;
            Ok((socket, local_addr))
        })();
        let (socket, local_addr): (UdpSocket, SocketAddr) = bound.map_err(|source| BindError { address, source })?;
        let figures = Arc::new(EventLoggerFigures::new(local_addr, &socket));
        Ok(Self { socket, log: Log::new(config.into()), figures })
    }

    /// Where packets go to; the port is the real one when 0 was configured.
    pub fn local_addr(&self) -> SocketAddr {
        self.figures.address
    }

    /// Opens the first file and begins to read, on the thread `event-logger`.
    ///
    /// # Errors
    /// When the operating system gives no thread or no pair of sockets.
    pub fn start(self) -> io::Result<RunningEventLogger> {
        let (stop, stopped) = UnixStream::pair()?;
        let figures = self.figures.clone();
        let settings: Arc<Mutex<Option<config::EventLogger>>> = Arc::default();
        let taken = settings.clone();
        let thread = std::thread::Builder::new().name("event-logger".into()).spawn(move || {
            let (writer, refused) = (Writer::new(self.log, self.figures), Refused::default());
            Worker { writer, socket: self.socket, stopped, settings: taken, refused }.run();
        })?;
        Ok(RunningEventLogger { figures, settings, stop: Some(stop), thread: Some(thread) })
    }
}

/// A running Event Logger; dropping it stops it.
#[derive(Debug)]
pub struct RunningEventLogger {
    figures: Arc<EventLoggerFigures>,
    /// What the thread is to go on with, until it has taken it.
    settings: Arc<Mutex<Option<config::EventLogger>>>,
    /// Closing it is the signal.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl RunningEventLogger {
    /// Where packets go to.
    pub fn local_addr(&self) -> SocketAddr {
        self.figures.address
    }

    /// What it counts.
    pub fn figures(&self) -> Arc<EventLoggerFigures> {
        self.figures.clone()
    }

    /// Goes on with other settings, at the same address: if they name another file, it is opened now.
    pub fn reload(&self, settings: &config::EventLogger) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings.clone());
        if let Some(mut stop) = self.stop.as_ref() {
            // It fails only when the thread has ended.
            let _ = stop.write(&[0]);
        }
    }

    /// Writes what had arrived, and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the Event Logger's thread had panicked");
        }
    }
}

impl Drop for RunningEventLogger {
    fn drop(&mut self) {
        self.end();
    }
}

struct Worker {
    socket: UdpSocket,
    stopped: UnixStream,
    writer: Writer,
    settings: Arc<Mutex<Option<config::EventLogger>>>,
    refused: Refused,
}

impl Worker {
    fn run(mut self) {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        self.writer.prepare(&Zoned::now(), 0);
        let (mut more, mut stop_at) = (false, None);
        loop {
            if self.wait(more) {
                stop_at.get_or_insert_with(|| Instant::now() + LAST_READS);
            }
            // After the signal to stop: what had arrived before it.
            more = self.read_batch(&mut packet);
            let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(settings) = settings {
                self.writer.reload(&settings, &Zoned::now());
            }
            if stop_at.is_some_and(|stop_at| !more || Instant::now() >= stop_at) {
                self.refused.note();
                return;
            }
        }
    }

    /// Waits for a packet or the signal to stop, or only looks where `more` packets are known to wait. Whether to stop.
    fn wait(&mut self, more: bool) -> bool {
        let mut sources =
            [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.stopped, PollFlags::IN | PollFlags::HUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut sources, more.then_some(&at_once)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return false,
            Err(error) => {
                tracing::error!(%error, "the Event Logger cannot wait for packets and ends");
                return true;
            }
        }
        !sources[1].revents().is_empty() && matches!((&self.stopped).read(&mut [0]), Ok(0))
    }

    /// Reads packets that wait, and writes their lines. Whether more may wait.
    fn read_batch(&mut self, packet: &mut [u8]) -> bool {
        let now = Zoned::now();
        let time = log::time_text(&now);
        let mut lines = Lines::default();
        let mut more = true;
        for _ in 0..BATCH_PACKETS {
            match self.socket.recv(packet) {
                Ok(length) => match log::line_at(&packet[..length], &time) {
                    Ok(line) => lines.push(&line),
                    Err(refusal) => {
                        self.writer.figures.refused.fetch_add(1, Ordering::Relaxed);
                        self.refused.count(refusal);
                    }
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        // An ICMP answer to something this socket never sent; the next call is as good as ever.
                        tracing::warn!(%error, "the Event Logger's socket reports an error");
                    }
                    more = false;
                    break;
                }
            }
            if lines.text.len() >= BATCH_BYTES {
                break;
            }
        }
        self.writer.write(lines, &now);
        more
    }
}

/// Packets that add no line: noted with the last reason and their number, never one by one.
#[derive(Default)]
struct Refused {
    count: u64,
    last: Option<super::json::Refusal>,
    noted_at: Option<Instant>,
}

impl Refused {
    fn count(&mut self, refusal: super::json::Refusal) {
        self.count += 1;
        self.last = Some(refusal);
        if self.noted_at.is_none_or(|at| at.elapsed() >= REFUSALS_NOTED_EVERY) {
            self.note();
        }
    }

    fn note(&mut self) {
        if let Some(reason) = self.last.take() {
            tracing::warn!(packets = self.count, %reason, "the Event Logger refused packets");
            self.count = 0;
            self.noted_at = Some(Instant::now());
        }
    }
}

/// Whole lines, each with its newline.
#[derive(Default)]
struct Lines {
    text: String,
    count: u64,
}

impl Lines {
    fn first_bytes(&self) -> usize {
        self.text.bytes().position(|byte| byte == b'\n').map_or(self.text.len(), |end| end + 1)
    }

    /// Takes whole lines from the front: all, or as many as fit into so many bytes, and one in any case.
    fn take(&mut self, bytes_max: u64) -> Lines {
        let Some(room) = usize::try_from(bytes_max).ok().filter(|&room| room < self.text.len()) else {
            return std::mem::take(self);
        };
        let fits = self.text.as_bytes()[..room].iter().rposition(|&byte| byte == b'\n');
        let end = fits.map_or_else(|| self.first_bytes(), |end| end + 1);
        let rest = self.text.split_off(end);
        let taken = std::mem::replace(&mut self.text, rest);
        let count = taken.bytes().filter(|&byte| byte == b'\n').count() as u64;
        self.count -= count;
        Lines { text: taken, count }
    }
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.count += 1;
    }
}

/// What a log writes to.
trait Sink {
    /// Appends all, or nothing.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Bytes that it has.
    fn length(&self) -> u64;
}

impl Sink for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write(&bytes[written..]) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => {
                    // Half a line would make the next one unreadable as well.
                    let length = self.metadata()?.len();
                    self.set_len(length.saturating_sub(written as u64))?;
                    return Err(result.err().unwrap_or_else(|| ErrorKind::WriteZero.into()));
                }
            }
        }
        Ok(())
    }

    fn length(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }
}

type Open = fn(&Path) -> io::Result<Box<dyn Sink>>;

fn open_file(path: &Path) -> io::Result<Box<dyn Sink>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(Box::new(OpenOptions::new().append(true).create(true).open(path)?))
}

/// The file that is open, and the troubles with it.
struct Writer {
    log: Log,
    figures: Arc<EventLoggerFigures>,
    open: Open,
    file: Option<(PathBuf, Box<dyn Sink>)>,
    failed_at: Option<Instant>,
    /// Lines lost since writing last worked; the first loss of a burst was reported.
    lost: u64,
    failing: bool,
}

impl Writer {
    fn new(log: Log, figures: Arc<EventLoggerFigures>) -> Self {
        Self { log, figures, open: open_file, file: None, failed_at: None, lost: 0, failing: false }
    }

    /// Goes on with other settings.
    fn reload(&mut self, settings: &config::EventLogger, now: &Zoned) {
        self.log.reload(settings.into());
        self.failed_at = None;
        self.prepare(now, 0);
    }

    /// Opens the file that is due for a line of so many bytes, if any.
    fn prepare(&mut self, now: &Zoned, line_bytes: usize) {
        let Some(Opening { path, line }) = self.log.due(now, line_bytes) else { return };
        if self.failed_at.is_some_and(|at| at.elapsed() < OPEN_AGAIN_AFTER) {
            return;
        }
        match self.open_with_room(path.clone(), &line, line_bytes) {
            Ok((path, file)) => {
                tracing::info!(path = %path.display(), "event log opened");
                self.figures.files.fetch_add(1, Ordering::Relaxed);
                self.log.opened(now, file.length());
                self.file = Some((path, file));
                self.failed_at = None;
            }
            Err(error) => {
                self.failed_at = Some(Instant::now());
                self.report(&path, &error);
            }
        }
    }

    /// Opens a file and writes its first line; if one of the name has no room for it and the line that follows, one with a
    /// number behind the name.
    fn open_with_room(&self, path: PathBuf, line: &str, line_bytes: usize) -> io::Result<(PathBuf, Box<dyn Sink>)> {
        let name = |number: u32| match number {
            0 => path.clone(),
            number => PathBuf::from(format!("{}.{number}", path.display())),
        };
        // The last one there is, so that later lines never stand in an earlier file.
        let last = (1..=NUMBERED_FILES_MAX).find(|&number| !name(number).exists()).unwrap_or(NUMBERED_FILES_MAX) - 1;
        for number in last..=NUMBERED_FILES_MAX {
            let mut file = (self.open)(&name(number))?;
            if self.log.has_room(file.length(), line.len() + line_bytes) {
                file.append(line.as_bytes())?;
                return Ok((name(number), file));
            }
        }
        Err(io::Error::other(format!("{NUMBERED_FILES_MAX} files of this name are full")))
    }

    fn write(&mut self, mut lines: Lines, now: &Zoned) {
        while lines.count > 0 {
            self.prepare(now, lines.first_bytes());
            // If the next file cannot be opened, the old one is still better than none.
            let room = if self.failed_at.is_some() { u64::MAX } else { self.log.room_bytes() };
            let some = lines.take(room);
            let Some((path, file)) = &mut self.file else {
                self.lose(some.count);
                continue;
            };
            match file.append(some.text.as_bytes()) {
                Ok(()) => {
                    self.log.wrote(some.text.len());
                    self.figures.lines.fetch_add(some.count, Ordering::Relaxed);
                    self.figures.bytes.fetch_add(some.text.len() as u64, Ordering::Relaxed);
                    self.recovered();
                }
                Err(error) => {
                    let path = path.clone();
                    self.lose(some.count);
                    self.report(&path, &error);
                }
            }
        }
    }

    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        self.figures.lost.fetch_add(lines, Ordering::Relaxed);
    }

    /// Says it once for each burst of failures.
    fn report(&mut self, path: &Path, error: &io::Error) {
        if !self.failing {
            self.failing = true;
            tracing::error!(path = %path.display(), %error, "events cannot be written and are lost until this is repaired");
        }
    }

    fn recovered(&mut self) {
        if self.failing && self.failed_at.is_none() {
            tracing::warn!(lost = self.lost, "events are written again");
            self.failing = false;
            self.lost = 0;
        }
    }
}

#[cfg(test)]
mod tests;
