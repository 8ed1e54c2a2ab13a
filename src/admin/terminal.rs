//! The figures of a daemon that runs, for a terminal: `donetd ps` and `donetd top`.
//!
//! Asks the admin endpoint that the configuration file names; knows nothing that the endpoint does not say.

use crate::config;
use serde_json::Value;
use std::fmt::Write;
use std::io::{IsTerminal, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the daemon may take to answer: more than it grants its own executors.
const ANSWER_DEADLINE_S: u64 = 5;
/// How long a reload may take: it reads files and resolves names.
const RELOAD_DEADLINE_S: u64 = 120;
/// Moves to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Why nothing can be shown: a text for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TerminalError(String);

/// Where to ask: the admin endpoint of a configuration file.
///
/// # Errors
/// When the file cannot be read, or has no `[admin] bind`.
pub fn address(file: &Path) -> Result<SocketAddr, TerminalError> {
    let config = config::load(file).map_err(|error| TerminalError(error.to_string()))?;
    let Some(mut address) = config.admin.bind else {
        let file = file.display();
        return Err(TerminalError(format!(
            "{file}: the daemon has no admin endpoint; add\n  [admin]\n  bind = \"127.0.0.1:7190\"\nand restart it"
        )));
    };
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

/// The token of a configuration file.
///
/// # Errors
/// When the file cannot be read.
pub fn token(file: &Path) -> Result<Option<String>, TerminalError> {
    Ok(config::load(file).map_err(|error| TerminalError(error.to_string()))?.admin.token)
}

fn no_answer(address: SocketAddr, error: &dyn std::fmt::Display) -> TerminalError {
    TerminalError(format!("no answer from the admin endpoint at {address}: {error}. Does the daemon run?"))
}

/// Asks for a change. The daemon's answer, whether it does it or not.
fn change(address: SocketAddr, path: &str, token: Option<&str>, deadline_s: u64) -> Result<Value, TerminalError> {
    let mut request = minreq::post(format!("http://{address}{path}")).with_timeout(deadline_s);
    if let Some(token) = token {
        request = request.with_header("Authorization", format!("Bearer {token}"));
    }
    let response = request.send().map_err(|error| no_answer(address, &error))?;
    let answer: Value = serde_json::from_slice(response.as_bytes()).map_err(|error| no_answer(address, &error))?;
    match response.status_code {
        200..=299 => Ok(answer),
        _ => {
            let lines = answer["error"].as_str().unwrap_or("refused, without a reason").lines().map(printable);
            Err(TerminalError(lines.collect::<Vec<_>>().join("\n")))
        }
    }
}

/// Drains a daemon, and says what follows.
///
/// # Errors
/// When the daemon does not answer, or refuses.
pub fn drain(address: SocketAddr, token: Option<&str>) -> Result<(), TerminalError> {
    let status = change(address, "/api/drain", token, ANSWER_DEADLINE_S)?;
    let begun = if status["was_draining"] == true { "had begun" } else { "begins" };
    let left = duration(number(&status, "seconds_left"));
    println!("the drain {begun}: no new clients; those that are left in {left} will be ejected");
    Ok(())
}

/// Has a daemon take over its files anew, and says what that has changed.
///
/// # Errors
/// When the daemon does not answer, or its files cannot be used.
pub fn reload(address: SocketAddr, token: Option<&str>) -> Result<(), TerminalError> {
    let report = change(address, "/api/reload", token, RELOAD_DEADLINE_S)?;
    let list = |name: &str| report[name].as_array().into_iter().flatten().filter_map(Value::as_str).map(printable);
    for (what, name) in [("changed", "applied"), ("needs a restart", "needs_restart"), ("warning", "warnings")] {
        for line in list(name) {
            println!("{what}: {line}");
        }
    }
    println!("certificates loaded anew: {}", number(&report, "certificates"));
    Ok(())
}

fn ask(address: SocketAddr, path: &str) -> Result<Value, TerminalError> {
    let response = minreq::get(format!("http://{address}{path}"))
        .with_timeout(ANSWER_DEADLINE_S)
        .send()
        .map_err(|error| no_answer(address, &error))?;
    serde_json::from_slice(response.as_bytes()).map_err(|error| no_answer(address, &error))
}

/// Prints what runs, once.
///
/// # Errors
/// When the daemon does not answer.
pub fn ps(address: SocketAddr) -> Result<(), TerminalError> {
    let overview = ask(address, "/api/overview")?;
    let links = ask(address, "/api/links")?;
    print!("{}{}", summary(&overview), executors(&overview, None));
    print!("{}", link_table(&links));
    Ok(())
}

/// Shows the executors' load until Ctrl-C, or `rounds` times.
///
/// # Errors
/// When the daemon does not answer any more.
pub fn top(address: SocketAddr, every: Duration, rounds: Option<u64>) -> Result<(), TerminalError> {
    let mut before: Option<(Value, Instant)> = None;
    let mut round = 0;
    loop {
        let overview = ask(address, "/api/overview")?;
        let now = Instant::now();
        let since = before.as_ref().map(|(overview, at)| (overview, now.duration_since(*at)));
        let text = format!("{}{}", summary(&overview), executors(&overview, since));
        let mut out = std::io::stdout().lock();
        let clear = if out.is_terminal() { CLEAR } else { "" };
        // A reader that went away, such as `head`, ends it.
        if write!(out, "{clear}{text}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
        drop(out);
        before = Some((overview, now));
        round += 1;
        if rounds.is_some_and(|rounds| round >= rounds) {
            return Ok(());
        }
        std::thread::sleep(every);
    }
}

fn number(executor: &Value, name: &str) -> u64 {
    executor[name].as_u64().unwrap_or(0)
}

fn total(overview: &Value, name: &str) -> u64 {
    overview["executors"].as_array().into_iter().flatten().map(|executor| number(executor, name)).sum()
}

fn summary(overview: &Value) -> String {
    let identity = &overview["identity"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let up_s = overview["up_seconds"].as_f64().unwrap_or(0.0) as u64;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "donetd {} · {} · pid {} · DC hash 0x{} · up {}",
        text(&identity["version"]),
        text(&identity["name"]),
        number(identity, "pid"),
        text(&identity["dc_hash"]),
        duration(up_s),
    );
    let _ = writeln!(
        out,
        "{} clients, {} links, {} objects, {} channels",
        total(overview, "sessions_open"),
        total(overview, "links_open"),
        total(overview, "objects"),
        total(overview, "subscribed_channels"),
    );
    let silent = number(overview, "silent");
    if let Some(phase) = overview["phase"].as_str().filter(|phase| *phase != "serving") {
        let _ = writeln!(out, "{phase}: no new clients are admitted");
    }
    if silent > 0 {
        let _ = writeln!(out, "{silent} executors did not answer within two seconds");
    }
    out
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{:02} min", seconds % 60),
        (0, _) => format!("{hours}:{minutes:02} h"),
        _ => format!("{days} d {hours}:{minutes:02} h"),
    }
}

/// One row for each executor. Load and rates need an earlier overview; without one they are since the start.
fn executors(overview: &Value, before: Option<(&Value, Duration)>) -> String {
    let seconds = before.map_or(overview["up_seconds"].as_f64().unwrap_or(1.0), |(_, since)| since.as_secs_f64());
    let seconds = seconds.max(1e-3);
    let mut out = String::from(
        "\nshard   busy  clients  links   objects   msg in/s  deliver/s  KiB in/s  KiB out/s  ring  slow\n",
    );
    for (index, executor) in overview["executors"].as_array().into_iter().flatten().enumerate() {
        let earlier = before.map(|(overview, _)| &overview["executors"][index]);
        let rate = |name| {
            let since = earlier.map_or(0, |earlier| number(earlier, name));
            number(executor, name).saturating_sub(since) as f64 / seconds
        };
        let _ = writeln!(
            out,
            "{:>5} {:>5.1}% {:>8} {:>6} {:>9} {:>10.0} {:>10.0} {:>9.1} {:>10.1} {:>2}/{:<2} {:>5}",
            number(executor, "shard"),
            rate("turns_us") / 1e4,
            number(executor, "sessions_open"),
            number(executor, "links_open"),
            number(executor, "objects"),
            rate("datagrams_published"),
            rate("datagrams_delivered"),
            rate("bytes_received") / 1024.0,
            rate("bytes_sent") / 1024.0,
            number(executor, "ring_batches_max"),
            number(overview, "ring_batches_limit"),
            number(executor, "slow_turns"),
        );
    }
    out
}

fn link_table(links: &Value) -> String {
    let links = links.as_array().map_or(&[][..], Vec::as_slice);
    if links.is_empty() {
        return String::new();
    }
    let mut out = String::from("\nshard  link                   name\n");
    for link in links {
        let text = |name: &str| printable(link[name].as_str().unwrap_or_default());
        let _ = writeln!(out, "{:>5}  {:<21}  {}", number(link, "shard"), text("peer"), text("name"));
    }
    out
}

/// What a peer calls itself must not move the cursor of the operator's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn overview(published: u64, turns_us: u64) -> Value {
        json!({
            "identity": { "name": "Test", "version": "1", "pid": 7, "dc_hash": "0000abcd" },
            "up_seconds": 3725.0, "silent": 0, "ring_batches_limit": 64,
            "executors": [{ "shard": 0, "datagrams_published": published, "turns_us": turns_us, "sessions_open": 5,
                            "bytes_received": 2048 }],
        })
    }

    #[test]
    fn rates_are_those_of_the_time_between_two_looks() {
        let (before, now) = (overview(100, 1_000_000), overview(300, 1_500_000));
        let table = executors(&now, Some((&before, Duration::from_secs(2))));
        let row: Vec<&str> = table.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(row[..6], ["0", "25.0%", "5", "0", "0", "100"], "{table}");
    }

    #[test]
    fn the_summary_adds_the_executors_up() {
        let text = summary(&overview(1, 1));
        assert!(text.contains("donetd 1 · Test · pid 7 · DC hash 0x0000abcd · up 1:02 h"), "{text}");
        assert!(text.contains("5 clients, 0 links"), "{text}");
    }

    #[test]
    fn names_of_peers_cannot_move_the_cursor() {
        let table = link_table(&json!([{ "shard": 1, "peer": "1.2.3.4:5", "name": "a\u{1b}[2Jb" }]));
        assert!(table.contains("a\u{fffd}[2Jb"), "{table}");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([duration(59), duration(3661), duration(90_061)], ["0:59 min", "1:01 h", "1 d 1:01 h"]);
    }
}
