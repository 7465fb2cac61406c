# syntax=docker/dockerfile:1
# Two stages: the compiler stays behind. The result runs as a user without rights and needs no shell.
FROM rust:1.95-bookworm AS build
WORKDIR /build
# What gets in is listed in .dockerignore.
COPY . .
RUN cargo build --release --locked --bin ark-lattice

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 ark \
    && useradd --system --uid 10001 --gid ark --home-dir /data --shell /usr/sbin/nologin ark \
    && install --directory --owner=ark --group=ark --mode=0700 /data /data/state \
    && install --directory --owner=ark --group=ark --mode=0755 /data/lattice
COPY --from=build /build/target/release/ark-lattice /usr/local/bin/ark-lattice
COPY --chown=ark:ark lattice_data/ /data/lattice/
COPY LICENSE LICENSE-MIT LICENSE-APACHE /usr/share/doc/ark-lattice/
USER ark
WORKDIR /data
ENV LATTICE_PATH=/data/lattice \
    ARK_STATE_PATH=/data/state \
    ARK__SERVER__HOST=0.0.0.0
VOLUME ["/data/lattice", "/data/state"]
EXPOSE 9001
# SIGTERM: stop accepting, finish requests, flush, exit 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/ark-lattice"]
CMD ["serve"]
