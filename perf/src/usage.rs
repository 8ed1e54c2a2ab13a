//! What a process has used of the machine, as the operating system counts it, and where processes may run.
//!
//! Decides nothing about a load. Works for any process of this machine, whoever started it.

use crate::failure::Failure;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Use of one process since its start; differences of two say what lay between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In user mode, in steps of the kernel's clock tick (10 ms).
    pub user: Duration,
    /// In the kernel, in the same steps.
    pub system: Duration,
    /// Both together, to the nanosecond where the kernel keeps scheduler statistics.
    pub cpu: Duration,
    /// Resident memory at this moment, in bytes.
    pub resident_bytes: u64,
    /// Context switches because a thread had to wait.
    pub voluntary_switches: u64,
    /// Context switches because a thread's time was up.
    pub involuntary_switches: u64,
}

/// The kernel's unit of time in `/proc/*/stat`: fixed by its interface to programs, whatever its timer does.
const TICK: Duration = Duration::from_millis(10);

impl Usage {
    /// Reads it.
    ///
    /// # Errors
    /// When there is no such process, or `/proc` is not there.
    pub fn of(process: u32) -> Result<Self, Failure> {
        let folder = Path::new("/proc").join(process.to_string());
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        };
        let mut usage = Self::default();
        let stat = read(&folder.join("stat"))?;
        // The second field is the program's name in brackets, which may hold anything; the third follows the last one.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks =
            |field: usize| after_name.split_whitespace().nth(field - 3).and_then(|text| text.parse::<u32>().ok());
        usage.user = TICK * ticks(14).unwrap_or_default();
        usage.system = TICK * ticks(15).unwrap_or_default();
        usage.resident_bytes = kilobytes(&read(&folder.join("status"))?, "VmRSS:") * 1024;
        let mut exact = Some(Duration::ZERO);
        for task in fs::read_dir(folder.join("task"))?.flatten() {
            // A thread may end between the list and the look.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            usage.voluntary_switches += kilobytes(&status, "voluntary_ctxt_switches:");
            usage.involuntary_switches += kilobytes(&status, "nonvoluntary_ctxt_switches:");
            let statistics = fs::read_to_string(task.path().join("schedstat")).ok();
            let on_cpu = statistics.and_then(|text| text.split_whitespace().next()?.parse().ok());
            exact = exact.zip(on_cpu).map(|(sum, nanoseconds)| sum + Duration::from_nanos(nanoseconds));
        }
        usage.cpu = exact.filter(|sum| !sum.is_zero()).unwrap_or(usage.user + usage.system);
        Ok(usage)
    }

    /// What was used since `earlier`; the memory is that of now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            cpu: self.cpu.saturating_sub(earlier.cpu),
            resident_bytes: self.resident_bytes,
            voluntary_switches: self.voluntary_switches.saturating_sub(earlier.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(earlier.involuntary_switches),
        }
    }

    /// For a report.
    pub fn json(&self) -> Value {
        json!({
            "cpu_s": self.cpu.as_secs_f64(),
            "user_s": self.user.as_secs_f64(),
            "system_s": self.system.as_secs_f64(),
            "resident_bytes": self.resident_bytes,
            "voluntary_switches": self.voluntary_switches,
            "involuntary_switches": self.involuntary_switches,
        })
    }
}

/// The number behind a line's name in a `/proc/*/status`; 0 where there is no such line.
fn kilobytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The processors that this process may use.
///
/// # Errors
/// When the operating system does not say.
pub fn allowed_cpus() -> Result<Vec<usize>, Failure> {
    let set = sched_getaffinity(None).map_err(std::io::Error::from)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// The processors that this process could use when somebody first asked: those that it may share out, whatever its
/// threads have been bound to since.
///
/// # Errors
/// As [`allowed_cpus`].
pub fn cpus_at_first() -> Result<Vec<usize>, Failure> {
    static CPUS: OnceLock<Vec<usize>> = OnceLock::new();
    match CPUS.get() {
        Some(cpus) => Ok(cpus.clone()),
        None => {
            let cpus = allowed_cpus()?;
            Ok(CPUS.get_or_init(|| cpus).clone())
        }
    }
}

/// Binds the calling thread, and what it starts from now on, to some processors.
///
/// # Errors
/// When the process may not use them.
pub fn run_on(cpus: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| {
        Failure::new(format!("cannot run on the processors {cpus:?}: {}", std::io::Error::from(error)))
    })
}

/// How many runnable processes the machine had over the last minute: whether a wall-clock figure means anything.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_what_it_has_used() {
        let before = Usage::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        let mut rounds = 0_u64;
        // Until the operating system has counted something, however slow the machine is.
        let used = loop {
            for number in 0..1_000_000_u64 {
                sum = sum.wrapping_mul(31).wrapping_add(std::hint::black_box(number));
            }
            rounds += 1;
            let used = Usage::of(std::process::id()).unwrap().since(&before);
            if used.cpu >= Duration::from_millis(20) || rounds == 100_000 {
                break used;
            }
        };
        std::hint::black_box(sum);
        assert!(used.cpu >= Duration::from_millis(20), "{used:?}");
        assert!(used.resident_bytes > 100_000, "{used:?}");
    }

    #[test]
    fn there_is_a_processor_to_run_on() {
        let cpus = cpus_at_first().unwrap();
        assert!(!cpus.is_empty());
        // In a thread of its own: the binding is the thread's.
        std::thread::spawn(move || {
            run_on(&cpus[..1]).unwrap();
            assert_eq!(allowed_cpus().unwrap(), cpus[..1]);
            // A second server gets the processor that the first one had, not what is left.
            assert_eq!(cpus_at_first().unwrap(), cpus);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn no_such_process_is_an_error() {
        assert!(Usage::of(u32::MAX).unwrap_err().to_string().contains("stat"));
    }
}
