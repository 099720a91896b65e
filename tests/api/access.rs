//! Who may call which route: a row for each route of the document, each called as each kind of caller. A route without a
//! row fails.

use std::collections::{BTreeMap, BTreeSet};

use athos_api::signature::{SIGNATURE_HEADER, sign};
use reqwest::{Method, RequestBuilder};

use crate::harness::TestApp;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    Athos,
    Rep,
    Manager,
    Admin,
    Service,
}
use Who::{Admin, Athos, Manager, Nobody, Rep, Service};

const EACH: [Who; 6] = [Nobody, Athos, Rep, Manager, Admin, Service];
const ANYONE: &[Who] = &EACH;
const CALLERS: &[Who] = &[Rep, Manager, Admin, Service];
const OPERATORS: &[Who] = &[Admin, Service];

const ACCESS: &[(&str, &[Who])] = &[
    ("DELETE /athos/reps/{rep}", OPERATORS),
    ("GET /athos/calls", CALLERS),
    ("GET /athos/calls/{callId}", CALLERS),
    ("GET /athos/calls/{callId}/recording", CALLERS),
    ("GET /athos/events", OPERATORS),
    ("GET /athos/events/{id}", OPERATORS),
    ("GET /athos/live", CALLERS),
    ("GET /athos/me", CALLERS),
    ("GET /athos/mints", OPERATORS),
    ("GET /athos/overview", OPERATORS),
    ("GET /athos/progress", CALLERS),
    ("GET /healthz", ANYONE),
    ("GET /readyz", ANYONE),
    ("POST /athos/events/replay", OPERATORS),
    ("POST /athos/events/{id}/replay", OPERATORS),
    ("POST /athos/token", CALLERS),
    ("POST /athos/webhook", &[Athos]),
];

fn ask(app: &TestApp, who: Who, route: &str) -> RequestBuilder {
    let (method, path) = route.split_once(' ').unwrap();
    let path = path.replace("{callId}", "athos_call_x");
    let path = path.replace("{id}", "1").replace("{rep}", "rep_x");
    let method: Method = method.parse().unwrap();
    let request = app.request(method.clone(), &path);
    let request = if method == Method::GET {
        request
    } else {
        request.body("{}")
    };
    match who {
        Nobody => request,
        Athos => {
            let secret = app.secrets.whsec.clone().into();
            request.header(SIGNATURE_HEADER, sign(&secret, app.now().as_secs(), b"{}"))
        }
        Rep => request.bearer_auth(app.rep("rep_1", "agency_1")),
        Manager => request.bearer_auth(app.manager("agency_1")),
        Admin => request.bearer_auth(app.admin()),
        Service => request.bearer_auth(&app.secrets.service),
    }
}

#[tokio::test]
async fn every_route_lets_in_those_whom_it_is_for_and_nobody_else() {
    let app = TestApp::start().await;
    let document = app.send(app.request(Method::GET, "/openapi.json")).await;
    let document = document.expect(200).json();
    let routes: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let access: BTreeMap<_, _> = ACCESS.iter().copied().collect();
    let rows: BTreeSet<_> = access.keys().map(|route| (*route).to_owned()).collect();
    assert_eq!(routes, rows, "each route has a row, and each row a route");

    for (route, whom) in access {
        for who in EACH {
            let request = ask(&app, who, route);
            if whom.contains(&who) {
                // The body is not read: that of a stream has no end.
                let status = request.send().await.unwrap().status().as_u16();
                assert!(![401, 403].contains(&status), "{route} {who:?}: {status}");
                continue;
            }
            let refused = app.send(request).await;
            match who {
                _ if whom == [Athos] => refused.refused(401, "MISSING_SIGNATURE"),
                Nobody | Athos => refused.refused(401, "UNAUTHENTICATED"),
                _ => refused.refused(403, "ADMIN_ONLY"),
            };
        }
    }
}
