//! The event log: JSON lines, compared with what has happened.

use crate::failure::{Failure, ensure};
use crate::internal::Internal;
use crate::wait;
use donet::event_logger::Event;
use donet::wire::Channel;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// How a client's connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Ejected {
        code: u16,
        reason: String,
    },
    EjectedForSecurity {
        code: u16,
        reason: String,
    },
    Disconnected,
    Lost,
    /// The daemon was killed while the client was connected: nobody could write anything.
    Killed,
}

/// What the log must say of one client.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The client's end of the connection.
    pub remote: SocketAddr,
    /// Its channel, where the session knows it.
    pub channel: Option<Channel>,
    pub ending: Ending,
}

type Line = Map<String, Value>;

/// Has the Message Director log a marker, and waits until it is in the files. The events of everything that the AI
/// knows to have happened stand before it.
///
/// # Errors
/// When it does not appear, or a line is no JSON.
pub fn mark(ai: &Internal, folder: &Path, marker: &str) -> Result<Vec<Line>, Failure> {
    ai.log(&Event::of_application("session-marker", marker.to_owned()).encode());
    wait::for_some(&format!("the marker {marker:?} in the event log"), || {
        // Bytes leave when the scenario waits for anything; the files tell nobody when they grow.
        ai.flush()?;
        let lines = read(folder)?;
        let is_there =
            lines.iter().any(|line| text(line, "type") == "session-marker" && text(line, "sender") == marker);
        Ok(is_there.then_some(lines))
    })
}

/// All complete lines of all files, in the order of the files' names.
fn read(folder: &Path) -> Result<Vec<Line>, Failure> {
    let mut files = Vec::new();
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                files.push(entry?.path());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        // A line that is being written has no end yet.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in complete.lines() {
            let parsed = serde_json::from_str(line);
            let parsed: Line = parsed
                .map_err(|error| Failure::new(format!("{}: not a JSON object ({error}): {line}", file.display())))?;
            lines.push(parsed);
        }
    }
    Ok(lines)
}

fn text<'a>(line: &'a Line, key: &str) -> &'a str {
    line.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a line has these members, in this order and no others, behind its time.
fn is_event(line: &Line, members: &[(&str, &str)]) -> bool {
    let mut keys = line.iter();
    keys.next().is_some_and(|(key, value)| key == "_time" && value.as_str().is_some_and(is_time))
        && keys.len() == members.len()
        && keys.zip(members).all(|((key, value), (name, text))| key == name && value.as_str() == Some(text))
}

/// `YYYY-MM-DD HH:MM:SS+zzzz` (`protocol-md-ca-el.md` §4.2).
fn is_time(text: &str) -> bool {
    let shape = "dddd-dd-dd dd:dd:dd+dddd";
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(seen, shape)| match shape {
            'd' => seen.is_ascii_digit(),
            '+' => seen == '+' || seen == '-',
            other => seen == other,
        })
}

/// Compares the log with what has happened: of each client its connect and its end, each once; the opening of the log
/// once per life of the daemon; the session's markers; and nothing else.
///
/// # Errors
/// At the first difference.
pub fn compare(lines: &[Line], expected: &[Expectation], agents: &[SocketAddr], lives: usize) -> Result<(), Failure> {
    let mut by_sender: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    let mut opened = 0;
    for line in lines {
        match text(line, "type") {
            "session-marker" => {}
            "log-opened" => {
                let note = text(line, "msg");
                let members = [("type", "log-opened"), ("sender", "EventLogger"), ("msg", note)];
                ensure(is_event(line, &members) && !note.is_empty(), || format!("not the opening: {line:?}"))?;
                opened += 1;
            }
            _ => by_sender.entry(text(line, "sender")).or_default().push(line),
        }
    }
    ensure(opened == lives, || format!("the log was opened {opened} times in {lives} lives of the daemon"))?;
    for client in expected {
        let remote = client.remote.to_string();
        let is_its = |line: &&Line| text(line, "type") == "client-connected" && text(line, "remote_address") == remote;
        let connected = lines.iter().find(is_its);
        let connected = connected.ok_or_else(|| Failure::new(format!("no client-connected from {remote}")))?;
        let sender = text(connected, "sender").to_owned();
        if let Some(channel) = client.channel {
            ensure(sender == format!("Client:{channel}"), || {
                format!("the client at {remote} has the channel {channel} and is called {sender:?}")
            })?;
        }
        let local = text(connected, "local_address");
        ensure(agents.iter().any(|agent| agent.to_string() == local), || {
            format!("{sender} connected to {local}, where no client agent was")
        })?;
        // A channel may be used again in the daemon's next life: take this client's lines only.
        let lines = by_sender.get_mut(sender.as_str()).map(std::mem::take).unwrap_or_default();
        let start = lines.iter().position(|line| std::ptr::eq(*line, connected)).unwrap_or_default();
        let behind = lines[start + 1..].iter();
        let count = 1 + behind.take_while(|line| text(line, "type") != "client-connected").count();
        let (its, others): (Vec<_>, Vec<_>) =
            lines.iter().enumerate().partition(|(at, _)| (start..start + count).contains(at));
        by_sender.insert(text(connected, "sender"), others.into_iter().map(|(_, line)| *line).collect());
        let its: Vec<&Line> = its.into_iter().map(|(_, line)| *line).collect();
        compare_client(&its, client, &sender, &remote, local)?;
    }
    let surplus: Vec<_> = by_sender.into_values().flatten().collect();
    ensure(surplus.is_empty(), || format!("events of nobody in the session: {surplus:?}"))
}

