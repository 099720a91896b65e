//! What a server serves: routes, and a way past them for deliveries, of which there are very many.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Request};
use axum::response::Response;
use futures_util::FutureExt;
use futures_util::future::Either;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::client_ip::Peer;
use super::observe::Observer;
use super::server::{AnswerDeadline, RequestBody};
use super::webhook;

/// Answers requests.
#[derive(Clone)]
pub struct App {
    routes: TowerToHyperService<Router>,
    /// Answers deliveries as their route does, without the router and its layers, which allocate some 20 times for each
    /// request. Pages of other origins are told nothing: they cannot sign.
    deliveries: Option<Arc<Observer>>,
}

impl App {
    pub(super) fn new(routes: Router, deliveries: Option<Arc<Observer>>) -> Self {
        Self {
            routes: TowerToHyperService::new(routes),
            deliveries,
        }
    }

    /// Answers one request. Not an `async fn`, which would hold the request beside what is made of it.
    pub(super) fn answer(
        &self,
        mut request: Request<RequestBody>,
        peer: Peer,
        deadline: AnswerDeadline,
    ) -> impl Future<Output = Response> {
        if let Some(observer) = &self.deliveries {
            webhook::forgive_slashes(&mut request);
            if request.method() == Method::POST && request.uri().path() == webhook::PATH {
                return Either::Left(observer.answer_delivery(request, peer, deadline));
            }
        }
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(deadline);
        Either::Right(self.routes.call(request).map(|Ok(answer)| answer))
    }
}
