//! The small binary of the DC tool; the same tool is `donetd dc`.

use std::process::ExitCode;

fn main() -> ExitCode {
    donet_dc::cli::run(std::env::args_os())
}
