//! Which points are measured to tell causes from each other: below the highest number that holds, over players, density
//! and what of the game is played.

use super::game::Game;
use super::measure::{Causes, Point, Share};

/// Players may be this share of the highest number.
const PARTS: [f64; 3] = [0.3, 0.6, 0.9];

fn point(game: &Game, players: f64, density: f64, share: Share) -> Point {
    let players = players.round().clamp(2.0, 60_000.0) as u32;
    let own = f64::from(game.zones.density(players));
    Point { players, density: (own * density).round().clamp(1.0, f64::from(players)) as u32, share, executors: 1 }
}

/// What each of the rarer causes is raised to where it is measured alone, so that its share can be told: a second, for each
/// player; and for the whole world.
const MOVES: f64 = 0.05;
const LOGINS: f64 = 0.01;
const OBJECTS: f64 = 500.0;
const DATABASE: f64 = 200.0;

/// The points of the fit, those that tell most first.
pub(super) fn points(game: &Game, highest: u32) -> Vec<Point> {
    let highest = f64::from(highest.max(4));
    let (all, none) = (Share::ALL, Share::NONE);
    let mut points: Vec<Point> = PARTS.iter().map(|part| point(game, highest * part, 1.0, all)).collect();
    // Density: what is delivered grows with it, so there are fewer players where it is higher.
    points.push(point(game, highest * 0.45, 2.0, all));
    points.push(point(game, highest * 0.9, 0.5, all));
    // Nothing happens; nothing but talk.
    points.push(point(game, highest * 0.9, 1.0, none));
    points.push(point(game, highest * 0.8, 1.0, Share { talk: 1.0, ..none }));
    points.push(point(game, highest * 0.4, 1.5, Share { talk: 1.5, ..none }));
    // Each of the rarer causes alone, as often as it takes to be seen.
    let alone = point(game, highest * 0.5, 1.0, all);
    let usual = Causes::expected(game, &alone);
    let players = f64::from(alone.players);
    for (rate, wanted, share) in [
        (usual.moves, MOVES * players, (|walk| Share { walk, ..Share::NONE }) as fn(f64) -> Share),
        (usual.logins, LOGINS * players, |login| Share { login, ..Share::NONE }),
        (usual.objects, OBJECTS, |objects| Share { objects, ..Share::NONE }),
        (usual.database, DATABASE, |database| Share { database, ..Share::NONE }),
    ] {
        if rate > 0.0 {
            points.push(Point { share: share((wanted / rate).max(1.0)), ..alone });
        }
    }
    // More of everything but players; and fewer who do nothing.
    let twice = Share { talk: 2.0, walk: 2.0, login: 2.0, objects: 2.0, database: 2.0 };
    points.push(point(game, highest * 0.4, 1.0, twice));
    points.push(point(game, highest * 0.3, 1.0, none));
    points
}

/// The measurement that is held back: the whole game, at a number of players that no other has.
pub(super) fn held_back(game: &Game, highest: u32) -> Point {
    point(game, f64::from(highest.max(4)) * 0.75, 1.0, Share::ALL)
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::game;
    use super::*;

    #[test]
    fn there_are_more_points_than_causes_and_the_one_held_back_is_none_of_them() {
        for highest in [1, 40, 3000, 60_000] {
            let points = points(&game(), highest);
            assert!(points.len() > 8, "{points:?}");
            assert!(points.iter().all(|point| point.players >= 2 && (1..=point.players).contains(&point.density)));
        }
        // Each of the rarer causes is the only one somewhere.
        let causes: Vec<Causes> = points(&game(), 3000).iter().map(|point| Causes::expected(&game(), point)).collect();
        let is_alone = |of: fn(&Causes) -> f64| {
            causes.iter().any(|it| of(it) > 0.0 && it.moves + it.logins + it.objects + it.database == of(it))
        };
        assert!(is_alone(|it| it.moves) && is_alone(|it| it.logins), "{causes:?}");
        assert!(is_alone(|it| it.objects) && is_alone(|it| it.database), "{causes:?}");
        let held_back = held_back(&game(), 3000);
        assert!(!points(&game(), 3000).contains(&held_back));
        assert_eq!((held_back.players, held_back.density, held_back.share), (2250, 20, Share::ALL));
    }
}
