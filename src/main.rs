//! The daemon `donetd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    donet::cli::run()
}
