# Both images are of the same Debian release: the binary is linked with its glibc. The second needs nothing else, so a
# distroless `cc` image of that release does as well.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-trixie
ARG RUNTIME_IMAGE=docker.io/library/debian:trixie-slim

# A copy of Athos's browser SDK that scripts/vendor-sdk has put into static/vendor/ is built in. Or, if the SDK is on npm, its
# version, and an image with npm:
# --build-arg SDK_IMAGE=docker.io/library/node:22-trixie-slim --build-arg ATHOS_SDK_VERSION=1.4.0
ARG SDK_IMAGE=${BUILD_IMAGE}

FROM ${SDK_IMAGE} AS sdk
ARG ATHOS_SDK_VERSION=
COPY scripts/vendor-sdk /scripts/
RUN mkdir /vendor \
 && if [ -n "${ATHOS_SDK_VERSION}" ]; then /scripts/vendor-sdk "${ATHOS_SDK_VERSION}" /vendor; fi

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

# The dependencies alone, with empty sources: this layer is built again only when one of these files changes.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates/athos-api/Cargo.toml crates/athos-api/
COPY crates/athos-simulator/Cargo.toml crates/athos-simulator/
RUN mkdir src crates/athos-api/src crates/athos-simulator/src \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs crates/athos-api/src/lib.rs crates/athos-simulator/src/lib.rs \
 && cargo build --profile dist --locked

COPY migrations migrations
COPY static static
COPY link link
# Nothing, unless asked for; the binary embeds static/ whole.
COPY --from=sdk /vendor static/vendor
COPY crates crates
COPY src src
COPY build.rs ./
# Copied files are older than what was built from the empty ones; cargo goes by time.
RUN touch src/main.rs src/lib.rs crates/*/src/lib.rs \
 && cargo build --profile dist --locked

# What the image holds beyond its base, so that the last stage runs no commands and needs no shell.
RUN mkdir -p /image/data /image/usr/local/bin /image/etc/ssl/certs \
 && cp target/dist/athos-backend /image/usr/local/bin/ \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="athos-backend" \
      org.opencontainers.image.description="The backend for embedding Athos: session tokens, signed webhooks that are never lost, and the scores" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Certificate authorities to trust Athos by, and the binary.
COPY --from=build /image/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /image/usr/local/bin/athos-backend /usr/local/bin/athos-backend
# A new volume takes its owner from here. Nothing else is written to: the root may be read-only.
COPY --from=build --chown=10001:10001 /image/data /data
VOLUME /data
USER 10001:10001

# SQLITE_TMPDIR: large transactions of SQLite spill to a temporary file, for which a read-only root has no place.
ENV BIND_ADDR=0.0.0.0:8080 \
    ADMIN_ADDR=0.0.0.0:9464 \
    DATABASE_URL=sqlite:///data/athos.db \
    SQLITE_TMPDIR=/data \
    LOG_FORMAT=json
# The service, and metrics: do not publish the second.
EXPOSE 8080 9464

HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
  CMD ["/usr/local/bin/athos-backend", "healthcheck"]
# Open requests and attempts finish, writes are synced: this takes up to 20 seconds (docker run --stop-timeout 20).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/athos-backend"]
