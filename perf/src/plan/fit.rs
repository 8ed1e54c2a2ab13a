//! Straight-line fits: how much of a cost each of several causes has, by least squares.
//!
//! No cause has a negative share: one that would is left out, and the rest fitted again. Errors are taken relative to
//! the value, so that small measurements count as much as large ones.

/// One measurement: how much there was of each cause, and the cost.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observation {
    pub causes: Vec<f64>,
    pub cost: f64,
}

/// Cost of one of each cause, and how well that explains what was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    pub each: Vec<f64>,
    /// The root of the mean square of the relative errors.
    pub residual: f64,
    pub observations: usize,
}

impl Fit {
    /// Fits; none where there are fewer measurements than causes that occur, or costs that are not positive.
    pub(super) fn of(observations: &[Observation]) -> Option<Self> {
        let count = observations.first()?.causes.len();
        if observations.iter().any(|it| it.causes.len() != count || !(it.cost > 0.0 && it.cost.is_finite())) {
            return None;
        }
        let mut active: Vec<usize> =
            (0..count).filter(|&cause| observations.iter().any(|it| it.causes[cause] != 0.0)).collect();
        loop {
            if active.is_empty() || active.len() > observations.len() {
                return None;
            }
            let (shares, dependent) = solve(observations, &active);
            // The worst offender goes, and the rest is looked at again.
            let negative = active.iter().zip(&shares).filter(|(_, share)| **share < 0.0);
            let worst = negative.min_by(|(one, a), (other, b)| {
                let weight = |cause: usize, share: f64| share * mean(observations, cause);
                weight(**one, **a).total_cmp(&weight(**other, **b))
            });
            match (dependent, worst.map(|(cause, _)| *cause)) {
                (Some(cause), _) | (None, Some(cause)) => active.retain(|&other| other != cause),
                (None, None) => {
                    let mut each = vec![0.0; count];
                    active.iter().zip(shares).for_each(|(&cause, share)| each[cause] = share);
                    return Some(Self::judged(each, observations));
                }
            }
        }
    }

    fn judged(each: Vec<f64>, observations: &[Observation]) -> Self {
        let mut fit = Self { each, residual: 0.0, observations: observations.len() };
        let squares: f64 = observations.iter().map(|it| (fit.predict(&it.causes) / it.cost - 1.0).powi(2)).sum();
        fit.residual = (squares / observations.len() as f64).sqrt();
        fit
    }

    /// The cost that so much of each cause should have.
    pub(super) fn predict(&self, causes: &[f64]) -> f64 {
        self.each.iter().zip(causes).map(|(each, cause)| each * cause).sum()
    }
}

fn mean(observations: &[Observation], cause: usize) -> f64 {
    observations.iter().map(|it| it.causes[cause] / it.cost).sum::<f64>() / observations.len() as f64
}

