//! Every file in `config/` is loaded by the program that it is for.

mod support;

use donet_perf::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
const DONETD: &str = env!("CARGO_BIN_EXE_donetd");

fn files(extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(CONFIG)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<Result<Vec<PathBuf>, Failure>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    assert!(!files.is_empty(), "no .{extension} file in {CONFIG}");
    Ok(files)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn donetd_takes_every_configuration() -> Result<(), Failure> {
    for file in files("toml")? {
        let output = Command::new(DONETD).arg("--check").arg(&file).output()?;
        assert!(output.status.success(), "{}: {}", file.display(), said(&output));
    }
    Ok(())
}

#[test]
fn the_contracts_have_no_mistake_and_no_doubtful_place() -> Result<(), Failure> {
    for file in files("dc")? {
        let output = Command::new(DONETD).args(["dc", "check", "--deny-warnings"]).arg(&file).output()?;
        assert!(output.status.success(), "{}: {}", file.display(), said(&output));
    }
    Ok(())
}

#[test]
fn haproxy_takes_its_configuration() -> Result<(), Failure> {
    if [("haproxy", "-v"), ("openssl", "version")].iter().any(|(name, argument)| !support::has(name, argument)) {
        support::skip("haproxy_takes_its_configuration", "haproxy or openssl");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let in_folder = |name: &str| folder.path().join(name);
    let certificate = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=localhost", "-keyout"])
        .arg(in_folder("key.pem"))
        .arg("-out")
        .arg(in_folder("certificate.pem"))
        .output()?;
    assert!(certificate.status.success(), "{}", said(&certificate));
    let both = [fs::read(in_folder("certificate.pem"))?, fs::read(in_folder("key.pem"))?].concat();
    fs::write(in_folder("server.pem"), both)?;
    let text = fs::read_to_string(Path::new(CONFIG).join("haproxy.cfg"))?;
    let path = in_folder("server.pem");
    let placed = text.replace("/etc/donet/tls/server.pem", &path.display().to_string());
    assert_ne!(placed, text, "it names a certificate");
    fs::write(in_folder("haproxy.cfg"), placed)?;
    let output = Command::new("haproxy").args(["-c", "-f"]).arg(in_folder("haproxy.cfg")).output()?;
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("WARNING"), "{}", said(&output));
    Ok(())
}

#[test]
fn systemd_takes_the_unit() -> Result<(), Failure> {
    if !support::has("systemd-analyze", "--version") {
        support::skip("systemd_takes_the_unit", "systemd-analyze");
        return Ok(());
    }
    let text = fs::read_to_string(Path::new(CONFIG).join("donetd.service"))?;
    // It looks whether the program is there, but not at the manual page, which this machine need not have.
    let placed = text.replace("/usr/local/bin/donetd", DONETD).replace("Documentation=man:donetd(1)\n", "");
    assert_ne!(placed, text, "it names the program");
    let folder = tempfile::tempdir()?;
    let unit = folder.path().join("donetd.service");
    fs::write(&unit, placed)?;
    let output = Command::new("systemd-analyze").args(["verify", "--recursive-errors=no"]).arg(&unit).output()?;
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    Ok(())
}
