//! How much a client may send in some time.

/// What a client may send at once, in time: a client that was silent for so long may send as much as in so long.
const BURST_NS: u64 = 10_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The price of one unit, in nanoseconds; 0 = free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Price(u64);

impl Price {
    /// For so many units a second; 0 = no limit.
    pub(super) fn per_second(units: u32) -> Self {
        Self(SECOND_NS.checked_div(u64::from(units)).unwrap_or(0))
    }
}

/// What a client has used up: the time until which what it has sent would last at the highest rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    paid_until_ns: u64,
}

impl Allowance {
    /// Takes some units. False when that is more than the rate allows.
    pub(super) fn take(&mut self, units: usize, price: Price, now_us: u64) -> bool {
        let now_ns = now_us.saturating_mul(1000);
        let cost_ns = price.0.saturating_mul(units as u64);
        self.paid_until_ns = self.paid_until_ns.max(now_ns).saturating_add(cost_ns);
        self.paid_until_ns - now_ns <= BURST_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_forgiven_and_a_higher_rate_is_not() {
        let price = Price::per_second(100);
        let mut allowance = Allowance::default();
        for _ in 0..1000 {
            assert!(allowance.take(1, price, 5_000_000));
        }
        assert!(!allowance.take(1, price, 5_000_000), "ten seconds' worth is all at once");
        let mut allowance = Allowance::default();
        for second in 0..1000 {
            assert!(allowance.take(100, price, second * 1_000_000), "exactly the rate, for ever");
        }
        let mut allowance = Allowance::default();
        let lasts = (0..1000).take_while(|second| allowance.take(110, price, second * 1_000_000)).count();
        assert!((80..=120).contains(&lasts), "ten in a hundred too many use up ten seconds' worth: {lasts}");
    }

    #[test]
    fn no_limit_costs_nothing() {
        let mut allowance = Allowance::default();
        for _ in 0..100 {
            assert!(allowance.take(usize::MAX, Price::per_second(0), 0));
        }
    }
}
