//! How many executors, and on which CPUs.

use super::BootError;
use crate::config::{ShardCount, Shards};
use donet_shards::MAX_SHARDS;
use donet_shards::runtime::Placement;

/// Chooses the executors' places from the settings and the CPUs that this process may use.
pub(super) fn choose(settings: &Shards) -> Result<Placement, BootError> {
    let allowed = allowed_cpus()?;
    let placement = place(settings, &allowed)?;
    if settings.pin
        && let Placement::Unpinned(count) = placement
    {
        tracing::warn!(executors = count, cpus = allowed.len(), "more executors than CPUs: they are not pinned");
    }
    Ok(placement)
}

fn place(settings: &Shards, allowed: &[usize]) -> Result<Placement, BootError> {
    let cpus: Vec<usize> = if settings.cpus.is_empty() { allowed.to_vec() } else { settings.cpus.clone() };
    if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(BootError(format!("[shards] cpus: CPU {cpu} is not one that this process may use ({allowed:?})")));
    }
    let count = match settings.count {
        ShardCount::Auto => cpus.len().min(MAX_SHARDS),
        ShardCount::Count(count) => count,
    };
    if !settings.cpus.is_empty() && (!settings.pin || count > cpus.len()) {
        return Err(BootError(format!(
            "[shards] cpus names {} CPUs, but {count} executors are not pinned to them: pin is {}; \
             leave cpus out, or have at most one executor for each",
            cpus.len(),
            settings.pin
        )));
    }
    if settings.pin && count <= cpus.len() {
        Ok(Placement::Pinned(cpus[..count].to_vec()))
    } else {
        Ok(Placement::Unpinned(count))
    }
}

/// The CPUs in this process's affinity mask.
fn allowed_cpus() -> Result<Vec<usize>, BootError> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| BootError(format!("/proc/self/status: {error}; is /proc mounted?")))?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cpus = list.and_then(|list| parse_list(list.trim()));
    cpus.filter(|cpus| !cpus.is_empty()).ok_or_else(|| BootError("/proc/self/status names no CPUs".to_owned()))
}

/// `0-3,8` and such.
fn parse_list(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok();
        cpus.extend(number(first)?..=number(last)?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(count: ShardCount, pin: bool, cpus: &[usize]) -> Shards {
        Shards { count, pin, cpus: cpus.to_vec() }
    }

    #[test]
    fn executors_are_pinned_while_there_are_cpus_for_them() {
        let allowed = [2, 3, 5];
        let chosen = |settings: &Shards| place(settings, &allowed).unwrap();
        assert_eq!(chosen(&settings(ShardCount::Auto, true, &[])), Placement::Pinned(vec![2, 3, 5]));
        assert_eq!(chosen(&settings(ShardCount::Count(2), true, &[5, 3])), Placement::Pinned(vec![5, 3]));
        assert_eq!(chosen(&settings(ShardCount::Count(4), true, &[])), Placement::Unpinned(4));
        assert_eq!(chosen(&settings(ShardCount::Auto, false, &[])), Placement::Unpinned(3));
        assert!(place(&settings(ShardCount::Auto, true, &[4]), &allowed).is_err());
        assert!(place(&settings(ShardCount::Auto, false, &[2]), &allowed).is_err(), "cpus would do nothing");
        assert!(place(&settings(ShardCount::Count(2), true, &[2]), &allowed).is_err());
    }

    #[test]
    fn lists_of_the_kernel() {
        assert_eq!(parse_list("0-1,4"), Some(vec![0, 1, 4]));
        assert_eq!(parse_list("7"), Some(vec![7]));
        assert_eq!(parse_list("x"), None);
    }
}
