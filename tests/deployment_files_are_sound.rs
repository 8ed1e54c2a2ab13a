//! Every file in `config/` is loaded by the program that it is for, and what `make dist` packs runs.

mod support;

use donet_perf::Failure;
use donet_perf::daemon::Daemon;
use donet_perf::session::{Target, run};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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

/// Starts a configuration of `config/` with other addresses and folders.
fn start(name: &str, replace: &[(&str, String)], folder: &Path) -> Result<Daemon, Failure> {
    let mut config = fs::read_to_string(Path::new(CONFIG).join(name))?;
    for (passage, instead) in replace {
        assert!(config.contains(passage), "{name}: {passage}");
        config = config.replace(passage, instead);
    }
    let path = folder.join(name);
    // Few executors: several daemons share this machine.
    fs::write(&path, format!("{config}\n[shards]\ncount = 1\npin = false\n"))?;
    fs::copy(Path::new(CONFIG).join("example.dc"), folder.join("example.dc"))?;
    let log = folder.join(name).with_extension("log");
    let mut command = Command::new(DONETD);
    command.arg(&path).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log)?);
    let mut daemon = Daemon::spawn(command, log)?;
    daemon.wait_until_ready()?;
    Ok(daemon)
}

#[test]
fn the_clusters_daemons_run_together() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let any = || "127.0.0.1:0".to_owned();
    let quiet = ("eventlogger = \"127.0.0.1:7197\"\n", String::new());
    let world = [
        quiet.clone(),
        ("127.0.0.1:7199", any()),
        ("127.0.0.1:7197", any()),
        ("../data/cluster", folder.path().join("data").display().to_string()),
    ];
    let world = start("cluster-world.toml", &world, folder.path())?;
    let upstream = ("127.0.0.1:7199", world.address("message_director")?.to_string());
    let clients =
        start("cluster-clients.toml", &[quiet.clone(), upstream.clone(), ("127.0.0.1:7198", any())], folder.path())?;
    let proxied = [quiet, upstream, ("127.0.0.1:17198", any()), ("127.0.0.1:7190", any())];
    let behind = start("behind-haproxy.toml", &proxied, folder.path())?;
    for daemon in [&clients, &behind] {
        assert!(daemon.address("client_agent").is_ok());
    }
    behind.stop()?;
    clients.stop()?;
    world.stop()
}

/// The names that a profile's rules with this action name.
fn named(profile: &serde_json::Value, action: &str) -> Vec<String> {
    let rules = profile["syscalls"].as_array().expect("rules").iter().filter(|rule| rule["action"] == action);
    rules
        .flat_map(|rule| rule["names"].as_array().expect("names"))
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect()
}

const IO_URING: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];

#[test]
fn the_seccomp_profile_allows_io_uring_and_what_the_unit_allows_no_more() -> Result<(), Failure> {
    let profile: serde_json::Value = serde_json::from_slice(&fs::read(Path::new(CONFIG).join("seccomp.json"))?)
        .map_err(|error| Failure::new(error.to_string()))?;
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO", "what is not named is refused");
    let allowed = named(&profile, "SCMP_ACT_ALLOW");
    for name in IO_URING {
        assert!(allowed.iter().any(|allowed| allowed == name), "{name}");
    }
    let unit = fs::read_to_string(Path::new(CONFIG).join("donetd.service"))?;
    assert!(IO_URING.iter().all(|name| unit.contains(name)) && unit.contains("@system-service"));
    for never in ["mount", "ptrace", "bpf", "init_module", "kexec_load", "reboot", "unshare", "setns", "add_key"] {
        assert!(!allowed.iter().any(|allowed| allowed == never), "{never}");
    }
    Ok(())
}

/// A program of its own that starts donetd under a profile.
fn under(profile: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/under_seccomp.py");
    let wrapper = folder.join("donetd");
    let text = format!("#!/bin/sh\nexec /usr/bin/python3 {script} {} {DONETD} \"$@\"\n", profile.display());
    fs::write(&wrapper, text)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(wrapper)
}

