//! What executors have counted, from the log of a daemon that has ended.

/// One of the figures that the executors tell at the end, summed over them.
pub fn counted(log: &str, name: &str) -> u64 {
    let words = log.lines().filter(|line| line.contains("counted: ")).flat_map(str::split_whitespace);
    let values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok());
    values.sum()
}
