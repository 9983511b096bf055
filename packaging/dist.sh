#!/usr/bin/env bash
# Makes a release: dist.sh OUT. Called by `make dist`, which sees that all is there.
#
# The same sources give the same bytes, whoever builds them and wherever: no path of the builder's is in them, no time but
# SOURCE_DATE_EPOCH (the commit's, unless set), and archives are sorted. The compiler has to be the same, and so have tar and gzip.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$1
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH=$epoch LC_ALL=C TZ=UTC
root=$PWD
build=target/dist

cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$(rustc --print sysroot)=/rust --remap-path-prefix=$root=/waykeeper"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
cargo build --locked --profile module --target-dir $build -p waykeeper-module --lib --target wasm32-wasip1
for machine in x86_64 aarch64; do
  CARGO_PROFILE_RELEASE_STRIP=symbols \
    cargo build --locked --release --target-dir $build -p waykeeper-cli --target $machine-unknown-linux-musl
done
RUSTFLAGS='' cargo run --locked --quiet -p waykeeper-link -- $build/wasm32-wasip1/module/waykeeper_module.wasm $build/waykeeper.wasm

# One file of an OCI layout, named by its digest; prints "DIGEST SIZE".
blob() {
  local digest
  digest=$(sha256sum "$1" | cut -d' ' -f1)
  install -D -m 644 "$1" "$image/blobs/sha256/$digest"
  echo "sha256:$digest $(stat -c %s "$1")"
}

new=$out.new
rm -rf "$new"
umask 022
image=$new/waykeeper-filter-$version.oci
mkdir -p "$image"
install -m 644 $build/waykeeper.wasm "$new/waykeeper-$version.wasm"
for machine in x86_64 aarch64; do
  install -m 755 $build/$machine-unknown-linux-musl/release/waykeeper "$new/waykeeper-$version-linux-$machine"
done
install -m 644 envoy/gateway.yaml LICENSE CHANGELOG.md "$new"

# The filter's image: one layer of one file, under the name that Istio looks for (the "compat" variant of Wasm's images).
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -m 644 $build/waykeeper.wasm "$work/plugin.wasm"
tar --create --directory "$work" --format=ustar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
  --mode=0644 --file "$work/layer.tar" plugin.wasm
layer_digest=sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
gzip --no-name --best --stdout "$work/layer.tar" > "$work/layer.tar.gz"
created=$(date --utc --date="@$epoch" +%Y-%m-%dT%H:%M:%SZ)
printf '{"created":"%s","architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]},"history":[{"created":"%s","comment":"Waykeeper %s"}]}' \
  "$created" "$layer_digest" "$created" "$version" > "$work/config.json"
read -r config config_size < <(blob "$work/config.json")
read -r layer layer_size < <(blob "$work/layer.tar.gz")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":%s}],"annotations":{"org.opencontainers.image.title":"waykeeper-filter","org.opencontainers.image.version":"%s","org.opencontainers.image.licenses":"Apache-2.0"}}' \
  "$config" "$config_size" "$layer" "$layer_size" "$version" > "$work/manifest.json"
read -r manifest manifest_size < <(blob "$work/manifest.json")
printf '{"imageLayoutVersion":"1.0.0"}' > "$image/oci-layout"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
  "$manifest" "$manifest_size" "$version" > "$image/index.json"

(cd "$new" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum > SHA256SUMS)
find "$new" -exec touch --no-dereference --date="@$epoch" {} +
rm -rf "$out"
mv "$new" "$out"
echo "$out:"
(cd "$out" && find . -type f -printf '  %10s %P\n' | sort -k2)
