//! A machine by what limits a server on it.

use super::game::parse_toml;
use crate::failure::{Failure, ensure};
use serde::Deserialize;
use std::fmt;
use std::path::Path;

/// What a machine has for one server. On the command line `cores=32,memory_gb=128,network_gbit=10,core_speed=1.0`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Processors, one for each executor.
    pub cores: f64,
    /// Memory for the daemon, in gigabytes of 10⁹ bytes.
    pub memory_gb: f64,
    /// The network's rate in each direction, in 10⁹ bits a second.
    pub network_gbit: f64,
    /// How fast a core is, of one of the machine that measures.
    #[serde(default = "same_speed")]
    pub core_speed: f64,
}

fn same_speed() -> f64 {
    1.0
}

impl Machine {
    /// One core, one gigabyte, one gigabit.
    pub(crate) const UNIT: Self = Self { cores: 1.0, memory_gb: 1.0, network_gbit: 1.0, core_speed: 1.0 };

    /// Reads `key=value,…`, or the TOML file of that name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let lines = if text.contains('=') {
            text.split(',').map(str::trim).collect::<Vec<_>>().join("\n")
        } else {
            std::fs::read_to_string(Path::new(text)).map_err(|error| Failure::new(format!("{text}: {error}")))?
        };
        // Whole numbers stand for themselves.
        let machine: Self = parse_toml(&lines).map_err(|failure| failure.within("a machine"))?;
        machine.check()?;
        Ok(machine)
    }

    pub(crate) fn check(self) -> Result<(), Failure> {
        let values = [
            ("cores", self.cores),
            ("memory_gb", self.memory_gb),
            ("network_gbit", self.network_gbit),
            ("core_speed", self.core_speed),
        ];
        for (key, value) in values {
            ensure(value > 0.0 && value <= 1e6, || format!("`{key}` of a machine is {value}; expected more than 0"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, memory_gb, network_gbit, core_speed } = self;
        write!(formatter, "{cores} cores of speed {core_speed}, {memory_gb} GB, {network_gbit} Gbit/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_read_from_a_line_and_from_a_file() {
        let wanted = Machine { cores: 32.0, memory_gb: 128.0, network_gbit: 10.0, core_speed: 1.0 };
        assert_eq!(Machine::parse("cores=32, memory_gb=128,network_gbit=10").unwrap(), wanted);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.toml");
        std::fs::write(&path, "cores = 32\nmemory_gb = 128.0\nnetwork_gbit = 10\ncore_speed = 1.5\n").unwrap();
        assert_eq!(Machine::parse(path.to_str().unwrap()).unwrap(), Machine { core_speed: 1.5, ..wanted });
        for (text, needle) in [
            ("cores=32", "missing field"),
            ("cores=0,memory_gb=1,network_gbit=1", "more than 0"),
            ("cpus=3,memory_gb=1,network_gbit=1", "unknown field `cpus`"),
            ("/nowhere.toml", "/nowhere.toml"),
        ] {
            let failure = Machine::parse(text).unwrap_err().to_string();
            assert!(failure.contains(needle), "{failure}");
        }
    }
}
