//! Accepted and refused files. A refusal is pinned to its place and wording: they are what an operator works with.

use super::*;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn accepted(text: &str) -> Config {
    parse(Path::new("test.toml"), text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Of each fault, the line with the place and the message, and what stands beside the carets.
fn refused(text: &str) -> Vec<(String, String)> {
    let error = parse(Path::new("test.toml"), text).map(|_| ()).expect_err(text).0;
    error
        .split("\n\n")
        .map(|fault| {
            let lines: Vec<&str> = fault.lines().collect();
            assert_eq!(lines.len(), 4, "{fault}");
            let first = lines[0].strip_prefix("test.toml:").expect("the path").to_owned();
            (first, lines[3].trim_start_matches([' ', '|', '^']).to_owned())
        })
        .collect()
}

/// Each text has exactly one fault: this one.
#[track_caller]
fn check_refusals(cases: &[(&str, &str, &str)]) {
    for (text, fault, expected) in cases {
        assert_eq!(refused(text), [(fault.to_string(), expected.to_string())], "{text}");
    }
}

const STATE_SERVER: &str = "[services.state_server]\ncontrol_channel = 102000\n";
const CLIENT_AGENT: &str = "[services.client_agent]\nbind = \"127.0.0.1\"\nversion_string = \"v\"\n";
const CLIENT_CHANNELS: &str = "channel_min = 1000000\nchannel_max = 1999999\n";

fn client_agent(lines: &str) -> String {
    format!("{CLIENT_AGENT}{CLIENT_CHANNELS}{lines}\n")
}

#[test]
fn the_files_of_the_project_are_accepted_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("config/ is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = load(&path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config.warnings, Vec::<String>::new(), "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 2);
}

/// The development file shows every default in a comment; what it says and what an empty table gives must agree.
#[test]
fn the_defaults_that_dev_toml_shows_are_the_defaults() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let text = std::fs::read_to_string(folder.join("dev.toml")).expect("readable");
    let shown =
        ["dc_multiple_inheritance", "text", "link_budget_bytes", "link_stall_timeout_ms", "channel_quarantine_ms"];
    let mut uncommented = String::new();
    let mut count = 0;
    for line in text.lines() {
        let key = line.strip_prefix('#').and_then(|rest| rest.split_once(" = ")).map(|(key, _)| key);
        let is_key = key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        // Without a default, or with an example instead of one.
        let example = [
            "id",
            "cpus",
            "dc_file_hash",
            "interest_zones_allow",
            "log_format",
            "upstream",
            "token",
            "drain_deadline_s",
        ];
        if is_key && !example.contains(&key.unwrap_or_default()) {
            uncommented.push_str(&line[1..]);
            count += 1;
        } else {
            uncommented.push_str(line);
        }
        uncommented.push('\n');
    }
    assert!(count >= 25, "{count}");
    for key in shown {
        assert!(uncommented.contains(&format!("\n{key} = ")), "{key}");
    }
    let path = folder.join("dev.toml");
    let shown = parse(&path, &uncommented).unwrap_or_else(|error| panic!("{error}"));
    let real = parse(&path, &text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(format!("{shown:?}"), format!("{real:?}"));
}

#[test]
fn defaults_are_those_of_the_specification() {
    let config = accepted(&client_agent(""));
    let client_agent = &config.client_agents[0];
    assert_eq!(client_agent.bind, "127.0.0.1:7198".parse::<SocketAddr>().expect("an address"));
    assert_eq!(client_agent.channels, 1_000_000..=1_999_999);
    assert_eq!(client_agent.interest_permission, InterestPermission::Visible);
    assert_eq!(client_agent.write_buffer_bytes, 262_144);
    assert_eq!(client_agent.write_timeout, Some(Duration::from_secs(5)));
    assert_eq!(client_agent.heartbeat_timeout, None);
    assert_eq!(client_agent.interest_timeout, Duration::from_millis(500));
    assert_eq!(client_agent.historical_ttl, None);
    assert!(client_agent.leaving_owner && client_agent.send_hash && client_agent.send_version);
    assert_eq!(client_agent.avatar_class, None);
    assert!(!client_agent.relocate && !client_agent.strict_entrance);
    assert_eq!(config.daemon.name, "Donet Cluster");
    assert_eq!(config.shards.count, ShardCount::Auto);
    assert!(config.shards.pin);
    assert_eq!(config.global.text, Text::Utf8);
}

#[test]
fn one_role_and_several_roles_of_a_kind() {
    assert_eq!(accepted(STATE_SERVER).state_servers.len(), 1);
    let several = accepted(
        "[[services.state_server]]\ncontrol_channel = 1000\n[[services.state_server]]\ncontrol_channel = 1001\n",
    );
    let channels: Vec<_> = several.state_servers.iter().map(|role| role.control_channel).collect();
    assert_eq!(channels, [1000, 1001]);
    let director = accepted("[[services.message_director]]\nbind = [\"127.0.0.1\", \"[::1]:80\"]\n").message_director;
    let bind: Vec<String> = director.expect("one").bind.iter().map(ToString::to_string).collect();
    assert_eq!(bind, ["127.0.0.1:7199", "[::1]:80"]);
    assert!(accepted("[services.message_director]").message_director.expect("one").bind.is_empty());
}

#[test]
fn ranges_of_a_database_state_server_in_both_forms() {
    let one = accepted("[services.dbss]\ndb_channel = 103000\nrange_min = 1000\nrange_max = 1999\n");
    assert_eq!(one.database_state_servers[0].ranges, [1000..=1999]);
    let two = accepted(
        "[services.dbss]\ndb_channel = 103000\n[[services.dbss.ranges]]\nmin = 1000\nmax = 1999\n\
         [[services.dbss.ranges]]\nmin = 3000\nmax = 4294967295\n",
    );
    assert_eq!(two.database_state_servers[0].ranges, [1000..=1999, 3000..=u32::MAX]);
    assert_eq!(two.warnings.len(), 1, "no database server of this file: {:?}", two.warnings);
}

#[test]
fn wide_channels_are_strings_and_hexadecimal_is_read() {
    let config = accepted("[services.state_server]\ncontrol_channel = \"18446744073709551615\"\n");
    assert_eq!(config.state_servers[0].control_channel, u64::MAX);
    let config = accepted(&client_agent("dc_file_hash = 0xABCDEF12"));
    assert_eq!(config.client_agents[0].dc_file_hash, Some(0xabcd_ef12));
}

#[test]
fn client_agents_with_the_same_range_share_a_pool() {
    let second = "[[services.client_agent]]\nbind = \"127.0.0.1:2\"\nversion_string = \"v\"\nchannel_min = 1000\nchannel_max = 2000\n";
    let first = second.replace(":2", ":1");
    assert_eq!(accepted(&format!("{first}{second}")).client_agents.len(), 2);
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("exists");
    std::fs::create_dir(root.join("config")).expect("created");
    std::fs::write(root.join("config/a.dc"), "").expect("written");
    let text = "[global]\ndc_files = [\"a.dc\"]\n[services.database_server]\ncontrol_channel = 1000\ngenerate_min = 5000\n\
                rocksdb.directory = \"../data/db\"\n[services.event_logger]\nbind = \"127.0.0.1\"\noutput = \"/var/log/x/\"\n";
    let file = root.join("config/x.toml");
    std::fs::write(&file, text).expect("written");
    let config = load(&file).expect("accepted");
    assert_eq!(config.global.dc_files, [root.join("config/a.dc")]);
    assert_eq!(config.database_servers[0].directory, root.join("data/db"));
    assert_eq!(config.database_servers[0].generate, 5000..=u32::MAX);
    assert_eq!(config.event_loggers[0].output, PathBuf::from("/var/log/x/"));
}

#[test]
fn zones_levels_and_durability() {
    let config = accepted(&client_agent("interest_zones_allow = [5, \"100-200\"]"));
    assert_eq!(config.client_agents[0].interest_zones_allow, [5..=5, 100..=200]);
    let config = accepted(&format!("{STATE_SERVER}[daemon]\nlog_level = \"info,donet::client_agent=debug\"\n"));
    assert_eq!(config.daemon.log_level, "info,donet::client_agent=debug");
    let config = accepted(
        "[services.database_server]\ncontrol_channel = 1000\ngenerate_min = 5000\n[services.database_server.rocksdb]\n\
         durability = \"interval\"\ndurability_interval_ms = 20\n",
    );
    assert_eq!(config.database_servers[0].durability, Durability::Interval(Duration::from_millis(20)));
}

/// The whole picture once, so that the layout is pinned too.
#[test]
fn a_misspelt_key_is_shown_in_its_line() {
    let error = parse(Path::new("config/x.toml"), "[services.message_director]\nbnd = \"127.0.0.1:7199\"\n");
    assert_eq!(
        error.expect_err("misspelt").to_string(),
        "config/x.toml:2:1: unknown key `bnd` in [services.message_director]\n\
         \x20 |\n2 | bnd = \"127.0.0.1:7199\"\n\x20 | ^^^ did you mean `bind`?"
    );
}

#[test]
fn unknown_keys_and_tables() {
    check_refusals(&[
        (
            "[services.databse_server]\n",
            "1:11: unknown table `databse_server` in [services]",
            "did you mean `database_server`?",
        ),
        (
            "[services.database_state_server]\n",
            "1:11: unknown table `database_state_server` in [services]",
            "did you mean `dbss`?",
        ),
        (
            "[services.state_server]\ncontrol_channel = 1000\n[demon]\n",
            "3:2: unknown table `demon` at the top level",
            "did you mean `daemon`?",
        ),
        (
            "[services.state_server]\ncontrol_channel = 1000\ncolour = 1\n",
            "3:1: unknown key `colour` in [services.state_server]",
            "expected one of: control_channel",
        ),
        (
            "[services.state_server]\ncontrol_channel = 1000\nx.y = 1\n",
            "3:1: unknown table `x` in [services.state_server]",
            "expected one of: control_channel",
        ),
    ]);
}

#[test]
fn syntax_errors_have_their_place() {
    let (place, _) = &refused("[daemon]\nname = \"a\nid = 3\n")[0];
    assert!(place.starts_with("2:"), "{place}");
    let (place, _) = &refused("[services.state_server]\ncontrol_channel = 1\ncontrol_channel = 2\n")[0];
    assert_eq!(place, "3:1: duplicate key");
}

#[test]
fn types_and_ranges() {
    let key = |line: &str| client_agent(line);
    let cases = [
        (
            key("relocate = 1"),
            "6:12: `relocate` in [services.client_agent]: this is the number 1",
            "expected true or false",
        ),
        (
            key("flush_delay_us = 1001"),
            "6:18: `flush_delay_us` in [services.client_agent]: 1001 is out of range",
            "expected from 0 to 1000",
        ),
        (
            key("write_timeout_ms = -1"),
            "6:20: `write_timeout_ms` in [services.client_agent]: -1 is out of range",
            "expected from 0 to 604800000",
        ),
        (
            key("interest_timeout_ms = \"1s\""),
            "6:23: `interest_timeout_ms` in [services.client_agent]: this is the string \"1s\"",
            "expected a whole number from 1 to 604800000",
        ),
        (
            key("dc_file_hash = 0x1FFFFFFFF"),
            "6:16: `dc_file_hash` in [services.client_agent]: 0x1FFFFFFFF is out of range",
            "expected from 0 to 4294967295",
        ),
        (
            key("interest_permission = \"visble\""),
            "6:23: `interest_permission` in [services.client_agent]: \"visble\" is unknown",
            "did you mean \"visible\"? expected \"enabled\" or \"visible\" or \"disabled\"",
        ),
        (
            key("interest_zones_deny = [1, \"9-2\"]"),
            "6:27: `interest_zones_deny` in [services.client_agent]: 9 is above 2",
            "expected \"lowest-highest\"",
        ),
        (
            key("interest_zones_deny = [4294967296]"),
            "6:24: `interest_zones_deny` in [services.client_agent]: 4294967296 is out of range",
            "expected from 0 to 4294967295",
        ),
        (
            "[services.state_server]\ncontrol_channel = 9223372036854775808\n".to_owned(),
            "2:19: `control_channel` in [services.state_server]: 9223372036854775808 does not fit a TOML integer",
            "expected a string: \"9223372036854775808\"",
        ),
        (
            "[services.state_server]\ncontrol_channel = \"12x\"\n".to_owned(),
            "2:19: `control_channel` in [services.state_server]: \"12x\" is not a number",
            "expected a number from 0 to 18446744073709551615",
        ),
        (
            format!("{STATE_SERVER}[shards]\ncount = 129\n"),
            "4:9: `count` in [shards]: 129 is out of range",
            "expected from 1 to 128",
        ),
        (
            format!("{STATE_SERVER}[shards]\ncount = \"all\"\n"),
            "4:9: `count` in [shards]: \"all\" is unknown",
            "expected \"auto\" or a number from 1 to 128",
        ),
        (
            format!("{STATE_SERVER}[shards]\ncpus = \"0-1,1\"\n"),
            "4:8: `cpus` in [shards]: CPU 1 is named twice",
            "expected CPU numbers such as \"2-15\" or \"0,2,4-6\"",
        ),
        (
            format!("{STATE_SERVER}[daemon]\nlog_level = \"inf\"\n"),
            "4:13: `log_level` in [daemon]: \"inf\" is no level; did you mean \"info\"?",
            "expected error, warn, info, debug, trace, or a tracing filter such as \"info,donet::client_agent=debug\"",
        ),
        (
            "[services]\nstate_server = 3\n".to_owned(),
            "2:16: `state_server` in [services]: this is the number 3",
            "expected a table: [services.state_server]",
        ),
        (
            "[services.message_director]\nallow = [\"10.0.0.0/33\"]\n".to_owned(),
            "2:10: `allow` in [services.message_director]: the prefix `33` is not a number from 0 to 32",
            "expected \"address\" or \"address/prefix bits\"",
        ),
        (
            format!(
                "{STATE_SERVER}[services.event_logger]\nbind = \"127.0.0.1\"\noutput = \"x\"\nrotate_interval = \"1w\"\n"
            ),
            "6:19: `rotate_interval` in [services.event_logger]: the unit `w` is unknown",
            "expected a number and min, h, hr, d or mo, or \"0\" for never",
        ),
        (
            "[services.database_server]\ncontrol_channel = 1000\ngenerate_min = 5000\ndb_backend = \"mysql\"\n"
                .to_owned(),
            "4:14: `db_backend` in [services.database_server]: \"mysql\" is unknown",
            "expected \"rocksdb\"",
        ),
    ];
    for (text, fault, expected) in &cases {
        check_refusals(&[(text, fault, expected)]);
    }
}

#[test]
fn missing_keys_name_the_table_and_an_example() {
    check_refusals(&[(
        "[services.state_server]\n",
        "1:1: `control_channel` is missing in [services.state_server]",
        "expected a line such as `control_channel = 102000`",
    )]);
    let missing: Vec<String> = refused("\n[services.client_agent]\n").into_iter().map(|(place, _)| place).collect();
    assert_eq!(
        missing,
        ["bind", "version_string", "channel_min", "channel_max"]
            .map(|key| format!("2:1: `{key}` is missing in [services.client_agent]"))
    );
    check_refusals(&[(
        "",
        "1:1: this daemon would do nothing",
        "expected at least one table such as [services.message_director]",
    )]);
}

#[test]
fn addresses_are_checked_and_resolved_at_their_place() {
    let expected = "expected an address: \"host[:port]\", \"IPv6\" or \"[IPv6]:port\"; the port defaults to 7199";
    check_refusals(&[(
        "[services.message_director]\nbind = \"127.0.0.1:x\"\n",
        "2:8: `bind` in [services.message_director]: the port `x` is not a number",
        expected,
    )]);
    let faults = refused("[services.message_director]\nbind = [\"127.0.0.1\", \"::1::1:70000\", \"a b\"]\n");
    let places: Vec<&str> = faults.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(
        places,
        [
            "2:22: `bind` in [services.message_director]: an IPv6 address with a port is written `[address]:port`",
            "2:38: `bind` in [services.message_director]: ` ` cannot stand in a host name",
        ]
    );
    // RFC 6761: no resolver may know a name below `invalid`.
    let faults = refused("[services.message_director]\nbind = \"host.invalid\"\n");
    assert!(
        faults[0]
            .0
            .starts_with("2:8: `bind` in [services.message_director]: the name `host.invalid` cannot be resolved"),
        "{faults:?}"
    );
    let faults = refused(&format!("{STATE_SERVER}[global]\neventlogger = \"127.0.0.1:0\"\n"));
    assert_eq!(faults[0].0, "4:15: `eventlogger` in [global]: nobody can be reached at port 0");
}

#[test]
fn reserved_channels_and_doids() {
    let channel = "expected a channel above 999 and outside 2^32..999*2^32";
    let doid = "expected doids above 999, the minimum first";
    for reserved in [0, 1, 999, 1_u64 << 32, 999 << 32] {
        let text = format!("[services.state_server]\ncontrol_channel = {reserved}\n");
        let fault = format!("2:19: `control_channel` in [services.state_server]: channel {reserved} is reserved");
        check_refusals(&[(&text, &fault, channel)]);
    }
    check_refusals(&[
        (
            &format!("{CLIENT_AGENT}channel_min = 999\nchannel_max = 2000\n"),
            "4:15: `channel_min`, `channel_max` in [services.client_agent]: channel 999 is reserved",
            channel,
        ),
        (
            &format!("{CLIENT_AGENT}channel_min = 2000\nchannel_max = 4294967296\n"),
            "5:15: `channel_min`, `channel_max` in [services.client_agent]: channel 4294967296 is reserved",
            channel,
        ),
        (
            &format!("{CLIENT_AGENT}channel_min = 2000\nchannel_max = 1999\n"),
            "4:15: `channel_min`, `channel_max` in [services.client_agent]: the range 2000-1999 is empty: its minimum is above its maximum",
            channel,
        ),
        (
            "[services.dbss]\ndb_channel = 5\nrange_min = 1000\nrange_max = 2000\n",
            "2:14: `db_channel` in [services.dbss]: channel 5 is reserved",
            channel,
        ),
        (
            "[services.dbss]\ndb_channel = 5000\nrange_min = 999\nrange_max = 2000\n",
            "3:13: `range_min`, `range_max` in [services.dbss]: doid 999 is reserved",
            doid,
        ),
        (
            "[services.database_server]\ncontrol_channel = 5000\ngenerate_min = 0\n",
            "3:16: `generate_min`, `generate_max` in [services.database_server]: doid 0 is reserved",
            doid,
        ),
        (
            "[services.database_server]\ncontrol_channel = 5000\ngenerate_min = 4000\ngenerate_max = 3999\n",
            "3:16: `generate_min`, `generate_max` in [services.database_server]: the range 4000-3999 is empty: its minimum is above its maximum",
            doid,
        ),
    ]);
    let uberdog = |id: u64| format!("{STATE_SERVER}[[uberdogs]]\nid = {id}\nclass = \"A\"\n");
    let expected = "expected a doid above 999 that no other uberdog has";
    for reserved in [0, 1, 999] {
        let fault = format!("4:6: `id` in [[uberdogs]]: doid {reserved} is reserved");
        check_refusals(&[(&uberdog(reserved), &fault, expected)]);
    }
    check_refusals(&[(
        &format!("{}[[uberdogs]]\nclass = \"B\"\nid = 1000\n", uberdog(1000)),
        "8:6: `id` in [[uberdogs]] no. 2: doid 1000 is the id of two uberdogs",
        expected,
    )]);
}

#[test]
fn ranges_that_overlap() {
    let apart = "expected a client range that no object, range or control channel lies in";
    let clients = |rest: &str| format!("{CLIENT_AGENT}{CLIENT_CHANNELS}{rest}");
    check_refusals(&[
        (
            &clients(
                "[services.database_server]\ncontrol_channel = 5000\ngenerate_min = 1999999\ngenerate_max = 3000000\n",
            ),
            "8:16: the doids to generate 1999999-3000000 of [services.database_server] overlap the client channels 1000000-1999999 of [services.client_agent] (line 4)",
            apart,
        ),
        (
            &clients("[services.dbss]\ndb_channel = 5000\nrange_min = 1000\nrange_max = 1000000\n"),
            "8:13: the doids 1000-1000000 of [services.dbss] overlap the client channels 1000000-1999999 of [services.client_agent] (line 4)",
            apart,
        ),
        (
            &clients("[services.state_server]\ncontrol_channel = 1500000\n"),
            "7:19: the control channel 1500000 of [services.state_server] overlap the client channels 1000000-1999999 of [services.client_agent] (line 4)",
            apart,
        ),
        (
            &format!("[[uberdogs]]\nid = 1000000\nclass = \"A\"\n{}", clients("")),
            "7:15: the client channels 1000000-1999999 of [services.client_agent] overlap the uberdog 1000000 of [[uberdogs]] (line 2)",
            apart,
        ),
        (
            "[services.dbss]\ndb_channel = 900000\n[[services.dbss.ranges]]\nmin = 1000\nmax = 2000\n[[services.dbss.ranges]]\nmin = 2000\nmax = 3000\n",
            "7:7: the doids 2000-3000 of [[services.dbss.ranges]] no. 2 overlap the doids 1000-2000 of [[services.dbss.ranges]] no. 1 (line 4)",
            "expected ranges apart: one object has one database state server",
        ),
        (
            "[[services.state_server]]\ncontrol_channel = 1000\n[[services.state_server]]\ncontrol_channel = 1000\n",
            "4:19: the control channel 1000 of [[services.state_server]] no. 2 overlap the control channel 1000 of [[services.state_server]] no. 1 (line 2)",
            "expected a control channel of its own for every role",
        ),
    ]);
}

#[test]
fn what_roles_cannot_share() {
    check_refusals(&[
        (
            "[[services.message_director]]\n[[services.message_director]]\n",
            "2:1: a second message director",
            "expected one; its `bind` may be a list of addresses",
        ),
        (
            "[services.message_director]\nbind = \"127.0.0.1:80\"\n[services.client_agent]\nbind = \"0.0.0.0:80\"\nversion_string = \"v\"\nchannel_min = 1000\nchannel_max = 2000\n",
            "4:8: 0.0.0.0:80 of [services.client_agent] is taken by [services.message_director] (line 2)",
            "expected a port of its own for every listener",
        ),
        (
            "[global]\ndc_multiple_inheritance = false\n[services.dbss]\ndb_channel = 5000\nrange_min = 1000\nrange_max = 2000\n",
            "2:27: `dc_multiple_inheritance = false` together with [services.dbss]",
            "expected true: otherwise field ids are per class, and stored fields cannot be told apart",
        ),
    ]);
    let database = |number: u32| {
        format!(
            "[[services.database_server]]\ncontrol_channel = {number}000\ngenerate_min = {number}000\ngenerate_max = {number}999\n"
        )
    };
    let faults = refused(&format!("{}{}", database(1), database(2)));
    assert!(faults[0].0.starts_with("5:1: [[services.database_server]] no. 2 keeps its data in "), "{faults:?}");
    assert!(accepted(&format!("[global]\ndc_multiple_inheritance = false\n{STATE_SERVER}")).warnings.is_empty());
}

#[test]
fn tls_of_links_has_what_both_ends_need() {
    let director = |lines: &str, tls: &str| {
        format!("[services.message_director]\n{lines}\n[services.message_director.tls]\n{tls}\n")
    };
    const PAIR: &str = "certificate = \"a.crt\"\nkey_file = \"a.key\"";
    let tls = |lines: &str, tls: &str| accepted(&director(lines, tls)).message_director.unwrap().tls.unwrap();
    let open = accepted(&director("bind = \"127.0.0.1\"", PAIR));
    assert!(open.warnings[0].contains("there is no `cert_authority`"), "{:?}", open.warnings);
    let mutual = format!("{PAIR}\ncert_authority = \"ca.pem\"");
    let listening = tls("bind = \"127.0.0.1\"", &mutual);
    assert_eq!((listening.upstream_name, listening.plain_from.len()), (None, 0));
    assert_eq!(listening.handshake_timeout, std::time::Duration::from_secs(10));
    for (lines, name) in [
        ("upstream = \"127.0.0.1:5\"", "127.0.0.1"),
        ("upstream = \"localhost\"", "localhost"),
        ("upstream = \"[::1]:5\"", "::1"),
    ] {
        assert_eq!(tls(lines, &mutual).upstream_name.as_deref(), Some(name));
        let named = format!("{mutual}\nupstream_name = \"world.example\"");
        assert_eq!(tls(lines, &named).upstream_name.as_deref(), Some("world.example"));
    }
    let upstream = "upstream = \"127.0.0.1:5\"";
    for (lines, keys, fault) in [
        (upstream, PAIR, "3:1: `cert_authority` is missing in [services.message_director.tls], where there is an"),
        (upstream, "certificate = \"a.crt\"", "3:1: `key_file` is missing in [services.message_director.tls]"),
        (
            upstream,
            &format!("{mutual}\nupstream_name = \"a b\""),
            "7:17: `upstream_name` in [services.message_director",
        ),
        (
            "",
            &format!("{mutual}\nupstream_name = \"a\""),
            "7:17: `upstream_name` in [services.message_director.tls]: there",
        ),
        ("", &format!("{mutual}\nplain_from = [\"x\"]"), "7:15: `plain_from` in [services.message_director.tls]"),
    ] {
        let faults = refused(&director(lines, keys));
        assert!(faults[0].0.starts_with(fault), "{faults:?}");
    }
}

#[test]
fn a_drain_deadline_is_a_number_of_seconds_and_none_is_no_drain_on_sigterm() {
    let deadline = |line: &str| accepted(&format!("{STATE_SERVER}[admin]\n{line}\n")).admin.drain_deadline;
    assert_eq!(deadline(""), None);
    assert_eq!(deadline("drain_deadline_s = 300"), Some(std::time::Duration::from_secs(300)));
    for wrong in ["0", "604801", "\"5m\"", "-1"] {
        let faults = refused(&format!("{STATE_SERVER}[admin]\ndrain_deadline_s = {wrong}\n"));
        assert!(faults[0].0.contains("`drain_deadline_s` in [admin]"), "{faults:?}");
    }
}

#[cfg(feature = "sql")]
#[test]
fn a_sql_sink_names_a_database_of_its_own() {
    let sink = |number: u32, lines: &str| {
        format!(
            "[[services.database_server]]\ncontrol_channel = {number}000\ngenerate_min = {number}000\n\
             generate_max = {number}999\nrocksdb = {{ directory = \"{number}\" }}\n\
             [services.database_server.sql_sink]\n{lines}\n"
        )
    };
    let target = |url: &str| {
        let config = accepted(&sink(5, &format!("url = \"{url}\"")));
        let sink = config.database_servers[0].sql_sink.clone().expect("configured");
        assert_eq!(sink.outbox_bytes_max, 10 << 30);
        sink.target
    };
    let url = "postgres://game:secret@db.example/world";
    assert_eq!(target(url), SqlTarget::Postgres(url.to_owned()));
    assert!(!format!("{:?}", target(url)).contains("secret"));
    assert_eq!(target("sqlite:///var/world.sqlite"), SqlTarget::Sqlite("/var/world.sqlite".into()));
    let SqlTarget::Sqlite(path) = target("sqlite:data/world.sqlite") else { panic!("a file") };
    assert!(path.is_absolute() && path.ends_with("data/world.sqlite"), "{path:?}");

    for (lines, fault) in [
        ("outbox_max_bytes = 2000000", "6:1: `url` is missing in [services.database_server.sql_sink]"),
        ("url = \"mysql://x/y\"", "7:7: `url` in [services.database_server.sql_sink]: it begins with neither"),
        ("url = \"sqlite:\"", "7:7: `url` in [services.database_server.sql_sink]: it names no file"),
        ("url = \"postgres://u:secret@h/d?nonsense=1\"", "7:7: `url` in [services.database_server.sql_sink]: "),
        ("url = \"postgres://u:secret@h/d?sslmode=require\"", "7:7: `url` in [services.database_server.sql_sink]: TLS"),
        (
            "url = \"sqlite:x\"\noutbox_max_bytes = 5",
            "8:20: `outbox_max_bytes` in [services.database_server.sql_sink]: 5 is",
        ),
        ("url = \"sqlite:x\"\noutbox_max_byte = 5", "8:1: unknown key `outbox_max_byte`"),
    ] {
        let faults = refused(&sink(5, lines));
        assert!(faults.len() == 1 && faults[0].0.starts_with(fault), "{faults:?}");
        // The text of the line is quoted, but for what a password is in.
        assert!(!faults[0].0.contains("secret"), "{faults:?}");
    }
    let faults = refused(&format!("{}{}", sink(5, "url = \"sqlite:x\""), sink(6, "url = \"sqlite:x\"")));
    assert!(faults.len() == 1 && faults[0].0.contains("has the same"), "{faults:?}");
}

#[test]
fn transports_and_limits_of_a_client_agent() {
    let plain = accepted(&client_agent("transport = \"tcp\"")).client_agents.remove(0);
    assert_eq!((plain.websocket, plain.haproxy, &plain.tls, &plain.limits), (false, false, &None, &Limits::default()));
    let keys = "transport = \"websocket\"\nhaproxy = true\nproxy_timeout_ms = 7\nhandshake_timeout_ms = 8\n\
        [services.client_agent.tls]\ncertificate = \"a.crt\"\nkey_file = \"/b.key\"\ncert_authority = \"ca.pem\"\n\
        [services.client_agent.limits]\nbytes_per_second = 1\nmessages_per_second = 2\ninterests = 3\nzones = 4\n\
        visible_objects = 5\nhandshakes = 6\nconnections_per_address = 7\nhello_timeout_ms = 0\nidle_timeout_ms = 9";
    let agent = accepted(&client_agent(keys)).client_agents.remove(0);
    assert!(agent.websocket && agent.haproxy);
    assert_eq!((agent.proxy_timeout.as_millis(), agent.handshake_timeout.as_millis()), (7, 8));
    let tls = agent.tls.expect("TLS is configured");
    assert!(tls.certificate.is_absolute() && tls.certificate.ends_with("a.crt"), "{tls:?}");
    assert_eq!((tls.key_file.as_path(), &tls.chain_file), (Path::new("/b.key"), &None));
    let expected = Limits {
        bytes_per_second: 1,
        messages_per_second: 2,
        interests: 3,
        zones: 4,
        visible_objects: 5,
        handshakes: 6,
        connections_per_address: 7,
        hello_timeout: None,
        idle_timeout: Some(std::time::Duration::from_millis(9)),
    };
    assert_eq!(agent.limits, expected);

    for (line, fault) in [
        ("transport = \"udp\"", "6:13: `transport` in [services.client_agent]: \"udp\" is unknown"),
        ("proxy_timeout_ms = 0", "6:20: `proxy_timeout_ms` in [services.client_agent]: 0 is out of range"),
        ("tls = { certificate = \"x\" }", "6:7: `key_file` is missing in [services.client_agent.tls]"),
        (
            "limits = { interests = 65537 }",
            "6:24: `interests` in [services.client_agent.limits]: 65537 is out of range",
        ),
        ("limits = { byte_per_second = 1 }", "6:12: unknown key `byte_per_second` in [services.client_agent.limits]"),
    ] {
        let faults = refused(&client_agent(line));
        assert!(faults.len() == 1 && faults[0].0.starts_with(fault), "{faults:?}");
    }
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    let faults = refused(&format!("{STATE_SERVER}[admin]\nbind = \"127.0.0.1\"\ntoken = \"secret\"\n"));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].0.starts_with("5:9: `token` in [admin] is too short"), "{faults:?}");
    let config = accepted(&format!("{STATE_SERVER}[admin]\nbind = \"127.0.0.1\"\n"));
    assert_eq!(config.admin.bind.map(|address| address.port()), Some(7190));
}

