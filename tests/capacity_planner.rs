//! `donet-perf plan` against the daemon: a tiny game in little time. What the report says is looked at for its structure
//! and its arithmetic, never for speed.

use donet_perf::Failure;
use donet_perf::plan::Plan;
use donet_perf::plan::game::Game;
use std::path::{Path, PathBuf};

const TINY: &str = r#"
name = "A tiny world"
[zones]
players = 5
[players]
updates_per_second = 4
moves_per_minute = 30
chats_per_minute = 30
reconnects_per_hour = 900
[objects]
per = "world"
live = 20
sets_per_second = 40
gets_per_second = 20
creates_per_second = 10
[database]
per = "world"
stored = 20
gets_per_second = 20
sets_per_second = 20
creates_per_second = 5
[goals]
share_percent = 50
updates_within_ms = 30000
moves_within_ms = 30000
objects_within_ms = 30000
database_within_ms = 30000
cpu_percent = 100
"#;

fn plan(game: &Path, output: &Path) -> Plan {
    Plan {
        game: game.to_owned(),
        machine: Some("cores=4,memory_gb=8,network_gbit=1,core_speed=1.5".to_owned()),
        minutes: 0.5,
        output: output.to_owned(),
        first: 12,
        most: 24,
        seconds: Some(0.4),
        donetd: Some(PathBuf::from(env!("CARGO_BIN_EXE_donetd"))),
        // Tests share the machine.
        server_cpu: "none".to_owned(),
    }
}

/// The cells of the first row that begins so.
fn row(text: &str, begin: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin:?} in\n{text}"));
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The first number of a text.
fn number(text: &str) -> f64 {
    let is_digit = |c: char| c.is_ascii_digit() || ".,-+".contains(c);
    let digits: String = text.chars().skip_while(|c| !is_digit(*c)).take_while(|c| is_digit(*c)).collect();
    digits.replace([',', '+'], "").parse().unwrap_or_else(|_| panic!("no number in {text:?}"))
}

#[test]
fn a_tiny_game_is_planned_and_the_report_adds_up() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let game = folder.path().join("tiny.toml");
    std::fs::write(&game, TINY)?;
    let path = plan(&game, &folder.path().join("report")).run()?;
    let text = std::fs::read_to_string(&path)?;
    for picture in ["costs.svg", "latency.svg"] {
        let svg = std::fs::read_to_string(path.with_file_name(picture))?;
        assert!(text.contains(picture) && svg.starts_with("<svg") && svg.contains("A tiny world"), "{svg}");
    }
    for part in ["Answer", "Goals", "What it costs", "A measurement that was held back", "More executors"] {
        assert!(text.contains(&format!("## {part}\n")), "no {part} in\n{text}");
    }
    let answer = text.lines().find(|line| line.contains(" concurrent players** on one executor"));
    let players = number(answer.expect("an answer"));
    assert!((1.0..=24.0).contains(&players), "{text}");
    for goal in ["updates", "moves", "AI's operations", "database's operations"] {
        let cells = row(&text, &format!("| 50 % of the {goal} within 30000 ms"));
        assert_eq!(cells[2], "yes", "{text}");
        assert!((50.0..=100.0).contains(&number(&cells[1])), "{text}");
    }
    // What was held back is three quarters of the answer, and each error is what the two figures before it say.
    assert!(text.contains(&format!("The whole game with {:.0} players", (players.max(4.0) * 0.75).round())), "{text}");
    for figure in ["processor, s/s", "memory, MB", "to clients, Mbit/s", "from clients, Mbit/s"] {
        let cells = row(&text, &format!("| {figure} |"));
        let [predicted, measured, error] = [1, 2, 3].map(|cell| number(&cells[cell]));
        // The figures have three digits.
        assert!(((predicted / measured - 1.0) * 100.0 - error).abs() < 2.0, "{cells:?}");
    }
    // The least of the three resources is what the machine carries.
    let machine = &text[text.find("## On another machine").expect("a machine")..];
    let by = ["processor", "memory", "network"].map(|name| (number(&row(machine, &format!("| {name} |"))[1]), name));
    let least = by.iter().min_by(|one, other| one.0.total_cmp(&other.0)).expect("three");
    let said = machine.lines().find(|line| line.contains("saturates first")).expect("a verdict");
    assert!(number(said) == least.0 && said.contains(&format!("the {} saturates first", least.1)), "{machine}");
    // As many measurements as were fitted, and the one held back.
    let fitted = number(&text[text.find("Straight lines through").expect("the fit")..]);
    let rows = text[text.find("## Measurements of the fit").expect("a table")..].lines();
    let measured = rows.filter(|line| line.starts_with("| ") && !line.contains("players")).count();
    assert!(measured > 9 && fitted <= measured as f64, "{text}");
    Ok(())
}

#[test]
fn a_game_that_nothing_can_carry_is_said_to_be_so() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let game = folder.path().join("hopeless.toml");
    // No update arrives before it was due.
    std::fs::write(&game, "name = \"hopeless\"\n[zones]\nplayers = 2\n[goals]\nupdates_within_ms = 0.000001\n")?;
    let plan = Plan { first: 2, seconds: Some(0.3), ..plan(&game, folder.path()) };
    let failure = plan.run().expect_err("that cannot hold").to_string();
    assert!(failure.contains("do not hold for any number of players: 99 % of the updates"), "{failure}");
    let misspelt = folder.path().join("misspelt.toml");
    std::fs::write(&misspelt, "name = \"x\"\n[zones]\nplayer = 2\n")?;
    let failure = Plan { game: misspelt, ..plan }.run().expect_err("no such key").to_string();
    assert!(failure.contains("misspelt.toml") && failure.contains("did you mean `players`?"), "{failure}");
    Ok(())
}

#[test]
fn the_games_that_come_with_it_can_be_read() -> Result<(), Failure> {
    let games = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/games");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(games)? {
        let game = Game::load(&entry?.path())?;
        assert!(game.machine.is_some() && game.players.updates_per_second > 0.0, "{game:?}");
        assert!(game.objects.live > 0 && game.database.stored > 0, "{game:?}");
        names.push(game.name);
    }
    names.sort();
    assert_eq!(names, ["A dense shooter", "A social world", "A trading game"]);
    Ok(())
}
