//! What Prometheus and Grafana are given (`config/prometheus/`, `config/grafana/`) goes with what the daemon exports: the
//! names are there, Prometheus' own tool accepts everything, and a real Prometheus scrapes the daemon and evaluates every
//! rule and every panel.

#[path = "support/admin.rs"]
mod admin;
mod support;

use donet_perf::daemon::{Daemon, Setup};
use donet_perf::{Failure, wait};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// The files of a folder below `config/`.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(config().join(folder)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.map(|path| (path.clone(), std::fs::read_to_string(path).expect("text"))).collect()
}

fn start(shards: usize) -> Result<(Setup, Daemon), Failure> {
    let mut setup = Setup::new(shards)?;
    setup.after = "[admin]\nbind = \"127.0.0.1:0\"".to_owned();
    let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
    Ok((setup, daemon))
}

fn get(url: &str) -> Result<String, Failure> {
    Ok(admin::send(minreq::get(url))?.1)
}

/// Every name of a time series that a text of metrics declares; a histogram has its parts.
fn exported(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = family.split_once(' ').expect("a name and a kind");
        if kind == "histogram" {
            names.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
        } else {
            names.insert(name.to_owned());
        }
    }
    names
}

/// Every name of our time series that a file uses.
fn used(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text
        .split(|c: char| !is_word(c))
        .filter(|word| word.starts_with("donet_") || (word.starts_with("process_") && word.len() > "process_".len()));
    words.map(str::to_owned).collect()
}

#[test]
fn every_name_that_dashboards_and_rules_use_is_exported() -> Result<(), Failure> {
    let (_setup, daemon) = start(2)?;
    let exported = exported(&admin::metrics(&daemon)?);
    // The family of a histogram may stand in what people read.
    let mentioned = |name: &str| exported.contains(name) || exported.contains(&format!("{name}_bucket"));
    for (folder, least) in [("grafana", 40), ("prometheus", 15)] {
        let mut count = 0;
        for (path, text) in files(folder) {
            let asked = match serde_json::from_str(&text) {
                Ok(dashboard) => expressions(&dashboard).join("\n"),
                Err(_) => text.lines().filter(|line| line.trim_start().starts_with("expr:")).collect(),
            };
            for name in used(&asked) {
                count += 1;
                assert!(exported.contains(&name), "{}: nobody exports {name}", path.display());
            }
            for name in used(&text) {
                assert!(mentioned(&name), "{}: nobody exports {name}", path.display());
            }
        }
        assert!(count >= least, "{folder}: only {count} names were found");
    }
    daemon.stop()
}

/// A program of Prometheus: what `make test-deps` has unpacked, or what the system has.
fn program(name: &str) -> Option<PathBuf> {
    let unpacked = support::installed("prometheus").map(|folder| folder.join("usr/bin").join(name));
    let unpacked = unpacked.filter(|path| path.is_file());
    unpacked.or_else(|| support::has(name, "--version").then(|| PathBuf::from(name)))
}

fn accepted(promtool: &Path, arguments: &[&str], input: &str) {
    let mut command = Command::new(promtool);
    command.args(arguments).current_dir(config().join("prometheus"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
}

#[test]
fn promtool_accepts_metrics_rules_and_configuration() -> Result<(), Failure> {
    let Some(promtool) = program("promtool") else {
        support::skip("promtool_accepts_metrics_rules_and_configuration", "promtool");
        return Ok(());
    };
    for (path, _) in files("prometheus") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let what = if name.ends_with(".rules.yml") { "rules" } else { "config" };
        accepted(&promtool, &["check", what, name], "");
    }
    let (_setup, daemon) = start(2)?;
    accepted(&promtool, &["check", "metrics"], &admin::metrics(&daemon)?);
    daemon.stop()
}

/// A Prometheus, killed when it goes out of scope.
struct Prometheus {
    process: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// With our configuration, but that it looks every second, and at this daemon.
    fn start(program: &Path, folder: &Path, daemon: &Daemon) -> Result<Self, Failure> {
        let given = std::fs::read_to_string(config().join("prometheus/prometheus.yml"))?;
        assert!(given.contains("127.0.0.1:7190") && given.contains("interval: 15s"));
        let given = given.replace("interval: 15s", "interval: 1s");
        let given = given.replace("127.0.0.1:7190", &daemon.address("admin")?.to_string());
        std::fs::write(folder.join("prometheus.yml"), given)?;
        std::fs::copy(config().join("prometheus/donet.rules.yml"), folder.join("donet.rules.yml"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = std::fs::File::create(folder.join("prometheus.log"))?;
        let mut command = Command::new(program);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus.data"]);
        let process = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self { process, url: format!("http://127.0.0.1:{port}") })
    }

    /// The data of an answer; `None` while there is none, or an error.
    fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = get(&format!("{}{path}", self.url)).map_err(|failure| failure.to_string())?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(answer.to_string()) }
    }

    fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let mut encoded = String::new();
        for byte in expression.bytes() {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        let data = self.ask(&format!("/api/v1/query?query={encoded}"))?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }
}

/// The expressions of a dashboard, its variables filled in as Grafana does.
fn expressions(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match dashboard {
        Value::Object(members) => {
            for (key, value) in members {
                match value.as_str().filter(|_| key == "expr") {
                    Some(expression) => {
                        found.push(expression.replace("$__rate_interval", "1m").replace("$instance", ".*"))
                    }
                    None => found.extend(expressions(value)),
                }
            }
        }
        Value::Array(values) => found.extend(values.iter().flat_map(expressions)),
        _ => {}
    }
    found
}

#[test]
fn a_real_prometheus_scrapes_the_daemon_and_evaluates_every_rule_and_panel() -> Result<(), Failure> {
    let Some(program) = program("prometheus") else {
        support::skip("a_real_prometheus_scrapes_the_daemon_and_evaluates_every_rule_and_panel", "prometheus");
        return Ok(());
    };
    let (setup, daemon) = start(2)?;
    let prometheus = Prometheus::start(&program, setup.folder(), &daemon)?;
    wait::until("a scrape", || {
        Ok(prometheus
            .query("up{job=\"donet\"}")
            .is_ok_and(|found| found.first().is_some_and(|up| up["value"][1] == "1")))
    })?;
    let rules = wait::for_some("every rule evaluated", || {
        let Ok(data) = prometheus.ask("/api/v1/rules") else { return Ok(None) };
        let rules = data["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        let are_done = rules.iter().all(|rule| rule["health"] != "unknown");
        Ok((!rules.is_empty() && are_done).then_some(rules))
    })?;
    assert!(rules.len() >= 16, "{}", rules.len());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        assert_eq!(rule["state"], "inactive", "nothing is wrong with this daemon: {rule:#}");
    }
    for (path, text) in files("grafana") {
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        let expressions = expressions(&dashboard);
        assert!(expressions.len() > 30, "{}: {}", path.display(), expressions.len());
        for expression in expressions {
            prometheus.query(&expression).unwrap_or_else(|error| panic!("{}: {expression}: {error}", path.display()));
        }
    }
    daemon.stop()
}