#[test]
fn an_upstream_is_another_daemon() {
    let director = |lines: &str| format!("[services.message_director]\n{lines}\n");
    let config = accepted(&director("bind = \"127.0.0.1\"\nupstream = \"127.0.0.2\"\nupstream_reconnect = true"));
    let director_settings = config.message_director.expect("configured");
    assert_eq!(director_settings.upstream, Some("127.0.0.2:7199".parse().expect("an address")));
    assert!(director_settings.upstream_reconnect);
    let faults = refused(&director("bind = [\"127.0.0.1:5\", \"127.0.0.1\"]\nupstream = \"127.0.0.1:7199\""));
    assert!(
        faults[0].0.starts_with("3:12: `upstream` in [services.message_director]: 127.0.0.1:7199 is this"),
        "{faults:?}"
    );
    for (bind, upstream) in [
        ("0.0.0.0:5", "127.0.0.1:5"),
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1", "0.0.0.0:7199"),
        ("[::]:5", "127.0.0.1:5"),
        ("localhost", "localhost"),
    ] {
        let faults = refused(&director(&format!("bind = \"{bind}\"\nupstream = \"{upstream}\"")));
        assert!(faults[0].0.contains("this daemon's own `bind` of [services.message_director] (line 2)"), "{faults:?}");
    }
    let to_clients = format!("{}{}", director("upstream = \"127.0.0.1:7198\""), client_agent(""));
    assert!(refused(&to_clients)[0].0.contains("own `bind` of [services.client_agent]"));
    let faults = refused(&director("upstream = \"127.0.0.1:0\""));
    assert!(faults[0].0.starts_with("2:12"), "{faults:?}");
}

