//! The description of a game: a TOML file that says what its players, its AI and its database do, and what is good enough.
//!
//! Reads and checks; what a description means on a server is measured elsewhere.

use super::machine::Machine;
use crate::failure::{Failure, ensure};
use serde::Deserialize;
use std::path::Path;

/// A game and what is wanted of its server.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Game {
    /// For the report.
    pub name: String,
    pub zones: Zones,
    #[serde(default)]
    pub players: PlayersOf,
    #[serde(default)]
    pub objects: Objects,
    #[serde(default)]
    pub database: Database,
    #[serde(default)]
    pub goals: Goals,
    /// The machine that the capacity is told for.
    pub machine: Option<Machine>,
}

/// How players are spread. Exactly one of the two.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Zones {
    /// Players in a zone, however many there are: with more players come more zones.
    pub players: Option<u32>,
    /// Zones, however many players there are: with more players they become fuller.
    pub count: Option<u32>,
}

/// What each player does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct PlayersOf {
    /// Position updates, while it is in the world.
    pub updates_per_second: f64,
    /// Changes of zone.
    pub moves_per_minute: f64,
    /// Texts of so many bytes that the zone hears.
    pub chats_per_minute: f64,
    pub chat_bytes: u32,
    /// Ends of the connection, with a login anew.
    pub reconnects_per_hour: f64,
    /// Between two heartbeats.
    pub heartbeat_seconds: f64,
}

impl Default for PlayersOf {
    fn default() -> Self {
        Self {
            updates_per_second: 1.0,
            moves_per_minute: 0.0,
            chats_per_minute: 0.0,
            chat_bytes: 40,
            reconnects_per_hour: 0.0,
            heartbeat_seconds: 10.0,
        }
    }
}

/// What a rate counts for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Every thousand players: the world grows with them.
    #[default]
    ThousandPlayers,
    /// The world, however many players there are.
    World,
}

/// What an AI does with objects of its own, which no player sees.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Objects {
    pub per: Per,
    /// Objects that stay.
    pub live: u32,
    /// Fields set, each read again to see that it was.
    pub sets_per_second: f64,
    /// Fields read.
    pub gets_per_second: f64,
    /// Objects made, read and deleted.
    pub creates_per_second: f64,
}

/// What goes to the database.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    pub per: Per,
    /// Objects that are there from the beginning.
    pub stored: u32,
    pub gets_per_second: f64,
    pub sets_per_second: f64,
    pub creates_per_second: f64,
}

/// What is good enough. That nobody is ejected, and nothing lost, doubled or disordered, is wanted always.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Goals {
    /// This share of the updates has reached its viewer ...
    pub share_percent: f64,
    /// ... so soon after it was due.
    pub updates_within_ms: f64,
    /// The same share of the moves is done within so much.
    pub moves_within_ms: Option<f64>,
    /// The same share of the AI's operations, and of the database's.
    pub objects_within_ms: Option<f64>,
    pub database_within_ms: Option<f64>,
    /// Of each processor that an executor has.
    pub cpu_percent: f64,
}

impl Default for Goals {
    fn default() -> Self {
        Self {
            share_percent: 99.0,
            updates_within_ms: 50.0,
            moves_within_ms: None,
            objects_within_ms: None,
            database_within_ms: None,
            cpu_percent: 80.0,
        }
    }
}

impl Zones {
    /// How many players share a zone when there are so many.
    pub(crate) fn density(self, players: u32) -> u32 {
        match self {
            Self { count: Some(count), .. } => players.div_ceil(count.max(1)).max(1),
            Self { players, .. } => players.unwrap_or(1),
        }
    }
}

impl Per {
    /// How often the rate applies among so many players.
    pub(crate) fn times(self, players: f64) -> f64 {
        match self {
            Self::ThousandPlayers => players / 1000.0,
            Self::World => 1.0,
        }
    }
}

impl Objects {
    pub(crate) fn per_second(&self) -> f64 {
        self.sets_per_second + self.gets_per_second + self.creates_per_second
    }
}

impl Database {
    pub(crate) fn per_second(&self) -> f64 {
        self.sets_per_second + self.gets_per_second + self.creates_per_second
    }
}

