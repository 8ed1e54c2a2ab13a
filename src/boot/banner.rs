//! What is printed at start: what runs, where it can be reached, where its data is, how to stop it.
//!
//! Pure: figures in, text out.

use crate::config::Config;
use donet_dc::Contract;
use donet_shards::runtime::Placement;
use std::fmt;
use std::net::SocketAddr;

/// The figures of a daemon that has started; its [`Display`](fmt::Display) is the text.
#[derive(Clone, Debug)]
pub struct Banner {
    title: String,
    /// Label and value of each line.
    rows: Vec<(String, String)>,
    /// Those that follow the listeners.
    rows_below: Vec<(String, String)>,
}

impl Banner {
    pub fn new(config: &Config, contract: &Contract, placement: &Placement) -> Self {
        Self::with_hash(config, contract.hash(), placement)
    }

    fn with_hash(config: &Config, dc_hash: u32, placement: &Placement) -> Self {
        let executors = match placement {
            Placement::Unpinned(count) => format!("{count}, on CPUs that the scheduler chooses"),
            Placement::Pinned(cpus) if cpus.len() == 1 => format!("1, pinned to CPU {}", numbers(cpus)),
            Placement::Pinned(cpus) => format!("{}, pinned to CPUs {}", cpus.len(), numbers(cpus)),
        };
        let row = |label: &str, value: String| (label.to_owned(), value);
        let mut below = Vec::new();
        let director = config.message_director.as_ref();
        below.extend(
            director.and_then(|director| director.upstream).map(|upstream| row("upstream", upstream.to_string())),
        );
        below.extend(
            config.state_servers.iter().map(|role| row("State Server", format!("channel {}", role.control_channel))),
        );
        below.extend(
            config
                .database_servers
                .iter()
                .map(|role| row("Database Server", format!("channel {}", role.control_channel))),
        );
        for role in &config.database_state_servers {
            let ranges: Vec<String> =
                role.ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
            below.push(row("Database State Server", format!("doids {}", ranges.join(", "))));
        }
        let files: Vec<String> = config.global.dc_files.iter().map(|path| path.display().to_string()).collect();
        let files = if files.is_empty() { "no DC files".into() } else { files.join(", ") };
        below.push(row("DC hash", format!("0x{dc_hash:08x} ({files})")));
        below.extend(config.database_servers.iter().map(|role| row("Data", role.directory.display().to_string())));
        below.extend(config.event_loggers.iter().map(|role| row("Event log", role.output.display().to_string())));
        // Whoever starts daemons waits for this line.
        below.push(row("ready", "Ctrl-C or SIGTERM ends it in order, a second one at once".into()));
        Self {
            title: format!("donetd {}: {}", env!("CARGO_PKG_VERSION"), config.daemon.name),
            rows: vec![row("Executors", executors)],
            rows_below: below,
        }
    }

    /// Adds the address that a role, by its name in the configuration, really listens on.
    pub fn listener(&mut self, role: &str, address: SocketAddr) {
        self.rows.push(("listening".to_owned(), format!("{role:<17} {address}")));
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = || self.rows.iter().chain(&self.rows_below);
        let width = rows().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        writeln!(formatter, "{}", self.title)?;
        for (label, value) in rows() {
            writeln!(formatter, "  {label:<width$}  {value}")?;
        }
        Ok(())
    }
}

/// Numbers with runs of neighbours gathered: `0-3, 8`.
fn numbers(list: &[usize]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = list;
    while let Some(&first) = rest.first() {
        let length = rest.iter().zip(first..).take_while(|&(&number, expected)| number == expected).count();
        parts.push(if length > 1 { format!("{first}-{}", first + length - 1) } else { first.to_string() });
        rest = &rest[length..];
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn everything_stands_in_one_column() {
        let text = "[daemon]\nname = \"Test\"\n[services.state_server]\ncontrol_channel = 102000\n\
                    [services.database_server]\ncontrol_channel = 103000\ngenerate_min = 5000\n\
                    rocksdb.directory = \"/data/db\"\n\
                    [services.dbss]\ndb_channel = 103000\nrange_min = 5000\nrange_max = 5999\n\
                    [services.event_logger]\nbind = \"127.0.0.1\"\noutput = \"/data/events\"\n";
        let config = crate::config::parse(Path::new("test.toml"), text).expect("valid");
        let mut banner = Banner::with_hash(&config, 0x010a_d79e, &Placement::Pinned(vec![0, 1]));
        banner.listener("message_director", "127.0.0.1:7199".parse().expect("an address"));
        banner.listener("client_agent", "[::1]:7198".parse().expect("an address"));
        let expected = [
            concat!("donetd ", env!("CARGO_PKG_VERSION"), ": Test"),
            "  Executors              2, pinned to CPUs 0-1",
            "  listening              message_director  127.0.0.1:7199",
            "  listening              client_agent      [::1]:7198",
            "  State Server           channel 102000",
            "  Database Server        channel 103000",
            "  Database State Server  doids 5000-5999",
            "  DC hash                0x010ad79e (no DC files)",
            "  Data                   /data/db",
            "  Event log              /data/events",
            "  ready                  Ctrl-C or SIGTERM ends it in order, a second one at once",
        ];
        assert_eq!(banner.to_string().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn runs_of_numbers_are_gathered_in_the_order_given() {
        assert_eq!(numbers(&[]), "");
        assert_eq!(numbers(&[3]), "3");
        assert_eq!(numbers(&[2, 3, 4, 8, 0, 1]), "2-4, 8, 0-1");
    }
}
