//! Why a scenario failed: what was awaited and what came instead. Nothing here decides whether something is a failure.

use crate::message::Message;
use std::fmt;

/// Messages shown of a longer list.
const SHOWN: usize = 12;

/// A claim that does not hold, or surroundings in which it could not be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    text: String,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// Says where it happened, in front of what happened.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        Self { text: format!("{place}: {}", self.text) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<donet::wire::Truncated> for Failure {
    fn from(error: donet::wire::Truncated) -> Self {
        Self::new(error.to_string())
    }
}

/// Fails with a text unless the condition holds.
pub fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(text())) }
}

/// A list of messages, one per line, shortened in the middle.
pub(crate) fn listing(messages: &[Message]) -> String {
    if messages.is_empty() {
        return "\n    (nothing)".to_owned();
    }
    let mut text = String::new();
    let hidden = messages.len().saturating_sub(SHOWN);
    for (index, message) in messages.iter().enumerate() {
        if hidden > 0 && index == SHOWN / 2 {
            text.push_str(&format!("\n    … {hidden} more …"));
        }
        if hidden == 0 || index < SHOWN / 2 || index >= SHOWN / 2 + hidden {
            text.push_str(&format!("\n    {message}"));
        }
    }
    text
}

/// Whether `seen` is exactly `expected`, in this order.
pub fn exactly(who: &str, what: &str, seen: &[Message], expected: &[Message]) -> Result<(), Failure> {
    if seen == expected {
        return Ok(());
    }
    let at = seen.iter().zip(expected).take_while(|(seen, expected)| seen == expected).count();
    Err(Failure::new(format!(
        "{who} awaited {what}: {} messages in this order, got {}; they differ from number {} on\n  expected:{}\n  seen:{}",
        expected.len(),
        seen.len(),
        at + 1,
        listing(&expected[at..]),
        listing(&seen[at..]),
    )))
}

/// Whether `seen` is exactly the set `expected`: each once, nothing else, in any order.
pub fn exactly_in_any_order(who: &str, what: &str, seen: &[Message], expected: &[Message]) -> Result<(), Failure> {
    let mut surplus: Vec<Message> = seen.to_vec();
    let mut missing = Vec::new();
    for message in expected {
        match surplus.iter().position(|candidate| candidate == message) {
            Some(position) => {
                surplus.remove(position);
            }
            None => missing.push(message.clone()),
        }
    }
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{who} awaited {what}: exactly {} messages, got {}\n  missing:{}\n  too many:{}",
        expected.len(),
        seen.len(),
        listing(&missing),
        listing(&surplus),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet::wire::message_type as t;

    fn message(number: u8) -> Message {
        Message::client(t::CLIENT_OBJECT_SET_FIELD, &[number])
    }

    #[test]
    fn order_and_number_both_count() {
        let [a, b] = [message(1), message(2)];
        assert!(exactly("x", "y", &[a.clone(), b.clone()], &[a.clone(), b.clone()]).is_ok());
        for seen in [vec![b.clone(), a.clone()], vec![a.clone()], vec![a.clone(), b.clone(), b.clone()]] {
            let failure = exactly("x", "y", &seen, &[a.clone(), b.clone()]).unwrap_err();
            assert!(failure.to_string().contains("expected:"), "{failure}");
        }
    }

    #[test]
    fn sets_count_repeats() {
        let [a, b] = [message(1), message(2)];
        assert!(exactly_in_any_order("x", "y", &[b.clone(), a.clone()], &[a.clone(), b.clone()]).is_ok());
        for seen in [vec![a.clone()], vec![a.clone(), b.clone(), b.clone()], vec![a.clone(), a.clone()]] {
            assert!(exactly_in_any_order("x", "y", &seen, &[a.clone(), b.clone()]).is_err(), "{seen:?}");
        }
    }

    #[test]
    fn long_lists_are_shortened_in_the_middle() {
        let text = listing(&(0..100).map(message).collect::<Vec<_>>());
        assert!(text.contains("… 88 more …"), "{text}");
        assert_eq!(text.lines().count(), 1 + SHOWN + 1);
    }
}
