//! Clients of the API.

use std::net::SocketAddr;

use serde_json::Value;

use crate::{
    SESSION, TOKEN,
    backends::{Stalled, start, start_stalled},
    sockets::{JSON, authorized, body, exchange, get, post, status},
};

fn api(address: SocketAddr, path: &str) -> Value {
    let response = get(address, path, &authorized());
    assert_eq!(status(&response), "200", "{path}: {response}");
    serde_json::from_str(body(&response)).unwrap()
}

#[test]
fn the_api_has_sessions_and_findings() {
    let server = start();
    let address = server.local_address();
    let sessions = api(address, "/api/v1/sessions");
    assert_eq!(sessions["sessions"][0]["session"], SESSION);
    assert_eq!(sessions["totals"]["findings"]["high"], 1);
    assert_eq!(api(address, "/api/v1/findings")["findings"][0]["message"], "a loop");
    let detail = api(address, "/api/v1/sessions/a%2Fb%3C%2Fscript%3E%C3%A9");
    assert_eq!(detail["row"]["session"], SESSION);
    for unknown in ["x", "%ff", "a/b", ""] {
        let path = format!("/api/v1/sessions/{unknown}");
        assert_eq!(status(&get(address, &path, &authorized())), "404", "{path}");
    }
}

#[test]
fn paths_of_the_description_have_its_methods() {
    let server = start();
    let description = api(server.local_address(), "/api/v1/openapi.json");
    assert_eq!(description, watchkeeper_http::openapi());
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let path = path.replace("{id}", "x");
        let known: Vec<String> =
            methods.as_object().unwrap().keys().map(|it| it.to_uppercase()).collect();
        let address = server.local_address();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{}\r\n",
            authorized()
        );
        let response = exchange(address, request.as_bytes());
        let allowed = response.split("\r\nallow: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let allowed: Vec<&str> = allowed.split(", ").filter(|method| *method != "HEAD").collect();
        assert_eq!(allowed, known, "{path}");
    }
    // Every reference has a target.
    let text = description.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(description["components"]["schemas"].get(name).is_some(), "{name}");
    }
}

#[test]
fn the_printed_address_opens_the_page() {
    let server = start();
    let address = server.local_address();
    assert_eq!(status(&get(address, "/", "")), "401");
    assert_eq!(status(&get(address, "/open/fedcba9876543210", "")), "401");
    let opened = get(address, &format!("/open/{TOKEN}"), "");
    assert_eq!(status(&opened), "303");
    assert!(opened.contains("\r\nlocation: /\r\n"), "{opened}");
    let cookie = opened.split("set-cookie: ").nth(1).unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict\r\n"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let page = get(address, "/", &cookie);
    assert_eq!(status(&page), "200");
    let policy = page.split("content-security-policy: ").nth(1).unwrap();
    let policy = policy.split("\r\n").next().unwrap();
    assert!(policy.contains("connect-src 'self'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(body(&page), watchkeeper_page::live_page(env!("CARGO_PKG_VERSION")));
    // A form of another page that guesses the address has no cookie, and names itself.
    let foreign = format!("{cookie}Origin: http://evil.example\r\n{JSON}");
    assert_eq!(status(&post(address, "/api/v1/silences", &foreign, b"{}")), "403");
}

#[test]
fn silences_are_added_and_ended() {
    let server = start();
    let address = server.local_address();
    let headers = format!("{JSON}{}", authorized());
    let silence = r#"{"match":{"detector":["loop"]},"until":"2026-11-30T12:00:00Z","author":"ada","reason":"a test"}"#;
    let added = post(address, "/api/v1/silences", &headers, silence.as_bytes());
    assert_eq!(status(&added), "201");
    assert_eq!(api(address, "/api/v1/silences")["silences"][0]["reason"], "a test");
    let end = |id: &str| {
        let request = format!(
            "DELETE /api/v1/silences/{id} HTTP/1.1\r\nHost: {address}\r\n\
             Connection: close\r\n{}\r\n",
            authorized()
        );
        exchange(address, request.as_bytes())
    };
    assert_eq!(status(&end("b2")), "404");
    assert_eq!(status(&end("a1")), "200");
    assert_eq!(status(&end("a1")), "404");
}

#[test]
fn a_client_may_try_again_while_another_program_changes_the_silences() {
    let (stalled, _calls, _release) = Stalled::new();
    let server = start_stalled(&stalled);
    let address = server.local_address();
    let silence = r#"{"match":{"detector":["loop"]},"until":"2026-11-30T12:00:00Z","author":"ada","reason":"a test"}"#;
    let headers = format!("{JSON}{}", authorized());
    let response = post(address, "/api/v1/silences", &headers, silence.as_bytes());
    assert_eq!((status(&response), body(&response)), ("503", "in use\n"));
    assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
}

#[test]
fn invalid_silences_are_refused_with_a_reason() {
    let server = start();
    let address = server.local_address();
    let headers = format!("{JSON}{}", authorized());
    let add =
        |headers: &str, body: &str| post(address, "/api/v1/silences", headers, body.as_bytes());
    let without_reason =
        r#"{"match":{},"until":"2026-11-30T12:00:00Z","author":"ada","reason":""}"#;
    let response = add(&headers, without_reason);
    assert_eq!((status(&response), body(&response)), ("400", "no reason\n"));
    assert_eq!(status(&add(&headers, "{")), "400");
    assert_eq!(status(&add(&headers, r#"{"other":1}"#)), "400");
    assert_eq!(status(&add(&headers, &" ".repeat(20_000))), "413");
    assert_eq!(status(&add(&authorized(), without_reason)), "415");
    assert_eq!(status(&add(JSON, without_reason)), "401");
}
