//! The command line of `donet-perf`.

use clap::{Args, Parser, Subcommand};
use donet_perf::md::table::Table;
use donet_perf::md::{FanOut, PingPong, Subscribe};
use donet_perf::objects::Objects;
use donet_perf::plan::Plan;
use donet_perf::players::{self, Players, Storm};
use donet_perf::relay::Relay;
use donet_perf::report::Report;
use donet_perf::session::{Target, run};
use donet_perf::stored::Stored;
use donet_perf::target::{Target as Load, TargetArguments, resolve};
use donet_perf::{Failure, daemon, net};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "donet-perf", version, about, max_term_width = 100)]
struct Arguments {
    /// Never sleep while waiting for the server, so that it does not pay for waking the generator: an interrupt to another
    /// processor, which no client across a network costs. Takes a whole processor; not for `plan`.
    #[arg(long, global = true)]
    awake: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays a game session with an AI and three clients, one line per claim; exit status 0 only if all hold.
    ///
    /// Without further arguments it starts the donetd that lies beside it, with 1, 2 and 4 executors in turn, in a
    /// temporary folder and on free ports.
    Session(SessionArguments),
    /// Loads a Message Director; one JSON line for each run.
    ///
    /// Without --server it starts the donetd that lies beside it, on a processor of its own, and drives it from the
    /// others.
    #[command(subcommand)]
    Md(MdCommand),
    /// Makes many live objects, does things to them, and deletes them; one JSON line for each operation.
    ///
    /// Needs the contract perf/contracts/objects.dc; the donetd that it starts without --server has it.
    Objects {
        #[command(flatten)]
        load: Objects,
        #[command(flatten)]
        target: TargetArguments,
        #[command(flatten)]
        picture: Picture,
    },
    /// Makes, reads, changes and deletes stored objects; one JSON line for each operation.
    ///
    /// Needs the contract perf/contracts/objects.dc; the donetd that it starts without --server has it.
    Db {
        #[command(flatten)]
        load: Stored,
        #[command(flatten)]
        target: TargetArguments,
        #[command(flatten)]
        picture: Picture,
    },
    /// Plays many clients of a game: hello, login, an avatar of their own, an interest, position updates; one JSON line.
    ///
    /// With an AI that lets them in. It starts the donetd that lies beside it, on a processor of its own.
    #[command(args_conflicts_with_subcommands = true)]
    Players {
        #[command(subcommand)]
        table: Option<PlayersCommand>,
        #[command(flatten)]
        load: Players,
        #[command(flatten)]
        target: TargetArguments,
        #[command(flatten)]
        picture: Picture,
    },
    /// Lets all clients of that game come at once and vanish at once, again and again; one JSON line for each storm.
    Storm {
        #[command(flatten)]
        load: Storm,
        #[command(flatten)]
        target: TargetArguments,
        #[command(flatten)]
        picture: Picture,
    },
    /// Finds how many players of a described game the server carries, what they cost, and what another machine would carry.
    ///
    /// Starts the donetd that lies beside it, again and again, and writes a report (Markdown and SVG). perf/games has
    /// descriptions to begin with.
    Plan(Plan),
    /// Serves as a relay that only moves bytes, until every connection has ended: the baseline of `md`.
    Relay(RelayArguments),
}

