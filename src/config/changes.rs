//! What differs between the configuration that a daemon runs with and the one that its file holds now, and what of it the
//! daemon takes over while it runs.
//!
//! Decides for every key, by name, whether it can change in a running daemon. A key that nobody has decided about does not
//! compile.

use super::*;
use serde::Serialize;

/// The keys that differ, as `[table] key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Taken over.
    pub applied: Vec<String>,
    /// Left as they were: the daemon has to be started anew for them.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares two tables field by field. `now` is taken over, `restart` is not, `below` has a comparison of its own.
macro_rules! compare {
    ($changes:ident, $place:expr, $running:expr, $read:expr, $type:ident { $($how:ident $field:ident $(= $key:literal)?,)* }) => {
        // Every field by name, so that none is forgotten.
        let $type { $($field: _,)* } = $read;
        $(compare!(@$how $changes, $place, $running.$field, $read.$field, compare!(@key $field $($key)?));)*
    };
    (@key $field:ident $key:literal) => { $key };
    (@key $field:ident) => { stringify!($field) };
    (@now $changes:ident, $place:expr, $running:expr, $read:expr, $key:expr) => {
        if $running != $read {
            $running = $read.clone();
            $changes.applied.push(format!("{} {}", $place, $key));
        }
    };
    (@restart $changes:ident, $place:expr, $running:expr, $read:expr, $key:expr) => {
        if $running != $read {
            $changes.needs_restart.push(format!("{} {}", $place, $key));
        }
    };
    (@below $changes:ident, $place:expr, $running:expr, $read:expr, $key:expr) => {};
}

/// The running configuration with everything of the other that can change while a daemon runs, and what differs.
pub fn take_over(running: &Config, read: &Config) -> (Config, Changes) {
    let mut taken = running.clone();
    let mut changes = Changes::default();
    // Exhaustive, as in the tables below.
    let Config {
        daemon,
        global,
        shards,
        admin,
        uberdogs,
        message_director,
        client_agents,
        state_servers,
        database_servers,
        database_state_servers,
        event_loggers,
        warnings: _,
    } = read;
    compare!(changes, "[daemon]", taken.daemon, daemon, Daemon { restart name, restart id, now log_level, });
    compare!(changes, "[global]", taken.global, global, Global {
        now eventlogger,
        restart dc_files,
        restart dc_multiple_inheritance,
        restart dc_sort_inheritance_by_file,
        restart dc_virtual_inheritance,
        restart text,
    });
    compare!(changes, "[shards]", taken.shards, shards, Shards { restart count, restart pin, restart cpus, });
    compare!(changes, "[admin]", taken.admin, admin, Admin {
        restart bind,
        now token,
        now drain_deadline = "drain_deadline_s",
    });
    if running.uberdogs != *uberdogs {
        changes.needs_restart.push("[[uberdogs]]".to_owned());
    }
    match (&mut taken.message_director, message_director) {
        (Some(taken), Some(read)) => director(taken, read, &mut changes),
        (None, None) => {}
        _ => changes.needs_restart.push("[services.message_director]".to_owned()),
    }
    let agent = |agent: &ClientAgent| (agent.bind, agent.channels.clone());
    each("client_agent", &mut taken.client_agents, client_agents, &mut changes, agent, client_agent);
    let server = |server: &StateServer| server.control_channel;
    each(
        "state_server",
        &mut taken.state_servers,
        state_servers,
        &mut changes,
        server,
        |place, taken, read, changes| {
            compare!(changes, place, taken, read, StateServer { restart control_channel, });
        },
    );
    let database = |server: &DatabaseServer| (server.control_channel, server.directory.clone());
    each("database_server", &mut taken.database_servers, database_servers, &mut changes, database, database_server);
    each(
        "dbss",
        &mut taken.database_state_servers,
        database_state_servers,
        &mut changes,
        |role| (role.db_channel, role.ranges.clone()),
        |place, taken, read, changes| {
            compare!(changes, place, taken, read, DatabaseStateServer {
                restart db_channel,
                restart ranges,
                now activate_on_location,
                restart follow_database,
                now load_timeout = "load_timeout_ms",
                now load_queue_max,
            });
        },
    );
    let logger = |logger: &EventLogger| logger.bind;
    each(
        "event_logger",
        &mut taken.event_loggers,
        event_loggers,
        &mut changes,
        logger,
        |place, taken, read, changes| {
            compare!(changes, place, taken, read, EventLogger {
                restart bind,
                now output,
                now log_format,
                now rotate_interval,
                now file_bytes_max = "file_max_bytes",
            });
        },
    );
    (taken, changes)
}

/// Roles of one kind, in the order of the file. One more or one less is another daemon: none of the kind is compared. Where
/// one of several has another `identity`, another role stands in its place: nothing of that is for the one that runs.
fn each<T: Clone, I: PartialEq>(
    role: &str,
    taken: &mut [T],
    read: &[T],
    changes: &mut Changes,
    identity: impl Fn(&T) -> I,
    compare: impl Fn(&str, &mut T, &T, &mut Changes),
) {
    if taken.len() != read.len() {
        changes.needs_restart.push(format!("[services.{role}] (their number)"));
        return;
    }
    let is_one = read.len() == 1;
    for (index, (taken, read)) in taken.iter_mut().zip(read).enumerate() {
        let place =
            if is_one { format!("[services.{role}]") } else { format!("[[services.{role}]] no. {}", index + 1) };
        if is_one || identity(taken) == identity(read) {
            compare(&place, taken, read, changes);
        } else {
            let mut differences = Changes::default();
            compare(&place, &mut taken.clone(), read, &mut differences);
            changes.needs_restart.extend(differences.needs_restart);
            changes.needs_restart.extend(differences.applied);
        }
    }
}

