//! `donetd db …`: the objects of a database on the command line.
//!
//! Decides what is printed, and how files of objects look. What is stored, and how, is [`crate::database_server`]'s.
//! Standard output carries results alone, so that it can be piped; all else, also how far a long command is
//! ([`progress`]), goes to standard error.

mod objects;
mod progress;

pub use objects::is_stored;

use crate::astron;
use crate::astron::objects::{Divisors, Reading};
use crate::boot::{BootError, OneDatabase, one_database};
use crate::database_server::{
    Export, MigrationReport, OfflineDatabase, Operation, Outcome, Refusal, StoredObject, ask_for_backup,
    backup_progress, one, restore,
};
use crate::wire::Doid;
use clap::{Args, Subcommand};
use donet_dc::Field;
use progress::Progress;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf, absolute};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Objects that are written at once by an import.
const IMPORT_OBJECTS: usize = 500;
/// What is wrong with files, listed at once.
const FAULTS_SHOWN: usize = 20;
/// How often it is looked how far a copy is that somebody else makes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DbArguments {
    /// The configuration file whose database is meant.
    #[arg(long, default_value = "daemon.toml", value_name = "FILE")]
    config: PathBuf,
    /// The control channel of the database server, where the configuration has several.
    #[arg(long, value_name = "CHANNEL")]
    database: Option<u64>,
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
enum DbCommand {
    /// Print an object, or some of its fields.
    Get { doid: Doid, fields: Vec<String> },
    /// Set fields of an object, all or none.
    Set {
        doid: Doid,
        /// Such as 'setName=["Flippy"]': the JSON list of the field's parameters.
        #[arg(required = true, value_name = "FIELD=JSON")]
        values: Vec<String>,
    },
    /// Print the doid and the class of every object.
    List {
        /// Of this dclass only.
        #[arg(long)]
        class: Option<String>,
    },
    /// Write every object as a JSON line, to standard output or a new file.
    Export {
        file: Option<PathBuf>,
        /// Of this dclass only.
        #[arg(long)]
        class: Option<String>,
    },
    /// Read objects from JSON lines, from standard input or a file, and keep their doids.
    Import {
        file: Option<PathBuf>,
        /// Replace objects that exist; without it the first of them ends the import.
        #[arg(long)]
        replace: bool,
    },
    /// Take over the objects of Astron's YAML database: a folder of files such as 100000000.yaml.
    ///
    /// All of them are read and checked before the first is written.
    ImportAstron {
        folder: PathBuf,
        /// What numbers of fields with a divisor (int16/10) are in the files.
        #[arg(long, value_enum)]
        divisors: Option<Divisors>,
        /// Replace objects that exist; without it nothing is imported if one does.
        #[arg(long)]
        replace: bool,
    },
    /// Count objects, values and bytes.
    Stats,
    /// Read everything, and say what is wrong.
    Verify,
    /// Copy the database into a new folder, also while a daemon runs.
    Backup { folder: PathBuf },
    /// Copy a backup into the database folder, which must be empty or missing.
    Restore { folder: PathBuf },
    /// Convert what is stored to DC files that drop or retype stored fields.
    Migrate {
        /// Only say what would happen.
        #[arg(long)]
        dry_run: bool,
        /// Where what is removed is written, as JSON lines; default: `removed.jsonl` beside the database folder.
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
    },
}

