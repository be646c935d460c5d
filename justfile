# The words of everyday work; CI calls the same ones.

# Everything a change must pass.
check: fmt-check clippy test doc deny

fmt-check:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

test:
    cargo test --workspace --locked

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

deny:
    cargo deny check

# The oracle at length: 20,000 random views over random topics.
oracle cases="20000":
    TIDEMARK_ORACLE_CASES={{cases}} cargo test --locked --workspace --test oracle -- --nocapture

bench:
    cargo bench --locked --workspace --bench decode --bench nexmark --bench tick --bench latency --bench memory

demo:
    cargo run --release --locked -- demo