#[test]
fn missing_dc_files_are_named_at_their_place() {
    let faults = refused(&format!("{STATE_SERVER}[global]\ndc_files = [\"no/such.dc\"]\n"));
    assert!(faults[0].0.starts_with("4:13: `dc_files` in [global]: "), "{faults:?}");
    assert!(faults[0].0.contains("no/such.dc: No such file"), "{faults:?}");
}

#[test]
fn one_run_reports_every_fault_in_the_order_of_the_file() {
    let text = format!("[services.state_server]\ncontrol_channel = 5\nbnd = 1\n[daemon]\nname = 3\n{CLIENT_AGENT}");
    let places: Vec<String> = refused(&text).into_iter().map(|(place, _)| place).collect();
    let lines: Vec<&str> = places.iter().filter_map(|place| place.split(':').next()).collect();
    assert_eq!(lines, ["2", "3", "5", "6", "6"], "{places:?}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let error = load(Path::new("no/such/file.toml")).expect_err("missing").to_string();
    assert!(error.starts_with("no/such/file.toml: the configuration file cannot be read: No such file"), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.toml");
    std::fs::write(&path, b"[daemon]\nname = \"\xff\"\n").expect("written");
    let error = load(&path).expect_err("not UTF-8").to_string();
    assert!(error.ends_with("x.toml:2:9: this is not UTF-8; TOML files are"), "{error}");
}
