#!/bin/sh
# Fuzzes each target for SECONDS_EACH (60), guided by coverage.
#
#   fuzz/run.sh [TARGET…]
#
# It uses the stable toolchain. `cargo fuzz` needs a nightly compiler for libFuzzer's instrumentation and for
# sanitizers. The instrumentation is also available on stable, as an LLVM pass. Sanitizers are not, but this code has
# no unsafe blocks that they could check.
#
# New inputs go to fuzz/target/corpus. Failing inputs stay in fuzz/artifacts, and the script prints their targets.
set -eu
cd "$(dirname "$0")"

seconds=${SECONDS_EACH:-60}
[ $# -gt 0 ] || set -- $(ls fuzz_targets | sed 's/\.rs$//')

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing
    --cfg getrandom_backend="linux_getrandom"'
cargo build --quiet --target "$host"

# Targets write files. On a memory file system, they do not wait for a disk.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm

failed=
for target in "$@"; do
    mkdir -p "target/corpus/$target" artifacts
    echo "fuzzing $target for $seconds s"
    "target/$host/debug/$target" "target/corpus/$target" "corpus/$target" \
        -max_total_time="$seconds" -max_len=65536 -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target-" >"target/$target.log" 2>&1 || failed="$failed $target"
    grep -E 'Done [0-9]+ runs|stat::number_of_executed_units|SUMMARY|Test unit written|panicked' "target/$target.log" || true
done
[ -z "$failed" ] || { echo "failed:$failed (see fuzz/target/*.log)" >&2; exit 1; }
