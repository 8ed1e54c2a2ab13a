//! The engine, driven as executors drive it: many operations under way, each answered by a completion.

use super::{
    Arguments, CONTRACT, FIRST, GOLD, Measured, Phase, Stopwatch, VALUE_COUNT, bytes_per_object, pick, values,
};
use bytes::Bytes;
use donet::config::{self, DatabaseServer, Durability, SqlTarget};
use donet::database_server::{
    ContractText, DatabaseCompletion, DatabaseRequest, Engine, EngineHandle, FieldIds, Operation, Outcome, Renames,
};
use donet::sql_sink::SqlSink;
use donet::wire::{Doid, MessageType};
use donet_dc::{Contract, Options, Source};
use donet_shards::ShardId;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Bytes of changes that may wait: more than a run makes.
const OUTBOX_BYTES_MAX: u64 = 64 << 30;

/// Whom changes are kept for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    None,
    /// A SQL server that has been there once: everything waits for it.
    Dead,
    /// A SQLite file in the same folder, on the sink's own thread.
    Sqlite,
}

struct Running {
    engine: EngineHandle,
    completions: Receiver<(u32, bool)>,
    sink: Option<SqlSink>,
}

impl Running {
    fn start(folder: &Path, durability: Durability, sink: Sink) -> Self {
        let sources = vec![Source::new("bench.dc", CONTRACT)];
        let contract = Contract::parse(&sources, &Options::default());
        let contract = Arc::new(contract.unwrap_or_else(|error| panic!("{error}")));
        let text = ContractText { sources, options: Options::default(), renames: Renames::default() };
        let target = SqlTarget::Sqlite(folder.join("mirror.sqlite"));
        let settings = DatabaseServer {
            control_channel: 4000,
            generate: FIRST..=Doid::MAX,
            broadcast: false,
            directory: folder.join("data"),
            durability,
            cache_bytes: 0,
            renames: Renames::default(),
            sql_sink: (sink != Sink::None)
                .then(|| config::SqlSink { target: target.clone(), outbox_bytes_max: OUTBOX_BYTES_MAX }),
        };
        let (sender, completions) = channel();
        let on_completion = Box::new(move |_, completion: DatabaseCompletion| {
            let succeeded = !matches!(completion.outcome, Outcome::Failed | Outcome::Refused(_));
            // The main thread listens until it has all.
            let _ = sender.send((completion.context, succeeded));
        });
        let engine = Engine::open(0, &settings, contract.clone(), &text, on_completion);
        let engine = engine.unwrap_or_else(|error| panic!("{error}"));
        let reader = || engine.outbox_reader(contract.clone()).unwrap_or_else(|error| panic!("{error}"));
        let sink = match sink {
            Sink::None => None,
            Sink::Dead => {
                reader().begin().unwrap_or_else(|error| panic!("{error}"));
                None
            }
            Sink::Sqlite => Some(SqlSink::start(0, target, reader()).expect("a thread")),
        };
        Self { engine, completions, sink }
    }

    /// Keeps `window` operations under way until all are done.
    fn drive(&self, arguments: &Arguments, mut operation: impl FnMut(u32) -> Operation) -> Phase {
        let mut sent = vec![Instant::now(); arguments.objects as usize];
        let mut stopwatch = Stopwatch::start();
        let (mut submitted, mut done) = (0, 0);
        while done < arguments.objects {
            while submitted < arguments.objects && ((submitted - done) as usize) < arguments.window {
                sent[submitted as usize] = Instant::now();
                let operation = operation(submitted);
                let (requester, message_type, held_bytes) = (1, MessageType(0), 100);
                let request = DatabaseRequest { requester, context: submitted, message_type, operation, held_bytes };
                self.engine.submit(ShardId(0), request);
                submitted += 1;
            }
            let (context, succeeded) = self.completions.recv().expect("every operation is answered");
            assert!(succeeded, "operation {context} failed");
            stopwatch.note(sent[context as usize].elapsed(), 1);
            done += 1;
        }
        stopwatch.stop(arguments.objects)
    }
}

/// Creates, gets and sets through the engine; with a sink no gets, which it does not concern.
pub fn run(durability: Durability, sink: Sink, arguments: &Arguments) -> Measured {
    let folder = tempfile::tempdir_in(&arguments.folder).expect("the folder can be written");
    let running = Running::start(folder.path(), durability, sink);
    let creates = |number| Operation::Create { class: 0, values: values(number) };
    let mut phases = vec![("creates", running.drive(arguments, creates))];
    if sink == Sink::None {
        let all: FieldIds = (0..VALUE_COUNT).collect();
        let gets = |number| Operation::GetFields { doid: pick(number, arguments), fields: all.clone() };
        phases.push(("gets", running.drive(arguments, gets)));
    }
    let sets = |number: u32| {
        let gold = Bytes::copy_from_slice(&number.to_be_bytes());
        Operation::Set { doid: pick(number, arguments), values: [(GOLD, gold)].into_iter().collect() }
    };
    phases.push(("sets", running.drive(arguments, sets)));
    if let Some(sink) = running.sink {
        sink.stop();
    }
    running.engine.shutdown();
    drop(running.engine);
    Measured { phases, bytes_per_object: bytes_per_object(&folder.path().join("data"), arguments) }
}
