//! `GET /metrics` on `ADMIN_ADDR`, an address of its own. Whoever reaches it may read them, until a key is given the scope
//! `metrics` by name: from then on it takes such a key.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use super::extract::admit;
use super::observe::{Asked, render_error};
use super::request_id::RequestId;
use super::state::AppState;
use crate::model::KeyScope;

const PATH: &str = "/metrics";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is served at `ADMIN_ADDR`.
pub fn admin_app(state: AppState, metrics: PrometheusHandle) -> App {
    let routes = Router::new()
        .route(PATH, get(show_metrics))
        .with_state((state, metrics));
    App::new(routes, None)
}

async fn show_metrics(
    State((state, metrics)): State<(AppState, PrometheusHandle)>,
    request: Request,
) -> Response {
    let refusal = match check(&state, &request) {
        Ok(()) => return ([(CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render()).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    let asked = Asked {
        id: RequestId::of(request.headers(), &state.clock),
        method: "GET",
        route: PATH,
        client: None,
    };
    render_error(refusal, &asked, &state.limits.log)
}

fn check(state: &AppState, request: &Request) -> Result<(), ApiError> {
    let key = state
        .authenticator
        .get()
        .admit_to_metrics(request.headers())?;
    let Some(key) = key else { return Ok(()) };
    admit(Caller::Service(key), Some(KeyScope::Metrics), state).map(drop)
}
