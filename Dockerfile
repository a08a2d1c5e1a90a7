# `gesta serve` in a container:
#
#     docker build --tag gesta .
#     docker run --read-only --publish 2113:2113 --volume gesta:/data --volume ./certs:/certs:ro \
#         gesta --tls-cert /certs/server.pem --tls-key /certs/server.key
#
# The program runs as the user 65532, who has to be able to read the certificates. A container's
# loopback is its own, so `--insecure` reaches nobody outside of it: serve with TLS.
# `cargo xtask image` carries out these steps without Docker.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
# Both caches outlive a build; the program is copied out of the second one.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package gesta-cli --features postgres-tls \
    && cp target/release/gesta /gesta
# The next image has no shell to make it with.
RUN install --directory --mode 0700 /data /data/store

# The C library and the certificates of authorities, without a shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chown=65532:65532 /data /data
COPY --from=build /gesta /usr/local/bin/gesta
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 2113
ENV GESTA_STORE=gesta:/data/store GESTA_LISTEN=0.0.0.0:2113 GESTA_LOG_FORMAT=json \
    GESTA_ADMIN_PASSWORD_FILE=/data/first-passwords
STOPSIGNAL SIGTERM
ENTRYPOINT ["gesta", "serve"]
