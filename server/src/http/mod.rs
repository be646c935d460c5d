//! `/healthz`, `/readyz` and `/metrics` over HTTP.
//!
//! `/healthz` says that the process answers; `/readyz` that the start is over and clients are let in (503 with the
//! reason until then); `/metrics` is Prometheus's text format, without any value of the data.

pub mod metrics;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// Why the server is not ready; empty when it is.
    pub unready: Arc<ArcSwap<String>>,
    /// Renders the metrics, anew at every request.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Serves the pages until `shutdown`.
///
/// # Errors
/// The listener's own.
pub async fn serve(listener: TcpListener, pages: Pages, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_page))
        .with_state(pages);
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.cancelled().await }).await
}

async fn index() -> impl IntoResponse {
    "Tidemark. Pages: /healthz /readyz /metrics. SQL is served to Postgres clients on another port.\n"
}

async fn ready(State(pages): State<Pages>) -> impl IntoResponse {
    let reason = pages.unready.load();
    if reason.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"))
    }
}

async fn metrics_page(State(pages): State<Pages>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], (pages.metrics)())
}
