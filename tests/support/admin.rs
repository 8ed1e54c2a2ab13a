//! The admin endpoint of a daemon, as tests ask it.

use donet_perf::daemon::Daemon;
use donet_perf::{Failure, wait};
use serde_json::Value;

/// Where a path of the endpoint is.
pub fn url(daemon: &Daemon, path: &str) -> Result<String, Failure> {
    Ok(format!("http://{}{path}", daemon.address("admin")?))
}

/// The status and the text of the answer.
pub fn send(request: minreq::Request) -> Result<(u16, String), Failure> {
    let answer = request.with_timeout(wait::PATIENCE.as_secs()).send();
    let answer = answer.map_err(|error| Failure::new(error.to_string()))?;
    Ok((answer.status_code, answer.as_str().map_err(|error| Failure::new(error.to_string()))?.to_owned()))
}

/// What it answers to someone who has no token.
pub fn get(daemon: &Daemon, path: &str) -> Result<(u16, String), Failure> {
    send(minreq::get(url(daemon, path)?))
}

/// What it answers to an order, as JSON.
#[allow(dead_code, reason = "not every test gives orders")]
pub fn order(daemon: &Daemon, path: &str, token: &str) -> Result<(u16, Value), Failure> {
    let request = minreq::post(url(daemon, path)?).with_header("Authorization", format!("Bearer {token}"));
    let (status, body) = send(request)?;
    Ok((status, parsed(&body)))
}

/// A page of the API, which must be there.
#[allow(dead_code, reason = "not every test reads the API")]
pub fn json(daemon: &Daemon, path: &str) -> Result<Value, Failure> {
    let (status, body) = get(daemon, path)?;
    assert_eq!(status, 200, "{path}: {body}");
    Ok(parsed(&body))
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{body}: {error}"))
}

/// A figure of the overview, summed over the executors.
#[allow(dead_code, reason = "not every test reads the API")]
pub fn sum(overview: &Value, name: &str) -> u64 {
    overview["executors"].as_array().expect("a list").iter().map(|executor| executor[name].as_u64().expect(name)).sum()
}

/// The whole text of the metrics.
#[allow(dead_code, reason = "not every test reads metrics")]
pub fn metrics(daemon: &Daemon) -> Result<String, Failure> {
    let (status, text) = get(daemon, "/metrics")?;
    assert_eq!(status, 200, "{text}");
    Ok(text)
}

/// The sum of a metric's samples that have this among their labels; the metric must be there.
#[allow(dead_code, reason = "not every test reads metrics")]
pub fn figure(daemon: &Daemon, name: &str, label: &str) -> Result<u64, Failure> {
    let text = metrics(daemon)?;
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    let mut samples = samples.filter(|(labels, _)| labels.is_empty() || labels.starts_with('{')).peekable();
    assert!(samples.peek().is_some(), "{name} is missing");
    let wanted = samples.filter(|(labels, _)| labels.contains(label));
    Ok(wanted.map(|(_, value)| value.parse::<u64>().unwrap_or_else(|error| panic!("{name} {value}: {error}"))).sum())
}