/// Least squares of the relative errors over the active causes, by Gram and Schmidt; and a cause that the others explain
/// (all measurements have it in the same proportion to them), if there is one: its share cannot be told from theirs.
fn solve(observations: &[Observation], active: &[usize]) -> (Vec<f64>, Option<usize>) {
    let column = |cause: usize| observations.iter().map(|it| it.causes[cause] / it.cost).collect::<Vec<f64>>();
    let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    // The upper triangle: how much of each basis vector is in each column.
    let mut parts: Vec<Vec<f64>> = Vec::new();
    for &cause in active {
        let mut rest = column(cause);
        let before = dot(&rest, &rest).sqrt();
        let mut part = vec![0.0; basis.len()];
        // Twice, for what rounding has left.
        for _ in 0..2 {
            for (number, vector) in basis.iter().enumerate() {
                let along = dot(vector, &rest);
                part[number] += along;
                rest.iter_mut().zip(vector).for_each(|(value, unit)| *value -= along * unit);
            }
        }
        let length = dot(&rest, &rest).sqrt();
        if length <= before * 1e-6 {
            return (Vec::new(), Some(cause));
        }
        rest.iter_mut().for_each(|value| *value /= length);
        part.push(length);
        basis.push(rest);
        parts.push(part);
    }
    let ones = vec![1.0; observations.len()];
    let wanted: Vec<f64> = basis.iter().map(|vector| dot(vector, &ones)).collect();
    let mut shares = vec![0.0; active.len()];
    for number in (0..active.len()).rev() {
        let of_others: f64 = (number + 1..active.len()).map(|other| parts[other][number] * shares[other]).sum();
        shares[number] = (wanted[number] - of_others) / parts[number][number];
    }
    (shares, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(each: &[f64], grid: &[Vec<f64>], error: impl Fn(usize) -> f64) -> Vec<Observation> {
        let cost = |causes: &Vec<f64>| causes.iter().zip(each).map(|(cause, each)| cause * each).sum::<f64>();
        grid.iter()
            .enumerate()
            .map(|(number, causes)| Observation { causes: causes.clone(), cost: cost(causes) * (1.0 + error(number)) })
            .collect()
    }

    /// Constant, players, messages in, deliveries: as a grid over players, density and rate has them.
    fn grid() -> Vec<Vec<f64>> {
        let mut grid = Vec::new();
        for players in [100.0, 500.0, 2000.0] {
            for density in [5.0, 20.0, 60.0] {
                for rate in [0.0, 1.0, 4.0] {
                    grid.push(vec![1.0, players, players * rate, players * rate * (density - 1.0)]);
                }
            }
        }
        grid
    }

    #[test]
    fn known_coefficients_come_back() {
        let each = [0.02, 8e-6, 30e-6, 3e-6];
        let fit = Fit::of(&observed(&each, &grid(), |_| 0.0)).unwrap();
        for (found, known) in fit.each.iter().zip(each) {
            assert!((found / known - 1.0).abs() < 1e-6, "{fit:?}");
        }
        assert!(fit.residual < 1e-9, "{fit:?}");
        // With errors of up to five percent they come back about as well, and the residual says how well.
        let fit = Fit::of(&observed(&each, &grid(), |number| (number * 7 % 11) as f64 / 100.0 - 0.05)).unwrap();
        for (found, known) in fit.each.iter().zip(each) {
            assert!((found / known - 1.0).abs() < 0.1, "{fit:?}");
        }
        assert!((0.02..0.04).contains(&fit.residual), "{fit:?}");
    }

    #[test]
    fn no_share_is_negative_and_what_cannot_be_told_apart_is_left_out() {
        // The second cause would help with a negative share.
        let grid: Vec<Vec<f64>> = (1..20).map(|n| vec![f64::from(n), f64::from(n % 4), 0.0]).collect();
        let fit = Fit::of(&observed(&[2.0, -0.3, 0.0], &grid, |_| 0.0)).unwrap();
        assert!(fit.each[0] > 1.0 && fit.each[1] == 0.0 && fit.each[2] == 0.0, "{fit:?}");
        assert!(fit.residual > 0.01);
        // Twice the same: one of them gets it all.
        let grid: Vec<Vec<f64>> = (1..20).map(|n| vec![f64::from(n), f64::from(2 * n)]).collect();
        let fit = Fit::of(&observed(&[1.0, 1.0], &grid, |_| 0.0)).unwrap();
        assert!((fit.predict(&[5.0, 10.0]) - 15.0).abs() < 1e-9 && fit.each.contains(&0.0), "{fit:?}");
    }

    #[test]
    fn too_little_is_no_fit() {
        assert_eq!(Fit::of(&[]), None);
        let one = Observation { causes: vec![1.0, 2.0], cost: 3.0 };
        assert_eq!(Fit::of(std::slice::from_ref(&one)), None);
        assert_eq!(Fit::of(&[one.clone(), Observation { causes: vec![2.0, 1.0], cost: 0.0 }]), None);
    }
}