fn director(taken: &mut MessageDirector, read: &MessageDirector, changes: &mut Changes) {
    compare!(changes, "[services.message_director]", taken, read, MessageDirector {
        restart bind,
        restart upstream,
        restart upstream_reconnect,
        now link_budget_bytes,
        now link_stall_timeout = "link_stall_timeout_ms",
        now allow,
        now tls,
    });
}

fn client_agent(place: &str, taken: &mut ClientAgent, read: &ClientAgent, changes: &mut Changes) {
    compare!(changes, place, taken, read, ClientAgent {
        restart bind,
        restart websocket = "transport",
        restart haproxy,
        now proxy_timeout = "proxy_timeout_ms",
        now handshake_timeout = "handshake_timeout_ms",
        now tls,
        below limits,
        now version_string,
        now dc_file_hash,
        restart channels = "channel_min, channel_max",
        now relocate,
        now interest_permission,
        now send_hash,
        now send_version,
        now write_buffer_bytes = "write_buffer_size",
        now write_timeout = "write_timeout_ms",
        now heartbeat_timeout = "heartbeat_timeout_ms",
        now interest_timeout = "interest_timeout_ms",
        now auth_timeout = "auth_timeout_ms",
        now historical_ttl = "historical_ttl_ms",
        now interest_zones_allow,
        now interest_zones_deny,
        restart avatar_class,
        now leaving_owner,
        now strict_entrance,
        now eject_linger = "eject_linger_ms",
        now channel_quarantine = "channel_quarantine_ms",
        now flush_delay = "flush_delay_us",
    });
    compare!(changes, format_args!("{place} limits"), taken.limits, &read.limits, Limits {
        now bytes_per_second,
        now messages_per_second,
        now interests,
        now zones,
        now visible_objects,
        now handshakes,
        now connections_per_address,
        now hello_timeout = "hello_timeout_ms",
        now idle_timeout = "idle_timeout_ms",
    });
}

fn database_server(place: &str, taken: &mut DatabaseServer, read: &DatabaseServer, changes: &mut Changes) {
    compare!(changes, place, taken, read, DatabaseServer {
        restart control_channel,
        restart generate = "generate_min, generate_max",
        now broadcast,
        restart directory,
        restart durability,
        now cache_bytes,
        restart renames,
        restart sql_sink,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const AGENT: &str = "[services.client_agent]\nbind = \"127.0.0.1:7198\"\nversion_string = \"1\"\n\
        channel_min = 1000000\nchannel_max = 1000999\n";

    fn read(text: &str) -> Config {
        super::super::parse(Path::new("/x/daemon.toml"), text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn changes(before: &str, after: &str) -> (Config, Changes) {
        take_over(&read(before), &read(after))
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let text = format!("[admin]\ntoken = \"0123456789abcdef\"\n{AGENT}[services.client_agent.limits]\nzones = 5\n");
        assert!(changes(&text, &text).1.is_empty());
    }

    #[test]
    fn what_can_change_is_taken_over_and_what_cannot_is_named_and_left() {
        let after = AGENT.replace("\"1\"", "\"2\"").replace("7198", "7298")
            + "relocate = true\n[services.client_agent.limits]\nmessages_per_second = 7\n";
        let (taken, changes) = changes(AGENT, &format!("[daemon]\nlog_level = \"debug\"\nid = 5\n{after}"));
        assert_eq!(
            changes.applied,
            [
                "[daemon] log_level",
                "[services.client_agent] version_string",
                "[services.client_agent] relocate",
                "[services.client_agent] limits messages_per_second",
            ]
        );
        assert_eq!(changes.needs_restart, ["[daemon] id", "[services.client_agent] bind"]);
        let agent = &taken.client_agents[0];
        assert_eq!((agent.version_string.as_str(), agent.relocate, agent.limits.messages_per_second), ("2", true, 7));
        assert_eq!((taken.daemon.id, agent.bind.port()), (None, 7198));
    }

    /// One of several agents.
    fn one(number: u32, version: u32) -> String {
        AGENT
            .replace("[services", "[[services")
            .replace("client_agent]", "client_agent]]")
            .replace("\"1\"", &format!("\"{version}\""))
            .replace("7198", &format!("7{number}98"))
            .replace("1000", &format!("100{number}"))
    }

    #[test]
    fn roles_that_change_places_do_not_take_over_each_others_settings() {
        let (taken, changes) = changes(&(one(1, 1) + &one(2, 2)), &(one(2, 2) + &one(1, 1)));
        assert_eq!(changes.applied, [""; 0]);
        let named = |number| {
            ["bind", "channel_min, channel_max", "version_string"]
                .map(|key| format!("[[services.client_agent]] no. {number} {key}"))
        };
        assert_eq!(changes.needs_restart, [named(1), named(2)].concat());
        assert_eq!(taken.client_agents[0].version_string, "1");
        // In its place, one of several does take over its own.
        let (taken, changes) = super::tests::changes(&(one(1, 1) + &one(2, 2)), &(one(1, 1) + &one(2, 7)));
        assert_eq!(changes.applied, ["[[services.client_agent]] no. 2 version_string"]);
        assert_eq!((taken.client_agents[1].version_string.as_str(), changes.needs_restart.len()), ("7", 0));
    }

    #[test]
    fn one_role_more_leaves_all_of_its_kind_as_they_are() {
        let (taken, changes) = changes(&one(1, 1), &(one(1, 9) + &one(2, 1)));
        assert_eq!(changes.needs_restart, ["[services.client_agent] (their number)"]);
        assert_eq!((changes.applied.len(), taken.client_agents[0].version_string.as_str()), (0, "1"));
    }
}
