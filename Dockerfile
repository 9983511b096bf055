# Waykeeper's images, all from one build:
#
#   gateway  Envoy's official image with the filter, the tool `waykeeper` and envoy/ in it
#   demo     the sample services, `waykeeper-demo auth` and `waykeeper-demo agent NAME`
#   filter   the filter alone, as an OCI image that Istio can load (`oci://…` in a WasmPlugin)
#
# docker-compose.yml builds the first two. One by hand: docker build --target filter --tag waykeeper-filter .
#
# Kept to what BuildKit and the older builder both know. On a machine that reaches no image registry,
# tests/local-images.sh makes stand-ins for the images named here.

FROM rust:1.95-slim-bookworm AS build
# The older builder leaves stages behind without a name; this label tells whose they are.
LABEL waykeeper.stage=build
WORKDIR /waykeeper
RUN rustup target add wasm32-wasip1

# The sample services and the tool do little work themselves, so they are not optimised across crates: half the time to build.
ENV CARGO_TERM_COLOR=never \
    BUILD_FILTER="cargo build --locked --release --target wasm32-wasip1 --package waykeeper --lib" \
    BUILD_TOOLS="env CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo build --locked --release --package waykeeper-cli --package waykeeper-demo"

# First the dependencies alone, with empty sources in place of ours: a layer that lasts until Cargo.lock changes.
COPY Cargo.toml Cargo.lock build.rs ./
COPY cli/Cargo.toml cli/
COPY demo/Cargo.toml demo/
# The benchmark is in no image, but Cargo wants to see every member of the workspace.
COPY benches/Cargo.toml benches/
COPY benches/floor/Cargo.toml benches/floor/
RUN mkdir src cli/src demo/src benches/src benches/floor/src \
    && echo '//! Empty.' | tee src/lib.rs demo/src/lib.rs benches/src/lib.rs benches/floor/src/lib.rs \
    && printf '//! Empty.\nfn main() {}\n' | tee cli/src/main.rs demo/src/main.rs benches/src/main.rs \
    && $BUILD_FILTER \
    && $BUILD_TOOLS

COPY src src
COPY cli cli
COPY demo demo
COPY envoy envoy
# Cargo goes by the time of change, and the copies are older than the empty sources.
RUN find src cli demo -name '*.rs' -exec touch {} + \
    && $BUILD_FILTER \
    && $BUILD_TOOLS

FROM scratch AS filter
LABEL waykeeper.stage=filter
# The name and place that Istio looks for.
COPY --from=build /waykeeper/target/wasm32-wasip1/release/waykeeper.wasm /plugin.wasm

FROM debian:bookworm-slim AS demo
LABEL waykeeper.stage=demo
COPY --from=build /waykeeper/target/release/waykeeper /waykeeper/target/release/waykeeper-demo /usr/local/bin/
# Nobody in particular: numbers need no entry in /etc/passwd.
USER 10001:10001
ENTRYPOINT ["waykeeper-demo"]

FROM envoyproxy/envoy:v1.40.0 AS gateway
LABEL waykeeper.stage=gateway
COPY --from=filter /plugin.wasm /etc/waykeeper/waykeeper.wasm
COPY --from=build /waykeeper/target/release/waykeeper /usr/local/bin/waykeeper
COPY envoy/run.sh /usr/local/bin/run-envoy
COPY envoy /etc/waykeeper/envoy
# A configuration with a mistake makes no image.
RUN waykeeper check --envoy /etc/waykeeper/envoy/envoy.yaml /etc/waykeeper/envoy/waykeeper.yaml
# The user `envoy` of the base image.
USER 101:101
EXPOSE 8080 9902
CMD ["run-envoy", "--config-path", "/etc/waykeeper/envoy/envoy.yaml", \
     "--log-level", "warning", "--component-log-level", "wasm:info", "--file-flush-interval-msec", "1000", "--disable-hot-restart"]