/// Does what a command says.
///
/// # Errors
/// [`BootError`] with what is wrong and what to do about it.
pub fn run(arguments: DbArguments) -> Result<(), BootError> {
    let tool = Tool(one_database(&arguments.config, arguments.database)?);
    match arguments.command {
        DbCommand::Get { doid, fields } => tool.get(doid, &fields),
        DbCommand::Set { doid, values } => tool.set(doid, &values),
        DbCommand::List { class } => tool.list(class.as_deref()),
        DbCommand::Export { file, class } => tool.export(file.as_deref(), class.as_deref()),
        DbCommand::Import { file, replace } => tool.import(file.as_deref(), replace),
        DbCommand::ImportAstron { folder, divisors, replace } => tool.import_astron(&folder, divisors, replace),
        DbCommand::Stats => tool.stats(),
        DbCommand::Verify => tool.verify(),
        DbCommand::Backup { folder } => tool.backup(&folder),
        DbCommand::Restore { folder } => tool.restore(&folder),
        DbCommand::Migrate { dry_run, export } => tool.migrate(dry_run, export),
    }
}

fn fail(error: impl std::fmt::Display) -> BootError {
    BootError(error.to_string())
}

/// A pipe that nobody reads any more is no error worth a text, but an end.
fn writing(error: io::Error) -> BootError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    BootError(format!("the output cannot be written: {error}"))
}

struct Tool(OneDatabase);

impl Tool {
    fn open(&self) -> Result<OfflineDatabase, BootError> {
        let OneDatabase { settings, contract, text, .. } = &self.0;
        OfflineDatabase::open(settings, contract.clone(), text, true).map_err(fail)
    }

    fn get(&self, doid: Doid, names: &[String]) -> Result<(), BootError> {
        let mut database = self.open()?;
        let (class, values) = match database.perform(Operation::GetAll { doid }) {
            Outcome::Object { class, values } => (class, values),
            Outcome::Refused(Refusal::MissingObject) => return Err(fail(format_args!("there is no object {doid}"))),
            other => return Err(unexpected(doid, &other)),
        };
        let contract = database.contract();
        let named = contract.class(class).ok_or_else(|| fail("its class has no number"))?;
        for name in names {
            named.field_by_name(name).ok_or_else(|| fail(format_args!("{} has no field {name:?}", named.name())))?;
        }
        let shown = values.iter().filter(|(id, _)| {
            let name = contract.field(*id).map_or("", Field::name);
            names.is_empty() || names.iter().any(|wanted| wanted == name)
        });
        let values = shown.map(|(id, value)| (id, value.clone())).collect();
        let line = objects::object_line(contract, &StoredObject { doid, class, values });
        writeln!(io::stdout(), "{line}").map_err(writing)
    }

    fn set(&self, doid: Doid, values: &[String]) -> Result<(), BootError> {
        let mut database = self.open()?;
        let class = match database.perform(Operation::GetAll { doid }) {
            Outcome::Object { class, .. } => class,
            Outcome::Refused(Refusal::MissingObject) => return Err(fail(format_args!("there is no object {doid}"))),
            other => return Err(unexpected(doid, &other)),
        };
        let mut packed = one(0, Vec::new());
        let mut first = true;
        for value in values {
            let (name, json) = value.split_once('=').ok_or_else(|| fail(format_args!("{value:?} has no `=`")))?;
            let class = self.0.contract.class(class).ok_or_else(|| fail("its class has no number"))?;
            let field = class
                .field_by_name(name)
                .ok_or_else(|| fail(format_args!("{} has no field {name:?}", class.name())))?;
            let json = serde_json::from_str(json).map_err(|error| fail(format_args!("field {name}: {error}")))?;
            let bytes = objects::packed(field, &json, self.0.policy).map_err(fail)?;
            if std::mem::take(&mut first) {
                packed = one(field.id(), bytes);
            } else {
                packed.insert(field.id(), bytes.into());
            }
        }
        match database.perform(Operation::Set { doid, values: packed }) {
            Outcome::Applied { .. } => Ok(()),
            other => Err(unexpected(doid, &other)),
        }
    }

