//! Python processes of a game that a test plays, and what they say.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Bounds a hang; nothing waits for time to pass.
const HANG_GUARD: Duration = Duration::from_secs(180);

/// One of a game's Python processes. Killed when dropped.
pub struct Process {
    name: &'static str,
    child: Child,
    output: Receiver<String>,
    pub said: Vec<String>,
}

impl Process {
    /// Runs `script` of `docs/FOLDER`, in that folder.
    pub fn start(name: &'static str, python: &Path, folder: &str, script: &str, args: &[&str]) -> Self {
        let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(folder);
        let mut child = Command::new(python)
            .arg(folder.join(script))
            .args(args)
            .current_dir(folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let pipe = child.stdout.take().expect("it is piped");
        let (lines, output) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        Self { name, child, output, said: Vec::new() }
    }

    /// Waits for a line that the process says from now on.
    pub fn wait(&mut self, wanted: impl Fn(&str) -> bool, what: &str) -> String {
        let deadline = Instant::now() + HANG_GUARD;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(error) => panic!("{} waits for {what}: {error}; it said {:#?}", self.name, self.said),
            }
        }
    }

    /// Waits for a line with this beginning.
    pub fn wait_for(&mut self, begin: &str) -> String {
        self.wait(|line| line.starts_with(begin), begin)
    }

    /// Waits until the process has ended by itself.
    #[allow(dead_code, reason = "not every game has an end")]
    pub fn wait_for_end(&mut self) {
        let deadline = Instant::now() + HANG_GUARD;
        let end = loop {
            if let Err(end) = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                break end;
            }
        };
        assert_eq!(end, RecvTimeoutError::Disconnected, "{} goes on; it said {:#?}", self.name, self.said);
        self.child.wait().expect("it has ended");
    }

    /// SIGKILL.
    #[allow(dead_code, reason = "not every test kills")]
    pub fn kill(&mut self) {
        self.child.kill().expect("it ran until now");
        self.child.wait().expect("it has ended");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
