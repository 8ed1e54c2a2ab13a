#!/usr/bin/env bash
# Run one fuzz target without cargo-fuzz: run.sh TARGET SECONDS. The flags are those that cargo-fuzz sets.
set -euo pipefail
cd "$(dirname "$0")"
target=$1 seconds=${2:-600}
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Coverflow-checks -Copt-level=2"
export CARGO_TARGET_DIR="${FUZZ_TARGET_DIR:-target}"
# The target triple keeps build scripts and macros free of the coverage flags.
triple=$(rustc -vV | sed -n 's/^host: //p')
nice -n 15 cargo +nightly build --target "$triple" --bin "$target"
mkdir -p "corpus/$target"
exec nice -n 15 "$CARGO_TARGET_DIR/$triple/debug/$target" "corpus/$target" -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1
