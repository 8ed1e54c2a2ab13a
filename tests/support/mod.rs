//! What tests that need a further real program have in common.

use std::io::Write as _;

/// Notes that `test` did not run for want of `program`. `make test` lists these by name: it reads the file that the
/// environment variable `DONET_SKIPPED` names, one line for each.
pub fn skip(test: &str, program: &str) {
    let line = format!("SKIPPED {test}: {program} not found\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("DONET_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of skipped tests can be written");
    }
}