    /// Calls `each` with every object, or every one of a class.
    fn for_each(
        &self,
        class: Option<&str>,
        what: &'static str,
        mut each: impl FnMut(&StoredObject) -> Result<(), BootError>,
    ) -> Result<(), BootError> {
        let mut database = self.open()?;
        let class = class
            .map(|name| {
                let class = database.contract().class_by_name(name);
                class.map(|class| class.id()).ok_or_else(|| fail(format_args!("the DC files have no dclass {name:?}")))
            })
            .transpose()?;
        let mut progress = Progress::new(what);
        let mut walk = database.walk().map_err(fail)?;
        while let Some(objects) = database.objects(&mut walk).map_err(fail)? {
            objects.iter().filter(|object| class.is_none_or(|class| class == object.class)).try_for_each(&mut each)?;
            progress.walked(walk.reached());
        }
        Ok(())
    }

    fn list(&self, class: Option<&str>) -> Result<(), BootError> {
        let mut out = BufWriter::new(io::stdout().lock());
        self.for_each(class, "objects listed", |object| {
            let class = self.0.contract.class(object.class).map_or("", |class| class.name());
            writeln!(out, "{}", serde_json::json!({ "doid": object.doid, "class": class })).map_err(writing)
        })?;
        out.flush().map_err(writing)
    }

    fn export(&self, file: Option<&Path>, class: Option<&str>) -> Result<(), BootError> {
        let mut out: Box<dyn Write> = match file {
            Some(path) => Box::new(File::create_new(path).map_err(|error| at(path, error))?),
            None => Box::new(io::stdout().lock()),
        };
        let mut buffered = BufWriter::with_capacity(1 << 20, &mut out);
        self.for_each(class, "objects exported", |object| {
            writeln!(buffered, "{}", objects::object_line(&self.0.contract, object)).map_err(writing)
        })?;
        buffered.flush().map_err(writing)
    }

    fn import(&self, file: Option<&Path>, replace: bool) -> Result<(), BootError> {
        let mut bytes = None;
        let input: Box<dyn BufRead> = match file {
            Some(path) => {
                let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
                let (length, file) = opened.map_err(|error| at(path, error))?;
                // That of a pipe, which has none, is 0.
                bytes = Some(length).filter(|&length| length > 0);
                Box::new(BufReader::new(file))
            }
            None => Box::new(io::stdin().lock()),
        };
        let OneDatabase { settings, contract, text, policy } = &self.0;
        let mut database = OfflineDatabase::open(settings, contract.clone(), text, false).map_err(fail)?;
        let mut progress = Progress::new("objects imported");
        let mut imported = 0;
        let mut batch = Vec::new();
        let mut write = |batch: &mut Vec<StoredObject>, read: u64| -> Result<(), BootError> {
            imported += batch.len() as u64;
            let left = database.insert(std::mem::take(batch), replace).map_err(fail)?;
            progress.count(imported, bytes.map(|bytes| read as f64 / bytes as f64));
            match left.first() {
                None => Ok(()),
                Some(doid) => Err(fail(format_args!(
                    "object {doid} exists already and was left as it is; all other objects up to it and of its batch \
                     were imported. Say --replace to replace what exists"
                ))),
            }
        };
        let mut read = 0;
        for (number, line) in input.lines().enumerate() {
            let line = line.map_err(|error| fail(format_args!("line {}: {error}", number + 1)))?;
            read += line.len() as u64 + 1;
            if line.trim().is_empty() {
                continue;
            }
            let object = objects::from_line(contract, *policy, &line)
                .map_err(|error| fail(format_args!("line {}: {error}; the lines before it were imported", number + 1)));
            match object {
                Ok(object) => batch.push(object),
                Err(error) => {
                    write(&mut batch, read)?;
                    return Err(error);
                }
            }
            if batch.len() >= IMPORT_OBJECTS {
                write(&mut batch, read)?;
            }
        }
        write(&mut batch, read)
    }

