//! Which executor owns an id (design §2, "Placement").

use crate::ShardId;

/// The executor that owns a doid or a client channel: a pure function of the id and the number of executors.
///
/// Ids are handed out consecutively, so the id is mixed (the finaliser of MurmurHash3) before it is reduced;
/// otherwise ids with a common stride, one per district say, would share an executor.
///
/// # Panics
/// When `shards` is 0.
pub fn shard_of(id: u64, shards: usize) -> ShardId {
    let mut mixed = id;
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^= mixed >> 33;
    ShardId((mixed % shards as u64) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_and_strided_ids_spread_evenly() {
        for stride in [1_u64, 16, 1000, 1 << 20] {
            let mut counts = [0_u32; 8];
            for index in 0..8000 {
                counts[shard_of(1_000_000 + index * stride, 8).index()] += 1;
            }
            assert!(counts.iter().all(|&count| (800..1200).contains(&count)), "stride {stride}: {counts:?}");
        }
    }

    #[test]
    fn one_executor_owns_everything() {
        assert_eq!(shard_of(u64::MAX, 1), ShardId(0));
    }
}
