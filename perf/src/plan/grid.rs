//! Which points are measured to tell causes from each other: below the highest number that holds, over players, density
//! and what of the game is played.

use super::game::Game;
use super::measure::{Point, Share};

/// Players may be this share of the highest number.
const PARTS: [f64; 3] = [0.3, 0.6, 0.9];

fn point(game: &Game, players: f64, density: f64, share: Share) -> Point {
    let players = players.round().clamp(2.0, 60_000.0) as u32;
    let own = f64::from(game.zones.density(players));
    Point { players, density: (own * density).round().clamp(1.0, f64::from(players)) as u32, share, executors: 1 }
}

/// The points of the fit, those that tell most first.
pub(super) fn points(game: &Game, highest: u32) -> Vec<Point> {
    let highest = f64::from(highest.max(4));
    let all = Share::ALL;
    let mut points: Vec<Point> = PARTS.iter().map(|part| point(game, highest * part, 1.0, all)).collect();
    // Density: what is delivered grows with it, so there are fewer players where it is higher.
    points.push(point(game, highest * 0.45, 2.0, all));
    points.push(point(game, highest * 0.9, 0.5, all));
    // Nothing happens; nothing but talk; no talk; no walking and no database; no AI.
    points.push(point(game, highest * 0.9, 1.0, Share::NONE));
    points.push(point(game, highest * 0.8, 1.0, Share { talk: 1.0, ..Share::NONE }));
    points.push(point(game, highest * 0.7, 1.0, Share { talk: 0.0, ..all }));
    points.push(point(game, highest * 0.6, 1.0, Share { walk: 0.0, database: 0.0, ..all }));
    points.push(point(game, highest * 0.6, 1.0, Share { objects: 0.0, ..all }));
    // More of everything but players.
    let twice = Share { talk: 2.0, walk: 2.0, login: 0.5, objects: 2.0, database: 2.0 };
    points.push(point(game, highest * 0.4, 1.0, twice));
    points.push(point(game, highest * 0.4, 0.5, Share { walk: 0.5, login: 4.0, objects: 1.0, ..twice }));
    points.push(point(game, highest * 0.3, 1.0, Share::NONE));
    points.push(point(game, highest * 0.5, 1.5, Share { walk: 2.0, login: 0.0, ..all }));
    points.dedup();
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
        let held_back = held_back(&game(), 3000);
        assert!(!points(&game(), 3000).contains(&held_back));
        assert_eq!((held_back.players, held_back.density, held_back.share), (2250, 20, Share::ALL));
    }
}