#[test]
fn a_whole_session_runs_under_the_seccomp_profile() -> Result<(), Failure> {
    if !has_seccomp() {
        support::skip("a_whole_session_runs_under_the_seccomp_profile", "python3-seccomp");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let profile = Path::new(CONFIG).join("seccomp.json");
    let target = Target::Own { donetd: under(&profile, folder.path())?, shards: 2 };
    run(&target, &mut |step| println!("{step}"))?;

    // The profile is what is tried: without its first rule the daemon says what it lacks.
    let without = fs::read_to_string(&profile)?.replace("io_uring_setup", "io_setup");
    let lacking = folder.path().join("lacking.json");
    fs::write(&lacking, without)?;
    let output = Command::new(under(&lacking, folder.path())?).arg(Path::new(CONFIG).join("dev.toml")).output()?;
    assert!(
        !output.status.success() && said(&output).contains("a seccomp filter forbids io_uring"),
        "{}",
        said(&output)
    );
    Ok(())
}

fn has_seccomp() -> bool {
    Command::new("/usr/bin/python3").args(["-c", "import seccomp"]).output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_dockerfile_copies_what_is_there_and_drops_privileges() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(Path::new(CONFIG).join("Dockerfile"))?;
    let mut user = "root";
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["COPY", source, _] => assert!(root.join(source).exists(), "{line}"),
            ["USER", name] => user = name,
            _ => {}
        }
    }
    assert_eq!(user, "10001");
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let (_, version) = manifest.split_once("rust-version = \"").expect("a version of Rust");
    let version = version.split('"').next().expect("its end");
    assert!(text.contains(&format!("FROM rust:{version}-")), "Rust {version}");
    Ok(())
}

#[test]
fn what_is_packed_runs_where_it_is_unpacked() -> Result<(), Failure> {
    if !support::has("strip", "--version") {
        support::skip("what_is_packed_runs_where_it_is_unpacked", "strip");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    // Programs that stand in for those that this package's tests do not build.
    let binaries = folder.path().join("binaries");
    fs::create_dir(&binaries)?;
    for name in ["donetd", "donet-dc", "donet-perf"] {
        std::os::unix::fs::symlink(DONETD, binaries.join(name))?;
    }
    let packed = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/dist"))
        .args([&binaries, &folder.path().join("dist")])
        .output()?;
    assert!(packed.status.success(), "{}", said(&packed));
    let tarball = PathBuf::from(String::from_utf8_lossy(&packed.stdout).trim());
    let unpacked = Command::new("tar").arg("-xzf").arg(&tarball).current_dir(folder.path()).output()?;
    assert!(unpacked.status.success(), "{}", said(&unpacked));
    let name = tarball.file_name().and_then(|name| name.to_str()).expect("a name").trim_end_matches(".tar.gz");
    assert!(name.starts_with(concat!("donet-", env!("CARGO_PKG_VERSION"), "-")), "{name}");
    let root = folder.path().join(name);
    for file in [
        "LICENSE",
        "README.md",
        "bin/donet-dc",
        "bin/donet-perf",
        "config/donetd.service",
        "config/seccomp.json",
        "docs/getting-started.md",
        "docs/walkabout/start.py",
        "share/man/man1/donetd.1",
        "share/bash-completion/completions/donetd",
        "share/zsh/site-functions/_donetd",
        "share/fish/vendor_completions.d/donetd.fish",
    ] {
        let length = fs::metadata(root.join(file)).map_err(|error| Failure::new(format!("{file}: {error}")))?.len();
        assert!(length > 100, "{file} has {length} bytes");
    }
    let stripped = fs::metadata(root.join("bin/donetd"))?.len();
    assert!(stripped < fs::metadata(DONETD)?.len(), "{stripped} bytes");
    for config in files("toml")? {
        let config = root.join("config").join(config.file_name().expect("a name"));
        let output = Command::new(root.join("bin/donetd")).arg("--check").arg(&config).output()?;
        assert!(output.status.success(), "{}: {}", config.display(), said(&output));
    }
    Ok(())
}
