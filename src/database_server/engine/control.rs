//! A socket in the database folder, by which another process of the same user asks the daemon that holds the folder for
//! a backup.
//!
//! One line comes, `backup PATH`, and one goes back: `ok`, or `error` and why. Whoever may write in the folder may ask:
//! nobody else can open the socket.

use super::error::EngineError;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The name of the socket in the folder.
pub(super) const CONTROL_FILE: &str = "donet.socket";
/// The longest line that is read.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// How long a peer may take for its line.
const LINE_PATIENCE: Duration = Duration::from_secs(10);

/// Makes a backup at a path, or says why not.
pub(super) type Backup = Box<dyn Fn(&Path) -> Result<(), String> + Send>;

/// The listening thread.
pub(super) struct Control {
    directory: PathBuf,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Listens in a folder that this process holds.
    pub fn start(index: u8, directory: &Path, backup: Backup) -> io::Result<Self> {
        let path = directory.join(CONTROL_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = at_folder(directory, UnixListener::bind)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let ending = Arc::new(AtomicBool::new(false));
        let ends = ending.clone();
        let thread = std::thread::Builder::new().name(format!("db-{index}-control")).spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Acquire) {
                    break;
                }
                if let Err(error) = stream.and_then(|stream| serve(stream, &backup)) {
                    tracing::debug!(%error, "a request to the database folder was not understood");
                }
            }
        })?;
        Ok(Self { directory: directory.to_owned(), ending, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Wakes the thread; without the socket there is nothing that could.
        let woken = at_folder(&self.directory, UnixStream::connect).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
        let _ = fs::remove_file(self.directory.join(CONTROL_FILE));
    }
}

/// The address of a socket has 108 bytes at most, a folder's path may have more: so it goes by the open folder.
fn at_folder<T>(directory: &Path, act: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let folder = File::open(directory)?;
    act(format!("/proc/self/fd/{}/{CONTROL_FILE}", folder.as_raw_fd()).into())
}

fn serve(stream: UnixStream, backup: &Backup) -> io::Result<()> {
    stream.set_read_timeout(Some(LINE_PATIENCE))?;
    stream.set_write_timeout(Some(LINE_PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(LINE_BYTES_MAX)).read_line(&mut line)?;
    let answer = match line.strip_suffix('\n').and_then(|line| line.strip_prefix("backup ")) {
        Some(path) => match backup(Path::new(path)) {
            Ok(()) => "ok\n".to_owned(),
            Err(error) => format!("error {}\n", error.replace('\n', " ")),
        },
        None => "error expected `backup PATH`\n".to_owned(),
    };
    (&stream).write_all(answer.as_bytes())
}

/// Asks the daemon that holds a folder for a backup; `None` if none does.
///
/// # Errors
/// [`EngineError`] with what the daemon says.
pub fn ask_for_backup(directory: &Path, target: &Path) -> Result<Option<()>, EngineError> {
    let failed = |detail: String| EngineError::unusable(target, detail);
    let Ok(stream) = at_folder(directory, UnixStream::connect) else { return Ok(None) };
    let text = target.to_str().ok_or_else(|| failed("the path is not UTF-8".to_owned()))?;
    (&stream).write_all(format!("backup {text}\n").as_bytes()).map_err(|error| failed(error.to_string()))?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).map_err(|error| failed(error.to_string()))?;
    match answer.trim_end() {
        "ok" => Ok(Some(())),
        "" => Err(failed("the daemon ended before it was done".to_owned())),
        error => Err(failed(error.strip_prefix("error ").unwrap_or(error).to_owned())),
    }
}