    /// Reads everything before anything is written: what is wrong is said, up to a page of it, and nothing has happened.
    fn import_astron(&self, folder: &Path, divisors: Option<Divisors>, replace: bool) -> Result<(), BootError> {
        let OneDatabase { settings, contract, text, policy } = &self.0;
        let found = astron::objects::list(folder).map_err(fail)?;
        let reading = Reading { contract, text: *policy, divisors };
        let read = |(doid, file): &(Doid, PathBuf)| astron::objects::object(*doid, file, &reading);
        let mut progress = Progress::new("objects read");
        let total = found.objects.len();
        let mut wrong = Vec::new();
        for (index, object) in found.objects.iter().enumerate() {
            wrong.extend(read(object).err());
            if wrong.len() > FAULTS_SHOWN {
                break;
            }
            progress.count(index as u64 + 1, Some((index + 1) as f64 / total as f64));
        }
        drop(progress);
        if !wrong.is_empty() {
            let shown: Vec<String> = wrong.iter().take(FAULTS_SHOWN).map(ToString::to_string).collect();
            let more = if wrong.len() > FAULTS_SHOWN { "\n… and more" } else { "" };
            return Err(fail(format_args!("nothing was imported:\n{}{more}", shown.join("\n"))));
        }
        let mut database = OfflineDatabase::open(settings, contract.clone(), text, false).map_err(fail)?;
        if !replace {
            for (doid, _) in &found.objects {
                if !matches!(
                    database.perform(Operation::GetAll { doid: *doid }),
                    Outcome::Refused(Refusal::MissingObject)
                ) {
                    return Err(fail(format_args!(
                        "object {doid} exists already: nothing was imported. Say --replace to replace what exists"
                    )));
                }
            }
        }
        let mut progress = Progress::new("objects imported");
        let mut imported = 0;
        for batch in found.objects.chunks(IMPORT_OBJECTS) {
            let objects = batch.iter().map(read).collect::<Result<Vec<_>, _>>();
            let objects = objects.map_err(|error| {
                fail(format_args!("{error}: it has changed since it was checked; {imported} objects were imported"))
            })?;
            database.insert(objects, true).map_err(fail)?;
            imported += batch.len() as u64;
            progress.count(imported, Some(imported as f64 / total as f64));
        }
        drop(progress);
        eprintln!("{imported} objects were imported");
        let outside = found.objects.iter().filter(|(doid, _)| !settings.generate.contains(doid)).count();
        if outside > 0 {
            eprintln!(
                "{outside} of them have doids outside of generate_min to generate_max; they are kept, and not given out again"
            );
        }
        Ok(())
    }

    fn stats(&self) -> Result<(), BootError> {
        let mut database = self.open()?;
        let mut progress = Progress::new("objects counted");
        let statistics = database.statistics(&mut |walked| progress.walked(walked)).map_err(fail)?;
        drop(progress);
        let classes: serde_json::Map<_, _> =
            statistics.classes.into_iter().map(|(name, count)| (name, count.into())).collect();
        let line = serde_json::json!({
            "objects": statistics.objects,
            "classes": classes,
            "values": statistics.values,
            "value_bytes": statistics.value_bytes,
            "disk_bytes": statistics.disk_bytes,
            "next_doid": statistics.next_doid,
            "freed_doids": statistics.freed_doids,
        });
        writeln!(io::stdout(), "{line}").map_err(writing)
    }

    fn verify(&self) -> Result<(), BootError> {
        let mut database = self.open()?;
        let mut progress = Progress::new("objects read");
        let wrong = database.verify(self.0.policy, &mut |walked| progress.walked(walked));
        drop(progress);
        for line in &wrong {
            writeln!(io::stdout(), "{line}").map_err(writing)?;
        }
        match wrong.len() {
            0 => {
                eprintln!("no fault found");
                Ok(())
            }
            count => Err(fail(format_args!("{count} faults found"))),
        }
    }

