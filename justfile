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

# Nexmark's and TPC-H's queries as views, over many records.
workloads events="50000" changes="200000":
    TIDEMARK_NEXMARK_EVENTS={{events}} TIDEMARK_TPCH_CHANGES={{changes}} TIDEMARK_WORKLOAD_TICKS=200 cargo test --locked --workspace --test oracle -- query_ --nocapture

# Ten million transfers between accounts, and ten thousand reads of their total meanwhile.
bank transfers="10000000" reads="10000":
    TIDEMARK_BANK_TRANSFERS={{transfers}} TIDEMARK_BANK_READS={{reads}} cargo test --locked --workspace --test clients -- bank --nocapture

# Two servers on one bucket, the one at work stopped three times: an S3 server is built and started for it (needs Go).
failover:
    eval "export $(tests/services/s3 start)" && TIDEMARK_BUCKET=s3://test cargo test --locked --workspace --test lifecycle -- failover --nocapture

bench:
    cargo bench --locked --workspace --bench decode --bench nexmark --bench tick --bench latency --bench memory

demo:
    cargo run --release --locked -- demo