fn compare_client(
    lines: &[&Line],
    client: &Expectation,
    sender: &str,
    remote: &str,
    local: &str,
) -> Result<(), Failure> {
    let connected =
        [("type", "client-connected"), ("sender", sender), ("remote_address", remote), ("local_address", local)];
    let code;
    let ending: Option<Vec<(&str, &str)>> = match &client.ending {
        Ending::Ejected { code: number, reason } | Ending::EjectedForSecurity { code: number, reason } => {
            code = number.to_string();
            let is_security = matches!(client.ending, Ending::EjectedForSecurity { .. });
            let event = if is_security { "client-ejected-security" } else { "client-ejected" };
            Some(vec![("type", event), ("sender", sender), ("reason_code", &code), ("reason_msg", reason)])
        }
        Ending::Disconnected => Some(vec![("type", "client-disconnected"), ("sender", sender)]),
        Ending::Lost => {
            let reason = lines.last().map_or("", |line| text(line, "reason"));
            ensure(!reason.is_empty(), || format!("{sender} was lost without a reason: {lines:?}"))?;
            Some(vec![
                ("type", "client-lost"),
                ("sender", sender),
                ("remote_address", remote),
                ("local_address", local),
                ("reason", reason),
            ])
        }
        Ending::Killed => None,
    };
    let expected: Vec<&[(&str, &str)]> = std::iter::once(&connected[..]).chain(ending.as_deref()).collect();
    let holds =
        lines.len() == expected.len() && lines.iter().zip(&expected).all(|(line, members)| is_event(line, members));
    ensure(holds, || format!("of {sender} the log should say {expected:?}, it says {lines:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "127.0.0.1:7198";
    const CLIENT: &str = "127.0.0.1:40000";

    fn line(text: &str) -> Line {
        serde_json::from_str(text).unwrap()
    }

    fn log(bodies: &[&str]) -> Vec<Line> {
        let head = r#"{"_time": "2026-11-22 08:33:34+0000", "#;
        let opened = r#""type": "log-opened", "sender": "EventLogger", "msg": "started"}"#;
        std::iter::once(&opened).chain(bodies).map(|body| line(&format!("{head}{body}"))).collect()
    }

    fn expectation(ending: Ending) -> Expectation {
        Expectation { remote: CLIENT.parse().unwrap(), channel: Some(1_000_000), ending }
    }

    const CONNECTED: &str = r#""type": "client-connected", "sender": "Client:1000000",
        "remote_address": "127.0.0.1:40000", "local_address": "127.0.0.1:7198"}"#;
    const EJECTED: &str = r#""type": "client-ejected-security", "sender": "Client:1000000",
        "reason_code": "118", "reason_msg": "no"}"#;

    fn judge(bodies: &[&str], ending: Ending) -> Result<(), Failure> {
        compare(&log(bodies), &[expectation(ending)], &[AGENT.parse().unwrap()], 1)
    }

    #[test]
    fn a_log_that_is_complete_passes() {
        let ending = Ending::EjectedForSecurity { code: 118, reason: "no".into() };
        judge(&[CONNECTED, EJECTED], ending).unwrap();
        judge(&[CONNECTED], Ending::Killed).unwrap();
        let lost = CONNECTED.replace("client-connected", "client-lost").replace("7198\"", "7198\", \"reason\": \"x\"");
        judge(&[CONNECTED, &lost], Ending::Lost).unwrap();
    }

    #[test]
    fn every_difference_is_found() {
        let ending = Ending::EjectedForSecurity { code: 118, reason: "no".into() };
        let wrong: [&[&str]; 7] = [
            &[],
            &[CONNECTED],
            &[EJECTED],
            &[CONNECTED, EJECTED, EJECTED],
            &[CONNECTED, CONNECTED, EJECTED],
            &[CONNECTED, &EJECTED.replace("118", "117")],
            &[CONNECTED, EJECTED, &EJECTED.replace("1000000", "1000001")],
        ];
        for bodies in wrong {
            assert!(judge(bodies, ending.clone()).is_err(), "{bodies:?}");
        }
        assert!(judge(&[CONNECTED, EJECTED], Ending::Ejected { code: 118, reason: "no".into() }).is_err());
        assert!(judge(&[CONNECTED, EJECTED], Ending::Killed).is_err());
    }

    #[test]
    fn a_channel_used_again_belongs_to_two_clients() {
        let again = CONNECTED.replace("40000", "40001");
        let lines = log(&[CONNECTED, EJECTED, &again]);
        let second = Expectation {
            remote: "127.0.0.1:40001".parse().unwrap(),
            channel: Some(1_000_000),
            ending: Ending::Killed,
        };
        let first = expectation(Ending::EjectedForSecurity { code: 118, reason: "no".into() });
        compare(&lines, &[first, second], &[AGENT.parse().unwrap()], 1).unwrap();
    }

    #[test]
    fn times_have_one_shape() {
        assert!(is_time("2026-11-22 08:33:34+0000"));
        assert!(is_time("2026-11-22 08:33:34-0330"));
        for wrong in ["2026-11-22 08:33:34", "2026-11-22T08:33:34+0000", "2026-11-22 08:33:34+00:00", ""] {
            assert!(!is_time(wrong), "{wrong}");
        }
    }
}
