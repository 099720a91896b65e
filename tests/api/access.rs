//! Who may call which route: a row for each route of the document, each called as each kind of caller, and with a key of
//! each scope. A route without a row fails.

use std::collections::{BTreeMap, BTreeSet};

use athos_api::signature::{SIGNATURE_HEADER, sign};
use athos_backend::model::KeyScope;
use reqwest::{Method, RequestBuilder};

use crate::harness::{Setup, TestApp, unique};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    Athos,
    Rep,
    Manager,
    Admin,
    Service,
}
use KeyScope::{Admin, Mint, Read, Transcripts};
use Who::{Athos, Manager, Nobody, Rep, Service};

const EACH: [Who; 6] = [Nobody, Athos, Rep, Manager, Who::Admin, Service];
const ANYONE: &[Who] = &EACH;
const CALLERS: &[Who] = &[Rep, Manager, Who::Admin, Service];
const OPERATORS: &[Who] = &[Who::Admin, Service];

/// Each route: for whom it is, and the scope that a key needs for it.
const ACCESS: &[(&str, &[Who], Option<KeyScope>)] = &[
    ("DELETE /athos/reps/{rep}", OPERATORS, Some(Admin)),
    ("GET /athos/audit", OPERATORS, Some(Admin)),
    ("GET /athos/calls", CALLERS, Some(Read)),
    ("GET /athos/calls/{callId}", CALLERS, Some(Read)),
    (
        "GET /athos/calls/{callId}/recording",
        CALLERS,
        Some(Transcripts),
    ),
    ("GET /athos/changes", CALLERS, Some(Read)),
    ("GET /athos/deliveries", OPERATORS, Some(Admin)),
    ("GET /athos/deliveries/{id}", OPERATORS, Some(Admin)),
    ("GET /athos/events", OPERATORS, Some(Admin)),
    ("GET /athos/events/{id}", OPERATORS, Some(Admin)),
    ("GET /athos/live", CALLERS, Some(Read)),
    ("GET /athos/me", CALLERS, None),
    ("GET /athos/mints", OPERATORS, Some(Admin)),
    ("GET /athos/overview", OPERATORS, Some(Admin)),
    ("GET /athos/progress", CALLERS, Some(Read)),
    ("GET /healthz", ANYONE, None),
    ("GET /readyz", ANYONE, None),
    ("POST /athos/deliveries/replay", OPERATORS, Some(Admin)),
    ("POST /athos/deliveries/test", OPERATORS, Some(Admin)),
    ("POST /athos/deliveries/{id}/replay", OPERATORS, Some(Admin)),
    ("POST /athos/events/replay", OPERATORS, Some(Admin)),
    ("POST /athos/events/{id}/replay", OPERATORS, Some(Admin)),
    ("POST /athos/token", CALLERS, Some(Mint)),
    ("POST /athos/webhook", &[Athos], None),
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
        Who::Admin => request.bearer_auth(app.admin()),
        Service => request.bearer_auth(&app.secrets.service),
    }
}

/// The routes of the document, each with the scope that it says a key needs.
async fn documented(app: &TestApp) -> BTreeMap<String, Option<String>> {
    let document = app.send(app.request(Method::GET, "/openapi.json")).await;
    let document = document.expect(200).json();
    let paths = document["paths"].as_object().unwrap().iter();
    let routes = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, route)| {
            let scope = route["security"][0]["bearer"][0].as_str();
            let route = format!("{} {path}", method.to_uppercase());
            (route, scope.map(str::to_owned))
        })
    });
    routes.collect()
}

#[tokio::test]
async fn every_route_lets_in_those_whom_it_is_for_and_nobody_else() {
    let app = TestApp::start().await;
    let routes: BTreeSet<String> = documented(&app).await.into_keys().collect();
    let rows = ACCESS.iter().map(|(route, ..)| (*route).to_owned());
    let rows: BTreeSet<_> = rows.collect();
    assert_eq!(routes, rows, "each route has a row, and each row a route");

    for &(route, whom, _) in ACCESS {
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

#[tokio::test]
async fn a_key_opens_the_routes_of_its_scope_and_no_other() {
    let tokens: Vec<_> = KeyScope::ALL.iter().map(|_| unique("svc")).collect();
    let mut setup = Setup::new();
    for (scope, token) in KeyScope::ALL.iter().zip(&tokens) {
        let entry = format!("only_{scope}:{scope}:{token}");
        setup = setup.flag("service-tokens", &entry);
    }
    let app = setup.start().await;
    tokens.iter().for_each(|token| app.keep_secret(token));
    let documented = documented(&app).await;
    for &(route, whom, needed) in ACCESS {
        let told = documented[route].as_deref();
        assert_eq!(told, needed.map(KeyScope::as_str), "{route}");
        if !whom.contains(&Service) {
            continue;
        }
        for (scope, token) in KeyScope::ALL.iter().zip(&tokens) {
            let request = ask(&app, Nobody, route).bearer_auth(token);
            match needed {
                Some(needed) if needed != *scope => {
                    let refused = app.send(request).await.refused(403, "SCOPE_MISSING");
                    let message = &refused.json()["error"]["message"];
                    let said = format!("the key only_{scope} lacks the scope {needed}");
                    assert_eq!(*message, said, "{route}");
                }
                _ => {
                    let status = request.send().await.unwrap().status().as_u16();
                    assert!(![401, 403].contains(&status), "{route} {scope}: {status}");
                }
            }
        }
    }
}
