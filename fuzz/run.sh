#!/bin/sh
# Fuzzes each target for SECONDS_EACH seconds (default 60), with coverage, on the stable toolchain. `cargo fuzz` needs a
# nightly compiler for libFuzzer's instrumentation, but stable has it as an LLVM pass. Stable has no sanitizer, which is
# no loss: this project has no unsafe code.
#
#   fuzz/run.sh [TARGET…]
#
# New inputs go to fuzz/target/corpus. Failing inputs go to fuzz/artifacts, and the script names them.
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

# Use memory for temporary files, so that targets do not wait for a disk.
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
