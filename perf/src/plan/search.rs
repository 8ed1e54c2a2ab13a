//! The highest number of players at which the goals hold: doubling until they do not, then halving the gap, then trying
//! the answer again. Knows nothing of servers; time is the caller's.

use crate::failure::Failure;

/// Tries at one number that must agree before it counts.
const AGREEING: u32 = 2;

/// Where a search begins and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub first: u32,
    pub most: u32,
    /// The gap at which it ends, of the lower number.
    pub precision: f64,
    /// How often the answer must hold besides the time when it was found.
    pub confirmations: u32,
}

/// What it has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The highest number that held; 0 if none did.
    pub holds: u32,
    /// The lowest that did not, if there is one.
    pub fails: Option<u32>,
    /// Whether the gap is as small as wanted, and the answer has held as often as wanted.
    pub is_confirmed: bool,
}

impl Search {
    /// Searches. `holds` tries a number; `has_time` says whether there is time for another try.
    pub(super) fn run(
        &self,
        mut holds: impl FnMut(u32) -> Result<bool, Failure>,
        has_time: impl Fn() -> bool,
    ) -> Result<Found, Failure> {
        let mut found = Found { holds: 0, fails: None, is_confirmed: false };
        let mut next = self.first.clamp(1, self.most);
        loop {
            if !has_time() {
                return Ok(found);
            }
            if self.judge(next, &mut holds, &has_time)? {
                found.holds = next;
            } else {
                found.fails = Some(next);
            }
            match self.after(found) {
                Some(number) => next = number,
                None if found.holds == 0 => return Ok(found),
                None => match self.confirm(found.holds, &mut holds, &has_time)? {
                    Some(true) => return Ok(Found { is_confirmed: true, ..found }),
                    None => return Ok(found),
                    Some(false) if found.holds == 1 => {
                        return Ok(Found { holds: 0, fails: Some(1), is_confirmed: false });
                    }
                    // It held by luck: what is below it is looked at again.
                    Some(false) => {
                        found = Found { holds: 0, fails: Some(found.holds), is_confirmed: false };
                        next = found.fails.map_or(1, |fails| (fails - fails.div_ceil(10)).max(1));
                    }
                },
            }
        }
    }

    /// What to try next; none if the gap is small enough.
    fn after(&self, found: Found) -> Option<u32> {
        match found {
            Found { holds, fails: None, .. } => (holds < self.most).then(|| holds.saturating_mul(2).min(self.most)),
            Found { holds: 0, fails: Some(fails), .. } => (fails > 1).then_some(fails / 2),
            Found { holds, fails: Some(fails), .. } => {
                let gap = fails.saturating_sub(holds);
                let is_wide = f64::from(gap) > f64::from(holds) * self.precision && gap > 1;
                is_wide.then(|| holds + gap / 2)
            }
        }
    }

    /// One that holds, holds; that it does not must be seen twice, of three times.
    fn judge(
        &self,
        number: u32,
        holds: &mut impl FnMut(u32) -> Result<bool, Failure>,
        has_time: &impl Fn() -> bool,
    ) -> Result<bool, Failure> {
        if holds(number)? {
            return Ok(true);
        }
        let mut failed = 1;
        while failed < AGREEING && has_time() {
            if holds(number)? {
                // One and one: the third decides.
                return if has_time() { holds(number) } else { Ok(false) };
            }
            failed += 1;
        }
        Ok(false)
    }

    /// Whether the answer holds again and again; none if there was no time.
    fn confirm(
        &self,
        number: u32,
        holds: &mut impl FnMut(u32) -> Result<bool, Failure>,
        has_time: &impl Fn() -> bool,
    ) -> Result<Option<bool>, Failure> {
        for _ in 0..self.confirmations {
            if !has_time() {
                return Ok(None);
            }
            if !self.judge(number, holds, has_time)? {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const SEARCH: Search = Search { first: 100, most: 60_000, precision: 0.05, confirmations: 2 };

    /// A server whose cost grows faster than its players, as fan-out makes it: 80 % of a core at some number.
    fn cpu(players: u32) -> f64 {
        let players = f64::from(players);
        0.01 + players * 50e-6 + players * players * 10e-9
    }

    #[test]
    fn the_limit_of_a_modelled_server_is_found_within_the_precision() {
        for goal in [0.1, 0.3, 0.8, 3.0] {
            let tries = Cell::new(0);
            let found = SEARCH
                .run(
                    |players| {
                        tries.set(tries.get() + 1);
                        Ok(cpu(players) <= goal)
                    },
                    || true,
                )
                .unwrap();
            assert!(cpu(found.holds) <= goal && found.is_confirmed, "{found:?}");
            assert!(cpu((f64::from(found.holds) * 1.06) as u32) > goal, "{goal}: {found:?}");
            assert!(tries.get() < 40, "{} tries", tries.get());
        }
    }

    #[test]
    fn a_single_bad_or_lucky_try_decides_nothing() {
        // Every fifth try fails for no reason; every seventh succeeds for none.
        let tries = Cell::new(0);
        let found = SEARCH
            .run(
                |players| {
                    tries.set(tries.get() + 1);
                    Ok(match tries.get() {
                        number if number % 5 == 0 => false,
                        number if number % 7 == 0 => true,
                        _ => players <= 3217,
                    })
                },
                || true,
            )
            .unwrap();
        assert!((2800..=3400).contains(&found.holds), "{found:?}");
    }

    #[test]
    fn what_never_holds_and_what_always_holds_is_said() {
        let never = SEARCH.run(|_| Ok(false), || true).unwrap();
        assert_eq!((never.holds, never.fails, never.is_confirmed), (0, Some(1), false));
        let always = SEARCH.run(|_| Ok(true), || true).unwrap();
        assert_eq!((always.holds, always.fails, always.is_confirmed), (60_000, None, true));
    }

    #[test]
    fn without_time_the_best_so_far_is_the_answer_and_not_confirmed() {
        let left = Cell::new(4);
        let found = SEARCH.run(
            |players| {
                left.set(left.get() - 1);
                Ok(players <= 3217)
            },
            || left.get() > 0,
        );
        assert_eq!(found.unwrap(), Found { holds: 800, fails: None, is_confirmed: false });
        let failed = SEARCH.run(|_| Err(Failure::new("no server")), || true);
        assert!(failed.is_err());
    }
}
