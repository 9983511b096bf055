# Waykeeper's images, all from one build:
#
#   gateway  Envoy's official image with the filter, the tool `waykeeper` and envoy/ in it
#   run      the same by one command, on a gateway.yaml: docker run -v "$PWD/conf:/etc/waykeeper:ro" -p 8080:8080 waykeeper
#   demo     the sample services, `waykeeper-demo auth` and `waykeeper-demo agent NAME`
#   filter   the filter alone, as an OCI image that Istio can load (`oci://…` in a WasmPlugin)
#
# docker-compose.yml builds `gateway` and `demo`. One by hand: docker build --target filter --tag waykeeper-filter .
#
# Kept to what BuildKit and the older builder both know. On a machine that reaches no image registry,
# tests/local-images.sh makes stand-ins for the images named here.

# What tells which dependencies there are: the manifests, and empty sources in place of ours. A member of the workspace that is in
# no image comes as its manifest alone, since Cargo wants to see every member (.dockerignore).
FROM rust:1.95-slim-bookworm AS manifests
LABEL waykeeper.stage=manifests
WORKDIR /waykeeper
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name build.rs ! -path '*/src/lib.rs' ! -path '*/src/main.rs' -delete \
    && find . -type d -empty -delete \
    && echo '//! Empty.' | tee $(find . -name lib.rs) >/dev/null \
    && printf '//! Empty.\nfn main() {}\n' | tee $(find . -name main.rs) >/dev/null \
    && for member in $(dirname $(find . -name Cargo.toml)); do \
        [ -d "$member/src" ] || { mkdir "$member/src" && echo '//! Empty.' >"$member/src/lib.rs"; }; \
    done

FROM rust:1.95-slim-bookworm AS build
# The older builder leaves stages behind without a name; this label tells whose they are.
LABEL waykeeper.stage=build
WORKDIR /waykeeper
# The sample services and the tool do little work themselves: half the time to build is worth more than their speed.
ENV CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_STRIP=symbols \
    BUILD_FILTER="cargo build --locked --package waykeeper-module --lib --profile module --target wasm32-wasip1" \
    BUILD_TOOLS="cargo build --locked --package waykeeper-cli --package waykeeper-demo --package waykeeper-link"
# The dependencies alone: a layer that lasts until a manifest, build.rs or Cargo.lock changes.
COPY --from=manifests /waykeeper .
RUN rustup target add wasm32-wasip1 && $BUILD_FILTER && $BUILD_TOOLS
COPY . .
# Cargo goes by the time of change, and the copies are older than the empty sources.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + && $BUILD_FILTER && $BUILD_TOOLS \
    && target/debug/waykeeper-link target/wasm32-wasip1/module/waykeeper_module.wasm target/waykeeper.wasm

FROM scratch AS filter
LABEL waykeeper.stage=filter
# The name and place that Istio looks for.
COPY --from=build /waykeeper/target/waykeeper.wasm /plugin.wasm

FROM debian:bookworm-slim AS demo
LABEL waykeeper.stage=demo
COPY --from=build /waykeeper/target/debug/waykeeper /waykeeper/target/debug/waykeeper-demo /usr/local/bin/
# Nobody in particular: numbers need no entry in /etc/passwd.
USER 10001:10001
ENTRYPOINT ["waykeeper-demo"]

FROM envoyproxy/envoy:v1.40.0 AS run
LABEL waykeeper.stage=run
# Not in the directory that is mounted over.
COPY --from=filter /plugin.wasm /usr/local/lib/waykeeper/waykeeper.wasm
COPY --from=build /waykeeper/target/debug/waykeeper /usr/local/bin/waykeeper
# The user `envoy` of the base image.
USER 101:101
EXPOSE 8080
ENTRYPOINT ["waykeeper", "run"]
CMD ["/etc/waykeeper/gateway.yaml"]

FROM envoyproxy/envoy:v1.40.0 AS gateway
LABEL waykeeper.stage=gateway
COPY --from=filter /plugin.wasm /etc/waykeeper/waykeeper.wasm
COPY --from=build /waykeeper/target/debug/waykeeper /usr/local/bin/waykeeper
COPY envoy/run.sh /usr/local/bin/run-envoy
COPY envoy /etc/waykeeper/envoy
# A configuration with a mistake makes no image.
RUN waykeeper check --envoy /etc/waykeeper/envoy/envoy.yaml /etc/waykeeper/envoy/waykeeper.yaml
# The user `envoy` of the base image.
USER 101:101
EXPOSE 8080 9902
CMD ["run-envoy", "--config-path", "/etc/waykeeper/envoy/envoy.yaml", \
     "--log-level", "warning", "--component-log-level", "wasm:info,misc:error", "--file-flush-interval-msec", "1000", "--disable-hot-restart"]