    fn backup(&self, folder: &Path) -> Result<(), BootError> {
        let target = absolute(folder).map_err(|error| at(folder, error))?;
        let directory = &self.0.settings.directory;
        let mut progress = Progress::new("copied");
        // Whoever makes the copy, this one looks how far it is.
        thread::scope(|scope| {
            let (done, ended) = channel();
            let target = &target;
            scope.spawn(move || {
                // A daemon that runs makes the copy itself.
                let made = match ask_for_backup(directory, target).map_err(fail) {
                    Ok(None) => self.open().and_then(|mut database| database.backup(target).map_err(fail)),
                    asked => asked.map(drop),
                };
                let _ = done.send(made);
            });
            loop {
                match ended.recv_timeout(LOOK_INTERVAL) {
                    Ok(made) => return made,
                    Err(RecvTimeoutError::Timeout) => {
                        let (copied, all) = backup_progress(directory, target);
                        progress.bytes(copied, all);
                    }
                    Err(RecvTimeoutError::Disconnected) => return Err(fail("the backup was cut off")),
                }
            }
        })
    }

    fn restore(&self, folder: &Path) -> Result<(), BootError> {
        let mut progress = Progress::new("copied");
        restore(folder, &self.0.settings.directory, &mut |copied, total| progress.bytes(copied, total))
            .map_err(fail)?;
        drop(progress);
        // What cannot be opened was no backup of this game.
        self.open().map(drop)
    }

    fn migrate(&self, dry_run: bool, export: Option<PathBuf>) -> Result<(), BootError> {
        let OneDatabase { settings, contract, text, .. } = &self.0;
        let beside = || settings.directory.with_file_name("removed.jsonl");
        let mut removed = Removed { path: export.unwrap_or_else(beside), file: None };
        let mut progress = Progress::new("objects looked at");
        let report = OfflineDatabase::migrate(settings, contract, text, dry_run, &mut removed, &mut |walked| {
            progress.walked(walked);
        })
        .map_err(fail)?;
        drop(progress);
        print_report(&report, dry_run, &removed).map_err(writing)
    }
}

fn print_report(report: &MigrationReport, dry_run: bool, removed: &Removed) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if report.changes.is_empty() {
        return writeln!(out, "nothing to convert: the DC files take all that is stored");
    }
    for change in &report.changes {
        writeln!(out, "{change}")?;
    }
    let verb = if dry_run { "would be" } else { "were" };
    writeln!(
        out,
        "{} values {verb} converted; {} objects and {} values {verb} removed, {} of them because the new type cannot hold \
         them",
        report.values_converted, report.objects_removed, report.values_removed, report.values_unconvertible
    )?;
    match &removed.file {
        Some(_) => writeln!(out, "what was removed is in {}", removed.path.display()),
        None => Ok(()),
    }
}

fn unexpected(doid: Doid, outcome: &Outcome) -> BootError {
    match outcome {
        Outcome::Refused(refusal) => fail(format_args!("object {doid}: {refusal}")),
        _ => fail(format_args!("object {doid} cannot be read or written: `donetd db verify` says more")),
    }
}

fn at(path: &Path, error: io::Error) -> BootError {
    BootError(format!("{}: {error}", path.display()))
}

/// The file of what a migration removes; made when there is something.
struct Removed {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

fn ends_with_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(io::SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

impl Export for Removed {
    fn removed(&mut self, doid: Doid, class: &str, fields: &[(&Field, bytes::Bytes)]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                // A migration that goes on after it was cut short goes on in its file too.
                let mut file = File::options().create(true).read(true).append(true).open(&self.path)?;
                // It may have been killed within a line, which is written again.
                if !ends_with_a_line(&mut file)? {
                    file.write_all(b"\n")?;
                }
                self.file.insert(BufWriter::new(file))
            }
        };
        writeln!(file, "{}", objects::to_line(doid, class, fields.iter().map(|(field, value)| (*field, &value[..]))))
    }

    fn sync(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => {
                file.flush()?;
                file.get_ref().sync_all()
            }
            None => Ok(()),
        }
    }
}