impl Game {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With file, line, the offending text and what is expected instead.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("{}: the game cannot be read: {error}", path.display())))?;
        Self::parse(&text).map_err(|failure| failure.within(&path.display().to_string()))
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// As [`Game::load`].
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let game: Self = parse_toml(text)?;
        game.check()?;
        Ok(game)
    }

    fn check(&self) -> Result<(), Failure> {
        ensure(!self.name.trim().is_empty(), || "`name` is empty".to_owned())?;
        ensure(self.zones.players.is_some() != self.zones.count.is_some(), || {
            "[zones] takes one of `players` (in a zone) and `count` (of zones)".to_owned()
        })?;
        let whole = [
            ("zones.players", self.zones.players, 1, 10_000),
            ("zones.count", self.zones.count, 2, 60_000),
            ("players.chat_bytes", Some(self.players.chat_bytes), 12, 200),
        ];
        for (key, value, least, most) in whole {
            ensure(value.is_none_or(|value| (least..=most).contains(&value)), || {
                format!("`{key}` is {}; expected {least} to {most}", value.unwrap_or_default())
            })?;
        }
        let Self { players, objects, database, goals, .. } = self;
        let rates = [
            ("players.updates_per_second", players.updates_per_second),
            ("players.moves_per_minute", players.moves_per_minute),
            ("players.chats_per_minute", players.chats_per_minute),
            ("players.reconnects_per_hour", players.reconnects_per_hour),
            ("players.heartbeat_seconds", players.heartbeat_seconds),
            ("objects.sets_per_second", objects.sets_per_second),
            ("objects.gets_per_second", objects.gets_per_second),
            ("objects.creates_per_second", objects.creates_per_second),
            ("database.gets_per_second", database.gets_per_second),
            ("database.sets_per_second", database.sets_per_second),
            ("database.creates_per_second", database.creates_per_second),
        ];
        for (key, value) in rates {
            ensure((0.0..=1_000_000.0).contains(&value), || format!("`{key}` is {value}; expected 0 to 1,000,000"))?;
        }
        let limits = [
            ("goals.updates_within_ms", Some(goals.updates_within_ms), 60_000.0),
            ("goals.moves_within_ms", goals.moves_within_ms, 60_000.0),
            ("goals.objects_within_ms", goals.objects_within_ms, 60_000.0),
            ("goals.database_within_ms", goals.database_within_ms, 60_000.0),
            ("goals.share_percent", Some(goals.share_percent), 100.0),
            ("goals.cpu_percent", Some(goals.cpu_percent), 100.0),
        ];
        for (key, value, most) in limits {
            ensure(value.is_none_or(|value| value > 0.0 && value <= most), || {
                format!("`{key}` is {}; expected more than 0 and at most {most}", value.unwrap_or_default())
            })?;
        }
        ensure(objects.live > 0 || objects.sets_per_second + objects.gets_per_second == 0.0, || {
            "[objects] sets and gets need objects that stay: `live`".to_owned()
        })?;
        ensure(database.stored > 0 || database.sets_per_second + database.gets_per_second == 0.0, || {
            "[database] sets and gets need objects that are there: `stored`".to_owned()
        })
    }
}

/// Reads a TOML text; an unknown key is told with the one that was probably meant.
pub(super) fn parse_toml<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| {
        let mut shown = error.to_string();
        if let Some(near) = meant(error.message()) {
            shown.push_str(&format!("did you mean `{near}`?"));
        }
        Failure::new(shown)
    })
}

/// The key that stands nearest to an unknown one, of those that an error of serde names.
fn meant(message: &str) -> Option<&str> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let near =
        names.map(|name| (strsim::damerau_levenshtein(unknown, name), name)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, name)| *distance * 2 <= name.len()).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"small\"\n[zones]\nplayers = 4\n";

    #[test]
    fn a_small_description_has_defaults() {
        let game = Game::parse(SMALL).unwrap();
        assert_eq!((game.players, game.goals), (PlayersOf::default(), Goals::default()));
        assert_eq!(game.zones.density(1000), 4);
        let full = Zones { players: None, count: Some(30) };
        assert_eq!((full.density(10), full.density(1000)), (1, 34));
        assert_eq!((Per::ThousandPlayers.times(500.0), Per::World.times(500.0)), (0.5, 1.0));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_was_meant() {
        let wrong = [
            (
                "[players]\nupdates_per_secnd = 3\n",
                vec!["line 5", "unknown field `updates_per_secnd`", "did you mean `updates_per_second`?"],
            ),
            ("[golas]\n", vec!["unknown field `golas`", "did you mean `goals`?"]),
            ("[players]\nnothing_like_it = 3\n", vec!["unknown field `nothing_like_it`", "`chats_per_minute`"]),
            ("[players]\nchat_bytes = \"many\"\n", vec!["line 5", "invalid type", "u32"]),
            ("[players]\nmoves_per_minute = -1\n", vec!["`players.moves_per_minute` is -1"]),
            ("[players]\nchat_bytes = 4\n", vec!["`players.chat_bytes` is 4; expected 12 to 200"]),
            ("[goals]\ncpu_percent = 120\n", vec!["`goals.cpu_percent` is 120"]),
            ("[objects]\nsets_per_second = 1\n", vec!["`live`"]),
            ("[database]\nper = \"player\"\n", vec!["unknown variant `player`", "thousand_players"]),
            ("[machine]\ncores = 4\n", vec!["missing field `memory_gb`"]),
        ];
        for (lines, wanted) in wrong {
            let failure = Game::parse(&format!("{SMALL}{lines}")).unwrap_err().to_string();
            assert!(wanted.iter().all(|text| failure.contains(text)), "{wanted:?} in {failure}");
        }
        for zones in ["", "players = 4\ncount = 5\n"] {
            let failure = Game::parse(&format!("name = \"x\"\n[zones]\n{zones}")).unwrap_err().to_string();
            assert!(failure.contains("takes one of"), "{failure}");
        }
        let absent = Game::load(Path::new("/nowhere/game.toml")).unwrap_err().to_string();
        assert!(absent.contains("/nowhere/game.toml"), "{absent}");
    }
}
