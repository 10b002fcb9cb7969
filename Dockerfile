# The images of both daemons: docker build --target server . and docker build --target client .

FROM rust:1.95-bookworm AS manifests
COPY . /all
WORKDIR /skeleton
# Every package as its manifest around an empty program: what decides which dependencies are built, and how.
RUN cp /all/Cargo.toml /all/Cargo.lock . && cd /all && \
    for package in $(dirname crates/*/Cargo.toml tests/Cargo.toml xtask/Cargo.toml); do \
        mkdir -p "/skeleton/$package/src" && cp "$package/Cargo.toml" "/skeleton/$package/" && \
        touch "/skeleton/$package/src/lib.rs" && echo 'fn main() {}' > "/skeleton/$package/src/main.rs"; \
    done

# What is built here is used again until a manifest or the lock file changes.
FROM rust:1.95-bookworm AS dependencies
WORKDIR /src
COPY --from=manifests /skeleton .
RUN cargo build --release --locked --package hostwatch-server --package hostwatch-client --bins

FROM dependencies AS build
# The time of the copied files may be earlier than that of the empty ones, which cargo would take for unchanged.
COPY crates crates
RUN find crates -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package hostwatch-server --package hostwatch-client --bins \
    && strip target/release/hostwatch-server target/release/hostwatch-client

FROM debian:bookworm-slim AS server
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="hostwatch-server" \
    org.opencontainers.image.description="Watches a fleet of Linux servers over Redis: the central daemon" \
    org.opencontainers.image.source="https://github.com/hostwatch/hostwatch" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION"
RUN useradd --system --uid 10120 --no-create-home --home-dir /var/lib/hostwatch-server hostwatch \
    && install --directory --owner hostwatch --mode 0750 /var/lib/hostwatch-server
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/release/hostwatch-server /usr/bin/
COPY packaging/config/server.toml packaging/config/hosts.toml packaging/config/templates.toml /etc/hostwatch/
COPY packaging/config/services /etc/hostwatch/services
COPY packaging/config/rules /etc/hostwatch/rules
ENV HOSTWATCH_WEB_LISTEN_ADDRESS=0.0.0.0:10120
USER hostwatch
VOLUME /var/lib/hostwatch-server
EXPOSE 10120
# Of liveness and not of readiness: Redis being away is no reason to start this container again.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/bin/hostwatch-server", "health"]
ENTRYPOINT ["/usr/bin/hostwatch-server"]

FROM debian:bookworm-slim AS client
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="hostwatch-client" \
    org.opencontainers.image.description="Watches a fleet of Linux servers over Redis: the daemon of every host" \
    org.opencontainers.image.source="https://github.com/hostwatch/hostwatch" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION"
RUN useradd --system --uid 10121 --no-create-home --home-dir /var/lib/hostwatch-client hostwatch \
    && install --directory --owner hostwatch --mode 0750 /var/lib/hostwatch-client
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/release/hostwatch-client /usr/bin/
COPY packaging/config/client.toml /etc/hostwatch/
# The host is seen with --pid=host --network=host -v /:/host:ro,rslave. The status file lies in the volume, so that a
# read-only root file system needs nothing more.
ENV HOSTWATCH_PATHS_ROOTFS=/host \
    HOSTWATCH_STATUS_FILE=/var/lib/hostwatch-client/status.json
USER hostwatch
VOLUME /var/lib/hostwatch-client
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/bin/hostwatch-client", "health"]
ENTRYPOINT ["/usr/bin/hostwatch-client"]
