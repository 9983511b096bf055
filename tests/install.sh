#!/usr/bin/env bash
# `make install` and `make uninstall`, as the README has them typed: what is installed makes a gateway in an empty directory and serves
# it with nothing else in reach, and nothing of it is left in the end. `make dist-test` calls this.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
prefix="$work/of mine"
pid=
end() {
  [ -z "$pid" ] || kill "$pid" 2> /dev/null || true
  rm -rf "$work"
}
trap end EXIT
fail() { echo "install.sh: $*" >&2; exit 1; }

echo "it is installed"
make --silent install PREFIX="$prefix" > "$work/log" 2>&1 || { cat "$work/log" >&2; fail "make install"; }
grep --quiet --fixed-strings "export PATH=\"$prefix/bin:\$PATH\"" "$work/log" || { cat "$work/log" >&2; fail "it does not say what comes next"; }
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
bare=(env --ignore-environment "PATH=$prefix/bin:/usr/bin:/bin" "HOME=$work")
[ "$("${bare[@]}" waykeeper version)" = "$version" ] || fail "the tool is of another version"
[ "$("${bare[@]}" waykeeper version "$prefix/lib/waykeeper/waykeeper.wasm")" = "$version" ] || fail "the module is of another version"

echo "it makes a gateway and serves it"
mkdir "$work/own"
"${bare[@]}" waykeeper init "$work/own/gateway.yaml" > "$work/printed"
key=$(sed -n 's/.*OPENAI_API_KEY=\(wk-[^ ]*\).*/\1/p' "$work/printed" | head -n 1)
[ -n "$key" ] || { cat "$work/printed" >&2; fail "init prints no key"; }
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
listen=$(port) operations=$(port)
sed --in-place -e "s/127.0.0.1:8080/127.0.0.1:$listen/" -e "s/127.0.0.1:9902/127.0.0.1:$operations/" "$work/own/gateway.yaml"
"${bare[@]}" waykeeper run "$work/own/gateway.yaml" > "$work/access.log" 2> "$work/said" &
pid=$!
for ((attempt = 0; attempt < 300; attempt++)); do
  kill -0 $pid 2> /dev/null || { cat "$work/said" >&2; fail "the gateway has ended"; }
  if grep --quiet "is served at" "$work/said"; then break; fi
  sleep 0.1
done
python3 - "$listen" "$key" << 'PYTHON'
import json, sys, urllib.request
listen, key = sys.argv[1:]
question = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}).encode()
headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
request = urllib.request.Request(f"http://127.0.0.1:{listen}/v1/chat/completions", question, headers)
answer = json.load(urllib.request.urlopen(request))
assert answer["choices"][0]["message"]["content"] == "This is echo You said: Hello", answer
PYTHON
# What a script starts in the background is deaf to Ctrl-C.
kill -TERM $pid
wait $pid || { cat "$work/said" >&2; fail "the gateway ends with a failure"; }
pid=

echo "it is removed"
make --silent uninstall PREFIX="$prefix" > "$work/log" 2>&1 || { cat "$work/log" >&2; fail "make uninstall"; }
left=$(find "$prefix" ! -type d)
[ -z "$left" ] || fail "left: $left"
[ ! -e "$prefix/lib/waykeeper" ] || fail "left: lib/waykeeper"
echo "the installation is good"
