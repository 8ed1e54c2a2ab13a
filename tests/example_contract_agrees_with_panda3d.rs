//! `config/example.dc` means the same to donetd and to Panda3D, whose clients play on it.

mod support;

use donet_dc::{Contract, Options, Source};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// As Panda3D 1.10.16 computes it.
const HASH: u32 = 0x010a_d79e;

/// One line for the hash, one for each class, one for each of its fields with its id, name and default.
const DUMP: &str = "
import sys
from panda3d.core import Filename
from panda3d.direct import DCFile
file = DCFile()
assert file.read(Filename.from_os_specific(sys.argv[1])) and file.all_objects_valid()
print('hash %08x' % file.get_hash())
for index in range(file.get_num_classes()):
    dclass = file.get_class(index)
    if dclass.is_struct():
        continue
    print('class %d %s' % (dclass.get_number(), dclass.get_name()))
    for index in range(dclass.get_num_inherited_fields()):
        field = dclass.get_inherited_field(index)
        print('field %d %s %s' % (field.get_number(), field.get_name(), field.get_default_value().hex()))
";

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.dc")
}

fn contract() -> Contract {
    let source = Source { name: "example.dc".into(), text: std::fs::read(example()).expect("the file is there") };
    Contract::parse(&[source], &Options::default()).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

#[test]
fn the_hash_is_that_of_panda3d() {
    assert_eq!(contract().hash(), HASH);
}

#[test]
fn panda3d_sees_the_same_fields() {
    let Some(python) = support::panda3d_python() else {
        return support::skip("panda3d_sees_the_same_fields", "Panda3D");
    };
    let output = Command::new(python).arg("-c").arg(DUMP).arg(example()).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8(output.stdout).expect("text");
    let contract = contract();
    let mut ours = format!("hash {:08x}\n", contract.hash());
    for class in contract.classes() {
        let _ = writeln!(ours, "class {} {}", class.id(), class.name());
        for field in class.fields() {
            let default: String = field.default_value().iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(ours, "field {} {} {default}", field.id(), field.name());
        }
    }
    assert_eq!(ours, theirs);
}
