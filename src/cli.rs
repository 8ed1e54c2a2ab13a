//! The command line of `donetd`: what was asked for, and the status it ends with. The texts of `--help` are the doc
//! comments. It decides nothing about the daemon.

use crate::admin::terminal;
use crate::astron;
use crate::boot;
use crate::config;
use crate::db_tool::{self, DbArguments};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A thread-per-core server for massively multiplayer worlds that speaks DoNet.
///
/// Runs the roles that its configuration names, until SIGTERM or SIGINT (Ctrl-C); a second one ends it at once.
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(name = "donetd", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
    /// Say what is wrong with a configuration file and the contract that it names, without starting.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    check: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand, PartialEq, Eq)]
enum Command {
    /// Run the daemon; the same as naming no command.
    Run(Run),
    /// Look at, copy and convert the objects of a database.
    ///
    /// Objects are JSON lines keyed by the names of the DC files, such as
    /// {"doid":100000000,"class":"Avatar","fields":{"setName":["Flippy"]}}. A field has the list of its parameters.
    /// All commands but a backup need the folder for themselves: end the daemon before.
    Db(DbArguments),
    /// Take over what another server had.
    Import {
        #[command(subcommand)]
        what: Import,
    },
    /// Check, hash, inspect and compare DC files, and pack and unpack values of their fields.
    Dc(donet_dc::cli::Tool),
    /// What runs: executors and links of a daemon, asked at its admin endpoint.
    Ps(Ask),
    /// The load of a daemon's executors, again and again until Ctrl-C.
    Top {
        #[command(flatten)]
        ask: Ask,
        /// Seconds between two looks.
        #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        every: u64,
        /// End after so many looks.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        rounds: Option<u64>,
    },
    /// Have a daemon admit no more clients, and end when the last one has gone or `drain_deadline_s` is over.
    ///
    /// The same as SIGUSR1. Needs the `[admin] token` of the daemon: that of FILE, or, with --admin, the environment
    /// variable DONET_ADMIN_TOKEN.
    Drain(Ask),
    /// Have a daemon take over what has changed in its files: configuration and certificates.
    ///
    /// The same as SIGHUP, but that it says what was changed and what needs a restart, or why nothing was changed. Needs
    /// the token as `drain` does.
    Reload(Ask),
    /// Print the completions of a shell; for bash: `donetd completions bash > /etc/bash_completion.d/donetd`.
    Completions { shell: Shell },
    /// Print the manual page: `donetd man | man -l -`.
    Man,
}

#[derive(Clone, Debug, Subcommand, PartialEq, Eq)]
enum Import {
    /// Write a configuration that does what Astron's astrond.yml did, with a comment for what has no counterpart.
    ///
    /// `donetd db import-astron` takes over the objects of its YAML database.
    AstronConfig {
        /// Astron's configuration.
        file: PathBuf,
        /// The new file; standard output if none is named. One that exists is not replaced.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Which daemon is asked.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
struct Ask {
    /// The configuration file of the daemon, whose `[admin] bind` is asked.
    #[arg(default_value = "daemon.toml", value_name = "FILE")]
    file: PathBuf,
    /// Ask this address instead.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "file")]
    admin: Option<SocketAddr>,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
struct Run {
    /// The configuration file.
    #[arg(default_value = "daemon.toml", value_name = "FILE")]
    file: PathBuf,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run the daemon with this configuration file.
    Run(PathBuf),
    /// Check this configuration file.
    Check(PathBuf),
    /// Do something to a database.
    Db(DbArguments),
    /// Write a configuration made from Astron's.
    AstronConfig { file: PathBuf, output: Option<PathBuf> },
    /// Use the tool for DC files.
    Dc(donet_dc::cli::Tool),
    /// Show what a daemon runs.
    Ps(Target),
    /// Show a daemon's load again and again.
    Top { target: Target, every: Duration, rounds: Option<u64> },
    /// Drain a daemon.
    Drain(Target),
    /// Have a daemon take over its files anew.
    Reload(Target),
    /// Print a shell's completions.
    Completions(Shell),
    /// Print the manual page.
    Man,
}

/// Where the token for what changes a daemon is looked for first: a command line can be read by every user.
const TOKEN_VARIABLE: &str = "DONET_ADMIN_TOKEN";

/// The daemon that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// That of this configuration file.
    File(PathBuf),
    /// That whose admin endpoint this is.
    Address(SocketAddr),
}

impl From<Ask> for Target {
    fn from(ask: Ask) -> Self {
        ask.admin.map_or(Target::File(ask.file), Target::Address)
    }
}

impl Target {
    fn address(self) -> Result<SocketAddr, terminal::TerminalError> {
        match self {
            Target::File(file) => terminal::address(&file),
            Target::Address(address) => Ok(address),
        }
    }

    /// The token of the daemon, if there is one to be found.
    fn token(&self) -> Result<Option<String>, terminal::TerminalError> {
        match (std::env::var(TOKEN_VARIABLE), self) {
            (Ok(token), _) => Ok(Some(token)),
            (Err(_), Target::File(file)) => terminal::token(file),
            (Err(_), Target::Address(_)) => Ok(None),
        }
    }
}

impl Cli {
    /// What is asked for.
    pub fn request(self) -> Request {
        match (self.check, self.command) {
            (Some(file), _) => Request::Check(file),
            (None, Some(Command::Db(arguments))) => Request::Db(arguments),
            (None, Some(Command::Run(run))) => Request::Run(run.file),
            (None, Some(Command::Import { what: Import::AstronConfig { file, output } })) => {
                Request::AstronConfig { file, output }
            }
            (None, Some(Command::Dc(tool))) => Request::Dc(tool),
            (None, Some(Command::Ps(ask))) => Request::Ps(ask.into()),
            (None, Some(Command::Top { ask, every, rounds })) => {
                Request::Top { target: ask.into(), every: Duration::from_secs(every), rounds }
            }
            (None, Some(Command::Drain(ask))) => Request::Drain(ask.into()),
            (None, Some(Command::Reload(ask))) => Request::Reload(ask.into()),
            (None, Some(Command::Completions { shell })) => Request::Completions(shell),
            (None, Some(Command::Man)) => Request::Man,
            (None, None) => Request::Run(self.run.file),
        }
    }
}

/// Does what the command line of this process asks for. 0: it was done; 1: it could not be, and standard error says
/// why; 2: the command line makes no sense.
pub fn run() -> ExitCode {
    match Cli::parse().request().carry_out() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("donetd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes what was made of Astron's configuration, and says what did not come over and what is to be mended.
fn import_configuration(file: &Path, output: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    let converted = astron::config::convert(file)?;
    for note in &converted.notes {
        eprintln!("{}: {note}", file.display());
    }
    match output {
        None => print!("{}", converted.text),
        Some(output) => {
            let mut made = File::create_new(output).map_err(|error| format!("{}: {error}", output.display()))?;
            made.write_all(converted.text.as_bytes())?;
        }
    }
    // Refused is what Astron allowed and this daemon does not: the file is there, to be mended.
    config::parse(output.unwrap_or(Path::new("daemon.toml")), &converted.text)?;
    Ok(())
}

impl Request {
    fn carry_out(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        match self {
            Request::Run(file) => boot::run(&file)?,
            Request::Check(file) => boot::check(&file)?,
            Request::Db(arguments) => db_tool::run(arguments)?,
            Request::AstronConfig { file, output } => import_configuration(&file, output.as_deref())?,
            // The tool tells its own troubles, and its codes are its own.
            Request::Dc(tool) => return Ok(tool.run()),
            Request::Ps(target) => terminal::ps(target.address()?)?,
            Request::Top { target, every, rounds } => terminal::top(target.address()?, every, rounds)?,
            Request::Drain(target) => {
                let token = target.token()?;
                terminal::drain(target.address()?, token.as_deref())?;
            }
            Request::Reload(target) => {
                let token = target.token()?;
                terminal::reload(target.address()?, token.as_deref())?;
            }
            Request::Completions(shell) => {
                clap_complete::generate(shell, &mut Cli::command(), "donetd", &mut std::io::stdout());
            }
            Request::Man => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(arguments: &[&str]) -> Result<Request, clap::Error> {
        Cli::try_parse_from(["donetd"].iter().chain(arguments)).map(Cli::request)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_form() {
        let cases: [(&[&str], Request); 10] = [
            (&["drain", "x.toml"], Request::Drain(Target::File("x.toml".into()))),
            (&[], Request::Run("daemon.toml".into())),
            (&["x.toml"], Request::Run("x.toml".into())),
            (&["run"], Request::Run("daemon.toml".into())),
            (&["run", "x.toml"], Request::Run("x.toml".into())),
            (&["--check", "x.toml"], Request::Check("x.toml".into())),
            (&["ps"], Request::Ps(Target::File("daemon.toml".into()))),
            (&["ps", "--admin", "127.0.0.1:7190"], Request::Ps(Target::Address(([127, 0, 0, 1], 7190).into()))),
            (
                &["top", "x.toml", "--every", "5", "--rounds", "2"],
                Request::Top { target: Target::File("x.toml".into()), every: Duration::from_secs(5), rounds: Some(2) },
            ),
            (&["completions", "fish"], Request::Completions(Shell::Fish)),
        ];
        for (arguments, expected) in cases {
            assert_eq!(request(arguments).expect("valid"), expected, "{arguments:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &["db"][..],
            &["import"],
            &["import", "astron-config"],
            &["db", "set", "5"],
            &["db", "get", "x"],
            &["--check"],
            &["--chek", "x"],
            &["a", "b"],
            &["--check", "a", "b"],
            &["run", "a", "b"],
        ] {
            assert!(request(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn the_version_is_that_of_the_package() {
        let error = request(&["--version"]).expect_err("clap answers itself");
        assert_eq!(error.kind(), clap::error::ErrorKind::DisplayVersion);
        assert_eq!(error.to_string().trim(), concat!("donetd ", env!("CARGO_PKG_VERSION")));
    }
}
