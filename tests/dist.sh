#!/usr/bin/env bash
# A release as its users meet it: `dist.sh RELEASE`, made by `make dist`. It is made again from a copy of the sources in
# another place and compared bit by bit; then it is installed into a bare directory, checks and writes the example, and Envoy
# serves with it. `make dist-test` calls this.
set -euo pipefail
cd "$(dirname "$0")/.."

release=$PWD/$1
envoy=$PWD/.tools/envoy
version=${release##*/waykeeper-}
work=$(mktemp -d)
pid=
end() {
  [ -z "$pid" ] || kill "$pid" 2> /dev/null || true
  rm -rf "$work"
}
trap end EXIT
fail() { echo "dist.sh: $*" >&2; exit 1; }

echo "the same sources give the same bits"
mkdir "$work/a-deeper-place"
git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- | tar --extract --directory "$work/a-deeper-place"
epoch=$(git log -1 --format=%ct)
(cd "$work/a-deeper-place" && SOURCE_DATE_EPOCH=$epoch packaging/dist.sh "$work/again" > "$work/log" 2>&1) || { cat "$work/log" >&2; fail "the second release"; }
diff --recursive "$release" "$work/again" || fail "the two releases differ"
rm -rf "$work/a-deeper-place" "$work/again"

echo "no path of the builder's is in it"
for path in "$PWD" "${CARGO_HOME:-$HOME/.cargo}/registry"; do
  if grep --recursive --files-with-matches --fixed-strings "$path" "$release"; then fail "$path is in these"; fi
done

echo "it is installed"
mkdir "$work/bare"
cp -r "$release/." "$work/bare"
cd "$work/bare"
sha256sum --quiet --check SHA256SUMS
listed=$(wc -l < SHA256SUMS)
[ "$listed" = "$(find . -type f ! -name SHA256SUMS | wc -l)" ] || fail "SHA256SUMS lists $listed files and no others"
tool=./waykeeper-$version-linux-x86_64
module=$PWD/waykeeper-$version.wasm
# As a program that asks for no other: an interpreter would be named in its program headers.
for machine in x86_64 aarch64; do
  ! grep --quiet --text -e '/lib64*/ld-' "waykeeper-$version-linux-$machine" || fail "the tool for $machine is linked to a library"
done
[ "$(env --ignore-environment "$tool" version)" = "$version" ] || fail "the tool is of another version"
[ "$(env --ignore-environment "$tool" version "$module")" = "$version" ] || fail "the module is of another version"

echo "its image is the module, as Istio looks for it"
image=waykeeper-filter-$version.oci
python3 - "$image" "$module" << 'PYTHON'
import gzip, hashlib, io, json, pathlib, sys, tarfile
image, module = map(pathlib.Path, sys.argv[1:])
assert json.loads((image / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
def blob(of):
    data = (image / "blobs" / of["digest"].replace(":", "/")).read_bytes()
    assert len(data) == of["size"] and "sha256:" + hashlib.sha256(data).hexdigest() == of["digest"], of
    return data
[manifest] = json.loads((image / "index.json").read_text())["manifests"]
manifest = json.loads(blob(manifest))
config = json.loads(blob(manifest["config"]))
[layer] = manifest["layers"]
assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip", layer
tar = gzip.decompress(blob(layer))
assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(tar).hexdigest()]
with tarfile.open(fileobj=io.BytesIO(tar)) as files:
    assert files.getnames() == ["plugin.wasm"], files.getnames()
    assert files.extractfile("plugin.wasm").read() == module.read_bytes()
PYTHON

echo "it checks, writes and serves"
"$tool" check gateway.yaml > /dev/null
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
listen=$(port) operations=$(port) admin=$(port)
sed --in-place -e "s/0.0.0.0:8080/127.0.0.1:$listen/" -e "s/0.0.0.0:9902/127.0.0.1:$operations/" gateway.yaml
"$tool" envoy gateway.yaml --out out --module "$module" > /dev/null
sed --in-place "s/9901/$admin/" out/envoy.yaml
"$envoy" --config-path out/envoy.yaml --concurrency 1 --disable-hot-restart --log-level warning --component-log-level wasm:info \
  > access.log 2> envoy.log &
pid=$!
for ((attempt = 0; attempt < 300; attempt++)); do
  kill -0 $pid 2> /dev/null || { cat envoy.log >&2; fail "Envoy has ended"; }
  if "$tool" probe "http://127.0.0.1:$listen/healthz" > /dev/null 2>&1; then break; fi
  sleep 0.1
done
# Nobody without a key.
python3 - "$listen" "$operations" "$version" << 'PYTHON'
import json, sys, urllib.error, urllib.request
listen, operations, version = sys.argv[1:]
try:
    urllib.request.urlopen(f"http://127.0.0.1:{listen}/api/v1/memory/notes")
    raise SystemExit("served without a key")
except urllib.error.HTTPError as refused:
    assert (refused.code, json.load(refused)["error"]["code"]) == (401, "missing_key")
metrics = urllib.request.urlopen(f"http://127.0.0.1:{operations}/stats/prometheus").read().decode()
assert f'waykeeper_build_info{{version="{version}"}} 1\n' in metrics, "no waykeeper_build_info"
PYTHON
grep --quiet "Waykeeper $version" envoy.log || fail "the log does not tell the version"
echo "the release is good"
