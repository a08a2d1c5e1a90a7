# `gesta serve` in a container:
#
#     docker build --tag gesta .
#     docker run --publish 2113:2113 --volume gesta:/data --volume ./certs:/certs:ro gesta \
#         --tls-cert /certs/server.pem --tls-key /certs/server.key
#
# A container's loopback is its own, so `--insecure` reaches nobody outside of it: serve with TLS.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
# Both caches outlive a build; the program is copied out of the second one.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package gesta-cli --features postgres-tls \
    && cp target/release/gesta /gesta

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin gesta \
    && install --directory --owner gesta --group gesta --mode 0700 /data /data/store
COPY --from=build /gesta /usr/local/bin/gesta
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 2113
ENV GESTA_STORE=gesta:/data/store GESTA_LISTEN=0.0.0.0:2113 GESTA_LOG_FORMAT=json \
    GESTA_ADMIN_PASSWORD_FILE=/data/first-passwords
STOPSIGNAL SIGTERM
ENTRYPOINT ["gesta", "serve"]
