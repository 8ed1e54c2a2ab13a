//! The command line of `donet-perf`.

use clap::{Args, Parser, Subcommand};
use donet_perf::session::{Target, run};
use donet_perf::{Failure, daemon};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "donet-perf", version, about, max_term_width = 100)]
struct Arguments {
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

fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let addresses = address.to_socket_addrs();
    let mut addresses = addresses.map_err(|error| Failure::new(format!("{address}: {error}")))?;
    addresses.next().ok_or_else(|| Failure::new(format!("{address}: no address of that name")))
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

fn main() -> ExitCode {
    let Command::Session(arguments) = Arguments::parse().command;
    match session(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("failed: {failure}");
            ExitCode::FAILURE
        }
    }
}
