//! Runs over HTTP: claims, renewals and results.

use serde_json::{Value, json};

use super::PAIR;
use crate::support::{Reply, TestServer, get, post, without_body};

const HOLD: &str = "prefer: wait=3600\r\n";

fn claim(identifier: &str, process: char, headers: &str) -> String {
    let claim: String = std::iter::repeat_n(process, 32).collect();
    let body = json!({ "identifier": identifier, "claim": claim, "tries": 1 });
    post("/v1/run-once/init/claim", headers, &body.to_string())
}

fn end(action: &str, identifier: &str, fence: u64, more: &Value) -> String {
    let mut body = json!({ "identifier": identifier, "fence": fence });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    post(
        &format!("/v1/run-once/init/{action}"),
        "",
        &body.to_string(),
    )
}

fn state(reply: &Reply) -> (u16, Value, Value) {
    let json = reply.json();
    (reply.status, json["state"].clone(), json["message"].clone())
}

async fn pair() -> TestServer {
    let server = TestServer::start(PAIR);
    for identifier in ["a", "b"] {
        server.register(identifier).await;
    }
    server
}

#[tokio::test]
async fn waiting_claim_gets_the_result_of_the_runner() {
    let server = pair().await;
    let first = server.request(&claim("a", '1', "")).await;
    let text = json!("a runs init, with fence 1");
    assert_eq!(state(&first), (200, json!("run"), text));
    assert_eq!(first.json()["lease_milliseconds"], 15_000);
    let again = server.request(&claim("a", '1', HOLD)).await;
    assert_eq!(again.json()["fence"], 1, "a repeated claim");
    let now = server.request(&claim("b", '2', "")).await;
    assert_eq!(state(&now), (425, json!("waiting"), json!("a runs init")));
    assert_eq!(now.header("retry-after"), Some("1"));
    let mut waiter = server.connect().await;
    waiter.send(claim("b", '2', HOLD)).await;
    server.wait_until_held(1).await;
    let renewed = server.request(&end("renew", "a", 1, &json!({}))).await;
    assert_eq!((renewed.status, &renewed.json()["fence"]), (200, &json!(1)));
    let done = end("done", "a", 1, &json!({ "output": "b2sK" }));
    assert_eq!(server.request(&done).await.status, 202);
    let reply = waiter.reply().await;
    let text = json!("init was done by a, with fence 1");
    assert_eq!(state(&reply), (200, json!("done"), text));
    assert_eq!(reply.json()["output"], "b2sK");
    assert_eq!(reply.header("preference-applied"), Some("wait"));
    // The response was lost, and the request is sent again.
    assert_eq!(server.request(&done).await.status, 202);
    let list = server.request(&get("/v1/run-once")).await.json();
    let expected = json!([{
        "name": "init", "state": "done", "runner": "a", "fence": 1, "failures": 0, "last_error": null,
        "generation": null, "at": "1970-01-01T00:00:00Z"
    }]);
    assert_eq!(list, expected);
}

#[tokio::test]
async fn failed_run_and_late_results_are_answered_with_reasons() {
    let server = pair().await;
    server.request(&claim("a", '1', "")).await;
    for (action, identifier, fence) in [("done", "b", 1), ("done", "a", 2), ("renew", "a", 0)] {
        let reply = server
            .request(&end(action, identifier, fence, &json!({})))
            .await;
        assert_eq!(
            (reply.status, &reply.json()["reason"]),
            (409, &json!("fenced"))
        );
    }
    let failed = end("failed", "a", 1, &json!({ "reason": "exit 3: no disk" }));
    assert_eq!(server.request(&failed).await.status, 202);
    let late = server.request(&end("done", "a", 1, &json!({}))).await;
    assert_eq!(late.status, 409);
    let reply = server.request(&claim("b", '2', HOLD)).await;
    let text = json!("init failed after 1 try, last on a: exit 3: no disk");
    assert_eq!(state(&reply), (410, json!("failed"), text));
    let forget = without_body("DELETE", "/v1/run-once/init", "");
    assert_eq!(server.request(&forget).await.status, 202);
    let none = server.request(&forget).await;
    assert_eq!(
        (none.status, &none.json()["reason"]),
        (404, &json!("no_run"))
    );
    let next = server.request(&claim("b", '2', "")).await;
    assert_eq!(next.json()["fence"], 2);
}

#[tokio::test]
async fn wrong_bodies_are_refused() {
    let server = pair().await;
    let claim_of = |body: &str| post("/v1/run-once/init/claim", "", body);
    let long = "A".repeat(88_000);
    for (request, status, reason) in [
        (
            claim_of(r#"{"identifier":"a","claim":"12"}"#),
            400,
            "wrong_field",
        ),
        (
            claim_of(r#"{"identifier":"a","claim":"00000000000000000000000000000000","tries":0}"#),
            400,
            "wrong_field",
        ),
        (claim("x", '1', ""), 404, "unregistered"),
        (
            end("done", "a", 1, &json!({ "output": "?" })),
            400,
            "wrong_field",
        ),
        (
            end("done", "a", 1, &json!({ "output": long })),
            400,
            "wrong_field",
        ),
        (
            end("failed", "a", 1, &json!({ "reason": "x".repeat(1001) })),
            400,
            "wrong_field",
        ),
        (post("/v1/run-once/Init/claim", "", "{}"), 400, "wrong_path"),
    ] {
        let reply = server.request(&request).await;
        let found = reply.json()["reason"].clone();
        assert_eq!(
            (reply.status, found),
            (status, json!(reason)),
            "{request:.200}"
        );
    }
}
