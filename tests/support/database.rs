//! A daemon with databases, and a link that speaks to them, one request after the other.

use donet::wire::{Channel, Datagram, Doid, Encoder, MessageType, message_type as t, next_frame};
use donet_perf::Failure;
use donet_perf::daemon::Daemon;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub const DONETD: &str = env!("CARGO_BIN_EXE_donetd");
/// Sender of the first link's requests, and where its answers come to; each further link has the next channel.
static REQUESTER: AtomicU64 = AtomicU64::new(5_000_000);
pub const STATE_SERVER: Channel = 102_000;
pub const DATABASE: Channel = 103_000;
/// The first doid of the first database.
pub const FIRST: Doid = 100_000_000;
/// Reached only by a failure, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the tests store. Class 0; fields 0 to 4.
pub const CONTRACT: &str = "dclass Thing {
  name(string) required broadcast ram db;
  level(uint16 = 7) db;
  x(int32) db;
  y(int32) db;
  score(uint32) required broadcast db;
};
";
pub const THING: u16 = 0;
pub const NAME: u16 = 0;
pub const LEVEL: u16 = 1;
pub const X: u16 = 2;
pub const Y: u16 = 3;
pub const SCORE: u16 = 4;

/// A configuration in a folder of its own.
pub struct Setup {
    folder: tempfile::TempDir,
    pub shards: usize,
    pub contract: String,
    /// The folder of the first database.
    pub database: PathBuf,
    /// Lines of the table `[global]`.
    pub global: String,
    /// Lines of the table `[services.database_server]`, of its `rocksdb` table, and behind everything.
    pub server: String,
    pub rocksdb: String,
    pub after: String,
    /// For the processes of the daemon and its tool.
    pub environment: Vec<(&'static str, PathBuf)>,
}

impl Setup {
    pub fn new(shards: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("donet-db-").tempdir().unwrap();
        Self {
            database: folder.path().join("data"),
            folder,
            shards,
            contract: CONTRACT.to_owned(),
            global: String::new(),
            server: String::new(),
            rocksdb: String::new(),
            after: String::new(),
            environment: Vec::new(),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder().join("daemon.toml")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    pub fn write(&self) {
        let Self { shards, database, global, server, rocksdb, after, .. } = self;
        let config = format!(
            "[daemon]\nlog_level = \"info\"\n[global]\ndc_files = [\"game.dc\"]\n{global}\n[shards]\ncount = {shards}\npin = false\n\
             [services.message_director]\nbind = \"127.0.0.1:0\"\n[services.state_server]\ncontrol_channel = {STATE_SERVER}\n\
             [[services.database_server]]\ncontrol_channel = {DATABASE}\ngenerate_min = {FIRST}\ngenerate_max = 199999999\n\
             {server}\n[services.database_server.rocksdb]\ndirectory = \"{}\"\n{rocksdb}\n{after}\n",
            database.display()
        );
        fs::write(self.config_path(), config).unwrap();
        fs::write(self.folder().join("game.dc"), &self.contract).unwrap();
    }

    fn spawn(&self) -> Daemon {
        self.write();
        let log = self.folder().join("log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(DONETD);
        command.arg(self.config_path()).current_dir(self.folder()).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        Daemon::spawn(command, log).unwrap_or_else(|failure| panic!("{failure}"))
    }

    pub fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.wait_until_ready().unwrap_or_else(|failure| panic!("{failure}"));
        daemon
    }

    /// Starts what must refuse; returns what it says.
    pub fn refused(&self) -> String {
        let before = self.log().len();
        let status = self.spawn().wait_for_end(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
        let said = self.log()[before..].to_owned();
        assert!(!status.success() && !said.contains("panicked"), "{status}: {said}");
        said
    }

    /// Runs `donetd db …` on this configuration: whether it succeeded, its standard output and its standard error.
    pub fn tool(&self, arguments: &[&str]) -> (bool, String, String) {
        self.write();
        let mut command = Command::new(DONETD);
        command.args(["db", "--config"]).arg(self.config_path()).args(arguments).current_dir(self.folder());
        command.envs(self.environment.iter().cloned());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// As [`Setup::tool`], which must succeed: its standard output.
    pub fn tool_says(&self, arguments: &[&str]) -> String {
        let (succeeded, output, error) = self.tool(arguments);
        assert!(succeeded, "donetd db {arguments:?}: {error}");
        output
    }
}

/// A link to a Message Director that asks a database.
pub struct Link {
    socket: TcpStream,
    received: Vec<u8>,
    context: u32,
    requester: Channel,
    pub database: Channel,
}

/// A message that came: type and payload.
pub type Message = (MessageType, Vec<u8>);

impl Link {
    pub fn new(daemon: &Daemon) -> Result<Self, Failure> {
        let socket = TcpStream::connect(daemon.address("message_director")?)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let requester = REQUESTER.fetch_add(1, Ordering::Relaxed);
        let mut link = Self { socket, received: Vec::new(), context: 0, requester, database: DATABASE };
        link.subscribe(requester)?;
        Ok(link)
    }

    pub fn subscribe(&mut self, channel: Channel) -> Result<(), Failure> {
        let frame = Encoder::control(t::CONTROL_ADD_CHANNEL).u64(channel).finish().expect("short");
        Ok(self.socket.write_all(&frame)?)
    }

    pub fn send(&mut self, to: Channel, message_type: MessageType, payload: &[u8]) -> Result<(), Failure> {
        let frame = Encoder::internal(&[to], self.requester, message_type).bytes(payload).finish().expect("short");
        Ok(self.socket.write_all(&frame)?)
    }

    pub fn next(&mut self) -> Result<Message, Failure> {
        loop {
            if let Some((body, used)) = next_frame(&self.received) {
                let datagram = Datagram::from_body(body).expect("a whole header");
                let (_, message_type, payload) = datagram.message().expect("a message");
                let message = (message_type, payload.rest().to_vec());
                self.received.drain(..used);
                return Ok(message);
            }
            let mut buffer = [0; 65536];
            let count = self.socket.read(&mut buffer)?;
            if count == 0 {
                return Err(Failure::new("the daemon has closed the link"));
            }
            self.received.extend_from_slice(&buffer[..count]);
        }
    }

    /// Sends a request with a context and returns what its answer says behind the context.
    pub fn ask(&mut self, message_type: MessageType, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        self.context += 1;
        let context = self.context.to_le_bytes();
        self.send(self.database, message_type, &[&context[..], payload].concat())?;
        loop {
            let (answer_type, answer) = self.next()?;
            if answer_type.0 == message_type.0 + 1 && answer[..4] == context {
                return Ok(answer[4..].to_vec());
            }
        }
    }

    /// CREATE; 0 = refused.
    pub fn create(&mut self, class: u16, values: &[(u16, Vec<u8>)]) -> Result<Doid, Failure> {
        let mut payload = [class.to_le_bytes(), (values.len() as u16).to_le_bytes()].concat();
        for (field, value) in values {
            payload.extend(field.to_le_bytes());
            payload.extend(value);
        }
        let answer = self.ask(t::DBSERVER_CREATE_OBJECT, &payload)?;
        Ok(Doid::from_le_bytes(answer[..4].try_into().expect("a doid")))
    }

    /// GET_FIELD: `None` for ok = 0.
    pub fn get(&mut self, doid: Doid, field: u16) -> Result<Option<Vec<u8>>, Failure> {
        let payload = [&doid.to_le_bytes()[..], &field.to_le_bytes()].concat();
        let answer = self.ask(t::DBSERVER_OBJECT_GET_FIELD, &payload)?;
        Ok((answer[0] == 1).then(|| answer[3..].to_vec()))
    }

    pub fn set(&mut self, doid: Doid, field: u16, value: &[u8]) -> Result<(), Failure> {
        let payload = [&doid.to_le_bytes()[..], &field.to_le_bytes(), value].concat();
        self.send(self.database, t::DBSERVER_OBJECT_SET_FIELD, &payload)
    }
}

/// A packed string or blob.
pub fn text(value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [&(value.len() as u16).to_le_bytes()[..], value].concat()
}
