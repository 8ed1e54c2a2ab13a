//! What tests that need a further real program have in common.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

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

/// Whether a real program is there: it ends well with this argument.
#[allow(dead_code, reason = "not every test needs it")]
pub fn has(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
}

/// What `make test-deps` puts into the target directory under that name, if it did.
#[allow(dead_code, reason = "not every test needs it")]
pub fn installed(name: &str) -> Option<PathBuf> {
    // Tests run from `<target>/<profile>/deps/`.
    let test = std::env::current_exe().ok()?;
    Some(test.ancestors().nth(3)?.join(name)).filter(|folder| folder.is_dir())
}

/// The Python that has Panda3D and panda3d-astron: `make test-deps` puts it into the target directory.
#[allow(dead_code, reason = "not every test plays with Panda3D")]
pub fn panda3d_python() -> Option<PathBuf> {
    let folder = installed("panda3d")?;
    let has_astron = std::fs::read_dir(folder.join("lib"))
        .ok()?
        .flatten()
        .any(|python| python.path().join("site-packages/panda3d_astron").is_dir());
    has_astron.then(|| folder.join("bin/python"))
}
