# syntax=docker/dockerfile:1
# Two stages: compiler and sources stay behind. The result is the program, its licences and sample nodes on a base without shell or
# package manager. Slim Debian would bring both, dozens of packages and their advisories, for nothing: the program needs glibc,
# libgcc and the list of authorities, and it is its own health check.
#
#     docker build --tag ark-lattice:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
FROM rust:1.95-bookworm AS build
WORKDIR /build

# The dependencies first, with stubs for our own code: this layer is built anew only when they change.
COPY Cargo.toml Cargo.lock ./
COPY .cargo/config.toml .cargo/
RUN mkdir src benches \
    && printf '//! A stub.\n' > src/lib.rs \
    && printf '//! A stub.\nfn main() {}\n' > src/main.rs \
    && awk -F '"' '/^\[\[bench\]\]/ { bench = 1 } bench && /^name/ { printf "" > "benches/" $2 ".rs"; bench = 0 }' Cargo.toml \
    && cargo build --release --locked --bin ark-lattice

COPY config config
COPY lattice_data lattice_data
COPY src src
# Cargo compares times, and those of the copied files are older than the stubs'.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin ark-lattice

# What a new volume starts with: its owner is who runs the program.
RUN install --directory --mode=0700 /image/data/state \
    && cp --recursive lattice_data /image/data/lattice

# Debian 12 like the stage above: the program uses the C library that it was built with.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ark-lattice" \
      org.opencontainers.image.description="Keeps directories of JSON documents in step between machines" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /build/target/release/ark-lattice /usr/local/bin/ark-lattice
COPY LICENSE LICENSE-MIT LICENSE-APACHE /usr/share/doc/ark-lattice/
COPY --from=build --chown=65532:65532 /image/data /data
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /data
ENV LATTICE_PATH=/data/lattice \
    ARK_STATE_PATH=/data/state \
    ARK__SERVER__HOST=0.0.0.0
VOLUME ["/data/lattice", "/data/state"]
EXPOSE 9001
# SIGTERM: stop accepting, finish requests, flush, exit 0.
STOPSIGNAL SIGTERM
# The index of a large lattice takes a while to build: until then a failure does not count.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/ark-lattice", "healthcheck", "--quiet"]
ENTRYPOINT ["/usr/local/bin/ark-lattice"]
CMD ["serve"]
