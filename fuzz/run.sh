#!/usr/bin/env bash
# Fuzzes every target for some seconds, or those that are named: fuzz/run.sh SECONDS [TARGET]...
# One line says what came of each. What breaks a property is kept under fuzz/artifacts, and ends this with an error once
# all targets have had their time.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?how many seconds each target gets}
shift
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(cd fuzz/fuzz_targets && basename -s .rs -- *.rs)

# The fuzzer's own finds stay with what is built; the corpus that is kept is only read.
built=target/fuzz
# The filter has no unsafe code, so a sanitizer would find nothing, and would need another compiler.
options=(--sanitizer none --target-dir "$built")
mkdir -p "$built"

for target in "${targets[@]}"; do
  cargo fuzz build "${options[@]}" "$target" > "$built/build.log" 2>&1 || { cat "$built/build.log" >&2; exit 1; }
done

broken=0
for target in "${targets[@]}"; do
  found=$built/corpus/$target
  artifacts=fuzz/artifacts/$target
  log=$built/$target.log
  mkdir -p "$found" "$artifacts"
  before=$(find "$found" -type f | wc -l)
  limits=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1)
  [ ! -f "fuzz/dictionaries/$target" ] || limits+=(-dict="fuzz/dictionaries/$target")
  failed=0
  cargo fuzz run "${options[@]}" "$target" "$found" "fuzz/corpus/$target" -- "${limits[@]}" > "$log" 2>&1 || failed=1
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
  new=$(($(find "$found" -type f | wc -l) - before))
  printf '%-14s %9s runs, %5s branches reached, %4s new inputs\n' "$target" "${runs:-0}" "${coverage:-0}" "$new"
  if [ "$failed" = 1 ]; then
    broken=1
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
    grep -A 20 ' panicked at ' "$log" | sed '/^stack backtrace:/,$d; /^note: /,$d; s/^/    /' | head -20 || true
    if [ -n "$input" ]; then
      input=${input#"$PWD"/}
      echo "  the input is $input; to make it smaller:"
      echo "    cargo fuzz tmin ${options[*]} $target $input"
    fi
    echo "  all that the fuzzer said: $log"
  fi
done
exit "$broken"
