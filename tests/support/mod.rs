//! What the tests of several files share.

use std::io::Write;

/// Notes that a test could not be tried here, by name: `make test` lists them (`.ci/test`). Where nobody asked for the
/// list, the test's own output says it.
pub fn skipped(test: &str, reason: &str) {
    println!("skipped: {test}: {reason}");
    let Some(list) = std::env::var_os("DONET_SKIPPED") else { return };
    let noted = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&list)
        .and_then(|mut list| list.write_all(format!("{test}: {reason}\n").as_bytes()));
    // A skip that nobody counts would look like a pass.
    noted.unwrap_or_else(|error| panic!("cannot note in {} that {test} was skipped: {error}", list.display()));
}
