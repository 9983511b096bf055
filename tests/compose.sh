#!/usr/bin/env bash
# Starts the stack of docker-compose.yml with this machine's Docker engine, tests it from outside (tests/compose_smoke.py) and the image
# of `waykeeper run` beside it, and takes all down again. Nothing stays but images: the stack's own, `waykeeper-run`, and, as a cache
# for the next run, `waykeeper-build`.
#
# Works with Compose v2 and docker-compose 1.29. Where no image registry is reached, stand-ins for the base images are built
# first (tests/local-images.sh). KEEP=1 leaves the stack running.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROJECT=waykeeper-test-$$
readonly HEALTH_DEADLINE=120 # seconds

say() { printf 'compose-test: %s\n' "$*"; }
fail() { printf 'compose-test: %s\n' "$*" >&2; exit 1; }

# Runs a command with its output put aside; tells every quarter of a minute how far it is, and shows the end if it fails.
quietly() { # WHAT COMMAND...
  local what=$1 log=$work/log started=$SECONDS next=15
  shift
  say "$what"
  set -m # a process group of its own, so that it can be ended with all that it has started
  "$@" >"$log" 2>&1 &
  set +m
  child=$!
  while kill -0 "$child" 2>/dev/null; do
    if [ $((SECONDS - started)) -ge "$next" ]; then
      say "$what: $next s: $(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-100)"
      next=$((next + 15))
    fi
    sleep 0.2
  done
  wait "$child" || { child=; tail -n 60 "$log" >&2; fail "$what: failed after $((SECONDS - started)) s"; }
  child=
  say "$what: $((SECONDS - started)) s"
}

# The project's containers, networks and volumes, whatever their state.
remains() {
  docker ps --all --quiet --filter "label=com.docker.compose.project=$PROJECT"
  docker network ls --quiet --filter "label=com.docker.compose.project=$PROJECT"
  docker volume ls --quiet --filter "label=com.docker.compose.project=$PROJECT"
}

# The older builder leaves the stages that others copy from as images without a name, and any builder the images whose names
# newer ones took. The last build stage holds the compiled dependencies, which is worth a name; the rest goes.
name_the_cache() {
  local newest
  newest=$(docker image ls --quiet --filter dangling=true --filter label=waykeeper.stage=build | head -n 1)
  if [ -n "$newest" ]; then docker tag "$newest" waykeeper-build; fi
  docker container prune --force --filter label=waykeeper.stage=build >/dev/null # of a step that failed
  docker image prune --force --filter label=waykeeper.stage >/dev/null
}

clean_up() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  if [ -n "$child" ]; then
    kill -TERM -- "-$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    # The engine ends the step of an interrupted build by itself, a moment later.
    timeout 20 sh -c 'while [ -n "$(docker ps --quiet --filter label=waykeeper.stage=build)" ]; do sleep 0.2; done' || true
  fi
  if [ -n "${KEEP:-}" ]; then
    say "left running: ${compose[*]} down --volumes"
    exit "$status"
  fi
  if [ -n "$(remains)" ]; then "${compose[@]}" down --volumes --remove-orphans >/dev/null 2>&1 || true; fi
  name_the_cache || true
  rm -rf "$work"
  exit "$status"
}

# Pulls the smallest base image that is missing, to learn whether the others can be had as well; if not, builds stand-ins.
base_images() {
  local image missing=()
  for image in debian: envoyproxy/envoy: rust:; do
    image=$(sed -nE "s|^FROM ($image[^ ]+).*|\1|p" Dockerfile | head -n 1)
    docker image inspect "$image" >/dev/null 2>&1 || missing+=("$image")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  say "pulling ${missing[0]}"
  if timeout 300 docker pull --quiet "${missing[0]}" >"$work/log" 2>&1; then return; fi
  say "it cannot be pulled ($(tail -n 1 "$work/log")); building stand-ins"
  tests/local-images.sh
}

# Waits until every container is healthy.
healthy() {
  local deadline=$((SECONDS + HEALTH_DEADLINE)) before='' now
  while true; do
    now=$(docker ps --all --quiet --filter "label=com.docker.compose.project=$PROJECT" | xargs docker inspect --format \
      '{{index .Config.Labels "com.docker.compose.service"}} {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' \
      | grep -v ' healthy$' | sort || true)
    if [ -z "$now" ]; then return; fi
    if [ "$now" != "$before" ]; then say "waiting for ${now//$'\n'/, }"; fi
    before=$now
    if [ "$SECONDS" -ge "$deadline" ]; then
      "${compose[@]}" logs --tail 30 >&2
      fail "not healthy after $HEALTH_DEADLINE s: ${now//$'\n'/, }"
    fi
    sleep 0.5
  done
}

command -v docker >/dev/null || fail "docker is missing: see https://docs.docker.com/engine/install/"
docker info >/dev/null 2>&1 || fail "the Docker engine does not answer: start it, or run this with the right to use it"
command -v python3 >/dev/null || fail "python3 is missing"
if docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
elif command -v docker-compose >/dev/null; then
  compose=(docker-compose)
else
  fail "neither \`docker compose\` nor \`docker-compose\` is there: see https://docs.docker.com/compose/install/"
fi
compose+=(--project-name "$PROJECT" --file docker-compose.yml --file tests/compose.override.yml)

mkdir -p .tools
work=$(mktemp -d "$PWD/.tools/compose-test.XXXXXX")
child=
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

base_images
quietly "building the images" "${compose[@]}" build
quietly "building the image of waykeeper run" docker build --target run --tag waykeeper-run .

# The test changes the configuration, so it gets its own copy, readable for Envoy's user whatever the umask here.
cp -R envoy "$work/envoy"
chmod -R a+rX "$work/envoy"
export WAYKEEPER_CONFIGURATION=$work/envoy
# Any free port, so that this runs beside a stack that is in use.
export WAYKEEPER_PORT=0 WAYKEEPER_OPERATIONS_PORT=0
quietly "starting the stack" timeout 180 "${compose[@]}" up --detach --no-build
healthy

passed=0 failed=0
python3 tests/compose_smoke.py "$work/envoy" "$work/counts" "${compose[@]}" || true
read -r passed failed <"$work/counts" || fail "the smoke test did not come to its end"

if [ -z "${KEEP:-}" ]; then
  "${compose[@]}" down --volumes >"$work/log" 2>&1 || cat "$work/log" >&2
  name_the_cache
  if [ -z "$(remains)" ]; then
    say "ok      taken down, nothing of it is left"
    passed=$((passed + 1))
  else
    say "FAILED  taken down, nothing of it is left: $(remains | xargs)"
    failed=$((failed + 1))
  fi
fi
say "$passed passed, $failed failed, $SECONDS s"
[ "$failed" -eq 0 ]
