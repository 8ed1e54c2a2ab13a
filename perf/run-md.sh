#!/usr/bin/env bash
# The Message Director's workloads beside the relay, as a Markdown table on standard output; every run's JSON line goes
# to the file named by JSON (default target/md.jsonl). Arguments are passed on: --all, --repeat 5, --seconds 10.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
cargo build --quiet --workspace --bins
folder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
echo "$(git log -1 --format='%h %cs'), $(nproc) processors, load average $(cut -d' ' -f1 /proc/loadavg) before the run"
echo
exec "$folder/debug/donet-perf" md table --json "${JSON:-$folder/md.jsonl}" "$@"
