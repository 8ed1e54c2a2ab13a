//! The command line of `donetd`: what was asked for, and the status it ends with. The texts of `--help` are the doc
//! comments. It decides nothing about the daemon.

use crate::boot;
use crate::db_tool::{self, DbArguments};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

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
}

impl Cli {
    /// What is asked for.
    pub fn request(self) -> Request {
        match (self.check, self.command) {
            (Some(file), _) => Request::Check(file),
            (None, Some(Command::Db(arguments))) => Request::Db(arguments),
            (None, Some(Command::Run(run))) => Request::Run(run.file),
            (None, None) => Request::Run(self.run.file),
        }
    }
}

/// Does what the command line of this process asks for. 0: it was done; 1: it could not be, and standard error says
/// why; 2: the command line makes no sense.
pub fn run() -> ExitCode {
    let done = match Cli::parse().request() {
        Request::Run(file) => boot::run(&file),
        Request::Check(file) => boot::check(&file),
        Request::Db(arguments) => db_tool::run(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("donetd: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn request(arguments: &[&str]) -> Result<Request, clap::Error> {
        Cli::try_parse_from(["donetd"].iter().chain(arguments)).map(Cli::request)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_form() {
        let cases: [(&[&str], Request); 5] = [
            (&[], Request::Run("daemon.toml".into())),
            (&["x.toml"], Request::Run("x.toml".into())),
            (&["run"], Request::Run("daemon.toml".into())),
            (&["run", "x.toml"], Request::Run("x.toml".into())),
            (&["--check", "x.toml"], Request::Check("x.toml".into())),
        ];
        for (arguments, expected) in cases {
            assert_eq!(request(arguments).expect("valid"), expected, "{arguments:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &["db"][..],
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
