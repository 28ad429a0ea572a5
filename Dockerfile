# The image of the sidecar: one static program, certificates and an empty volume, nothing else.
# Both builders understand every line: Debian's docker.io has no buildx, so there is no `RUN --mount`.

# What cargo needs to build the dependencies: every manifest, and a stub for each source file that is a target.
# This stage runs at each change; the next one sees only its result, which an edit of the code does not alter.
FROM rust:1.95-bookworm AS manifests
WORKDIR /src
COPY . .
RUN find . -type f \
        ! -name Cargo.toml ! -name Cargo.lock ! -path './.cargo/*' \
        ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/src/bin/*' ! -path './crates/*/build.rs' \
        ! -path './crates/*/benches/*.rs' ! -path './crates/*/examples/*.rs' ! -path './crates/*/tests/*.rs' \
        -delete \
    && find . -type d -empty -delete \
    && find . -name '*.rs' -exec sh -c 'for file; do echo "#![allow(dead_code)] fn main() { }" > "$file"; done' stub {} +

FROM rust:1.95-bookworm AS build
# Queries are checked against the committed `.sqlx`. The C library is linked in, so the final image needs none;
# with an explicit target the flag leaves procedural macros alone, which cannot be static.
ENV SQLX_OFFLINE=true \
    RUSTFLAGS="-C target-feature=+crt-static"
WORKDIR /src
COPY --from=manifests /src .
RUN cargo build --release --locked --package mai-usage --target "$(rustc --print host-tuple)"
COPY . .
# The sources carry the times of the checkout, which may be older than the stubs: touched, so that cargo sees them.
RUN find crates -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package mai-usage --target "$(rustc --print host-tuple)" \
    && mkdir -p /image/etc/ssl/certs /image/data /image/tmp \
    && cp "target/$(rustc --print host-tuple)/release/mai-usage" /image/mai-usage \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && cp docker/passwd docker/group docker/nsswitch.conf /image/etc/ \
    && chmod 1777 /image/tmp && chmod 0700 /image/data && chown 65532:65532 /image/data

FROM scratch
COPY --from=build /image /

# Only what the operator's .env has no business to change. Everything else has its default in the program. glibc is to map a
# connection's buffers, of 8 KiB each, one by one: then what a thousand streams took goes back to the system (docs/benchmarks.md).
ENV DATABASE_PATH=/data/mai-usage.db \
    PROXY_LISTEN=0.0.0.0:8787 \
    USAGE_LISTEN=0.0.0.0:8788 \
    GLIBC_TUNABLES=glibc.malloc.mmap_threshold=8192

# By number, so that Kubernetes can see that it is not root. A new volume takes owner and mode from /data.
USER 65532:65532
VOLUME /data

# 8787 is the road to OpenRouter, for the mAI container alone: never publish it. 8788 is the usage API.
EXPOSE 8787 8788

STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/mai-usage", "health"]
ENTRYPOINT ["/mai-usage"]
CMD ["daemon"]

# Last, so that a new version invalidates no layer.
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mai-usage" \
      org.opencontainers.image.description="Bills each Open WebUI user's OpenRouter calls: a sidecar proxy for mAI." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
