//! Documented routes: each is served at the path, and by the method, that its documentation says. The document is made when
//! somebody asks for it: it is larger than everything else that a service holds which waits for its first request.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use utoipa::Path;
use utoipa::openapi::{HttpMethod, OpenApi};

use super::state::AppState;

/// Routes, and what describes them.
pub(super) struct Api {
    router: Router<AppState>,
    descriptions: Vec<fn() -> OpenApi>,
}

/// The routes of handlers with a `#[utoipa::path]`.
macro_rules! routes {
    ($($handler:ident),+) => {{
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($handler),+))]
        struct Description;
        let api = $crate::http::api::Api::described_by(<Description as utoipa::OpenApi>::openapi);
        $(let api = pastey::paste! { api.route::<[<__path_ $handler>], _, _>($handler) };)+
        api
    }};
}
pub(super) use routes;

impl Api {
    /// No route yet; `describe` has the document's head, or describes the routes that follow.
    pub(super) fn described_by(describe: fn() -> OpenApi) -> Self {
        Self {
            router: Router::new(),
            descriptions: vec![describe],
        }
    }

    /// Serves a handler where its documentation `P` says.
    pub(super) fn route<P, H, T>(self, handler: H) -> Self
    where
        P: Path,
        H: Handler<T, AppState>,
        T: 'static,
    {
        let methods = P::methods();
        let route = |router: Router<AppState>, method| {
            router.route(&P::path(), on(filter(method), handler.clone()))
        };
        Self {
            router: methods.iter().fold(self.router, route),
            ..self
        }
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.descriptions.extend(other.descriptions);
        Self {
            router: self.router.merge(other.router),
            ..self
        }
    }

    pub(super) fn into_router(self) -> Router<AppState> {
        self.router
    }

    /// The document of all its routes.
    pub(super) fn document(&self) -> OpenApi {
        let each = self.descriptions.iter().map(|describe| describe());
        each.reduce(|document, routes| document.merge_from(routes))
            .unwrap_or_default()
    }
}

fn filter(method: &HttpMethod) -> MethodFilter {
    match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
    }
}