#[derive(Debug, Subcommand)]
enum PlayersCommand {
    /// The workloads with many clients that the project has targets for, as a Markdown table.
    Table {
        #[command(flatten)]
        table: players::table::Table,
        /// Append the JSON line of every run to this file.
        #[arg(long, value_name = "PATH")]
        json: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum MdCommand {
    /// One message to many links, as many as a window allows or at a fixed rate.
    FanOut {
        #[command(flatten)]
        load: FanOut,
        #[command(flatten)]
        target: TargetArguments,
        #[command(flatten)]
        picture: Picture,
    },
    /// A message and its answer, one at a time.
    PingPong {
        #[command(flatten)]
        load: PingPong,
        #[command(flatten)]
        target: TargetArguments,
        #[command(flatten)]
        picture: Picture,
    },
    /// Many subscriptions of one link.
    Subscribe {
        #[command(flatten)]
        load: Subscribe,
        #[command(flatten)]
        target: TargetArguments,
    },
    /// The workloads that the project has targets for, with the relay beside them, as a Markdown table.
    Table {
        #[command(flatten)]
        table: Table,
        /// Append the JSON line of every run to this file.
        #[arg(long, value_name = "PATH")]
        json: Option<PathBuf>,
    },
}

/// What is drawn of a run.
#[derive(Debug, Args)]
struct Picture {
    /// Draw the rate over time and the distribution of the latencies into this file.
    #[arg(long = "plot", value_name = "FILE.svg")]
    path: Option<PathBuf>,
}

impl Picture {
    /// Draws it, if somebody wants it, with the command as its title.
    fn draw(&self, reports: &[Report]) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let is_of_plot = |word: &String| word.starts_with("--plot") || Path::new(word) == path;
        let title: Vec<String> = std::env::args().skip(1).filter(|word| !is_of_plot(word)).collect();
        Report::plot(path, &format!("donet-perf {}", title.join(" ")), reports)
    }
}

#[derive(Debug, Args)]
struct RelayArguments {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// How many of the first connections receive what the later ones send.
    #[arg(long, value_name = "N", default_value_t = 1)]
    receivers: usize,
}

#[derive(Debug, Args)]
struct SessionArguments {
    /// The Message Director of a daemon that runs already and has the contract of config/example.dc.
    #[arg(long, value_name = "HOST:PORT", requires = "client", conflicts_with_all = ["donetd", "shards"])]
    server: Option<String>,
    /// Its Client Agent.
    #[arg(long, value_name = "HOST:PORT", requires = "server")]
    client: Option<String>,
    /// The version string that its Client Agent asks for.
    #[arg(long, value_name = "TEXT", requires = "server", default_value = "dev")]
    client_version: String,
    /// The daemon to start, instead of the one beside this program.
    #[arg(long, value_name = "PATH")]
    donetd: Option<PathBuf>,
    /// The number of executors; can be given several times.
    #[arg(long, value_name = "N")]
    shards: Vec<usize>,
}

fn session(arguments: SessionArguments) -> Result<(), Failure> {
    let mut targets = Vec::new();
    if let (Some(server), Some(client)) = (&arguments.server, &arguments.client) {
        let name = format!("a session with {server} and {client}");
        let target = Target::Running {
            message_director: resolve(server)?,
            client_agent: resolve(client)?,
            version: arguments.client_version,
        };
        targets.push((name, target));
    } else {
        let donetd = arguments.donetd.map_or_else(daemon::find_donetd, Ok)?;
        let counts = if arguments.shards.is_empty() { vec![1, 2, 4] } else { arguments.shards };
        for shards in counts {
            let name = format!("a session with {} on {shards} executors", donetd.display());
            targets.push((name, Target::Own { donetd: donetd.clone(), shards }));
        }
    }
    for (name, target) in targets {
        println!("{name}");
        run(&target, &mut |step| println!("  {step}"))?;
    }
    Ok(())
}

/// Runs something that has JSON lines to tell, which go to the end of a file if there is one.
fn with_lines(
    json: Option<PathBuf>,
    run: impl FnOnce(&mut dyn FnMut(&str)) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut lines = json.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
    let mut failed = Ok(());
    run(&mut |line| {
        if let Some(lines) = &mut lines {
            failed = failed.and(writeln!(lines, "{line}").map_err(|error| error.kind()));
        }
    })?;
    failed.map_err(|kind| Failure::new(format!("the JSON lines could not be written: {kind}")))
}

fn md(command: MdCommand) -> Result<(), Failure> {
    let (report, picture) = match command {
        MdCommand::FanOut { load, target, picture } => {
            (load.run(&Load::start(&target, load.receivers())?)?, Some(picture))
        }
        MdCommand::PingPong { load, target, picture } => (load.run(&Load::start(&target, 1)?)?, Some(picture)),
        MdCommand::Subscribe { load, target } => (load.run(&Load::start(&target, 0)?)?, None),
        MdCommand::Table { table, json } => {
            return with_lines(json, |line| table.run(line, |row| println!("{row}")));
        }
    };
    println!("{}", report.json_line());
    picture.map_or(Ok(()), |picture| picture.draw(&[report]))
}

fn players(load: &Players, target: &TargetArguments, picture: &Picture) -> Result<(), Failure> {
    let target = Load::start_with(target, 0, |setup| load.configure(setup))?;
    let report = load.run(&target)?;
    println!("{}", report.json_line());
    picture.draw(&[report])
}

fn storm(load: &Storm, target: &TargetArguments, picture: &Picture) -> Result<(), Failure> {
    let target = Load::start_with(target, 0, |setup| load.configure(setup))?;
    print_and_draw(picture, |each| load.run(&target, each))
}

fn objects(load: &Objects, target: &TargetArguments, picture: &Picture) -> Result<(), Failure> {
    let target = Load::start_with(target, 0, |setup| load.configure(setup))?;
    print_and_draw(picture, |each| load.run(&target, each))
}

/// Prints a line for each report of a load, and draws them when it has ended.
fn print_and_draw(
    picture: &Picture,
    run: impl FnOnce(&mut dyn FnMut(&Report)) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reports = Vec::new();
    run(&mut |report| {
        println!("{}", report.json_line());
        reports.push(report.clone());
    })?;
    picture.draw(&reports)
}

fn db(load: &Stored, target: &TargetArguments, picture: &Picture) -> Result<(), Failure> {
    let target = Load::start_with(target, 0, |setup| load.configure(setup))?;
    print_and_draw(picture, |each| load.run(&target, each))
}

fn relay(arguments: &RelayArguments) -> Result<(), Failure> {
    let mut relay = Relay::bind(arguments.bind, arguments.receivers)?;
    // The same words as the daemon's, so that what waits for one can wait for the other.
    println!("listening relay {}", relay.address()?);
    println!("ready");
    relay.run()
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.awake {
        net::never_sleep();
    }
    let outcome = match arguments.command {
        Command::Session(arguments) => session(arguments),
        Command::Md(command) => md(command),
        Command::Objects { load, target, picture } => objects(&load, &target, &picture),
        Command::Db { load, target, picture } => db(&load, &target, &picture),
        Command::Players { table: Some(PlayersCommand::Table { table, json }), .. } => {
            with_lines(json, |line| table.run(line, |row| println!("{row}")))
        }
        Command::Players { load, target, picture, .. } => players(&load, &target, &picture),
        Command::Storm { load, target, picture } => storm(&load, &target, &picture),
        Command::Plan(_) if arguments.awake => {
            Err(Failure::new("a plan judges its own generator by the processor time it needs: not with --awake"))
        }
        Command::Plan(plan) => plan.run().map(|path| println!("{}", path.display())),
        Command::Relay(arguments) => relay(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("failed: {failure}");
            ExitCode::FAILURE
        }
    }
}
