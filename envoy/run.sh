#!/bin/bash
# Runs Envoy in a container and ends it gently. Told to stop, Envoy by itself cuts off what it is answering; here GET /healthz
# fails first and connections are asked to close, the requests under way have $WAYKEEPER_GRACE_SECONDS to finish, and only then
# Envoy ends. What stops the container has to wait longer than that. Where an orchestrator has a hook for it, this is not needed.
set -u

readonly GRACE=${WAYKEEPER_GRACE_SECONDS:-30}

# One request to the admin interface, by the shell alone: Envoy's image has no HTTP client.
admin() { # METHOD PATH
  { exec 3<>/dev/tcp/127.0.0.1/9901; } 2>/dev/null || return
  printf '%s %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' "$1" "$2" >&3
  cat <&3
  exec 3>&-
}

# Their number, or nothing if Envoy has ended already.
requests_under_way() {
  admin GET '/stats?filter=^http\.gateway\.downstream_rq_active$' | sed -n 's/^http\.gateway\.downstream_rq_active: \([0-9]*\).*/\1/p'
}

end() {
  trap '' TERM INT
  local envoy=${!:-} deadline=$((SECONDS + GRACE))
  if [ -z "$envoy" ]; then exit 0; fi
  if admin POST /healthcheck/fail >/dev/null && admin POST '/drain_listeners?graceful' >/dev/null; then
    while [[ $(requests_under_way) =~ ^[1-9] ]] && [ "$SECONDS" -lt "$deadline" ]; do
      sleep 0.1
    done
  fi
  kill -TERM "$envoy" 2>/dev/null
}

# A configuration that Envoy discovers cannot keep it from starting: with a bad one it would answer every request with 500, in
# good health. So a bad one ends it here, and says where the mistake is.
directory=/etc/waykeeper/envoy
waykeeper check --envoy "$directory/envoy.yaml" "$directory/waykeeper.yaml" >&2 || exit 1

trap end TERM INT
# When the drain time is over, no new connection is taken.
envoy --drain-time-s 5 "$@" &
wait "$!"
status=$?
# A signal ends `wait` too, once `end` is through; Envoy's own end is still to come then.
while kill -0 "$!" 2>/dev/null; do
  wait "$!"
  status=$?
done
exit "$status"
