//! Two machines with one name: which of them counts, and what the other one is told.

use super::PAIR;
use crate::support::{Connection, Reply, TestServer, post};

const ONE: &str = "cfgsync-joiner: 11111111111111111111111111111111\r\n";
const TWO: &str = "cfgsync-joiner: 22222222222222222222222222222222\r\n";

/// The body of `a` at 10.0.0.`last`.
fn facts(last: u8) -> String {
    format!(r#"{{"identifier":"a","ip":"10.0.0.{last}"}}"#)
}

async fn register(server: &TestServer, joiner: &str, last: u8) -> Reply {
    server
        .request(&post("/register", joiner, &facts(last)))
        .await
}

async fn leave(server: &TestServer, joiner: &str, last: u8) -> Reply {
    server
        .request(&post("/v1/leave", joiner, &facts(last)))
        .await
}

/// Registers `a` and lets a request of it wait.
async fn waiter(server: &TestServer, joiner: &str, last: u8) -> Connection {
    assert_eq!(register(server, joiner, last).await.status, 202);
    let mut connection = server.connect().await;
    let headers = format!("{joiner}prefer: wait=3600\r\n");
    connection.send(post("/node", &headers, &facts(last))).await;
    server.wait_until_held(1).await;
    connection
}

fn is_replaced_by(reply: &Reply, last: u8) {
    let (_, reason, message) = reply.error();
    assert_eq!((reply.status, reason.as_str()), (409, "replaced"));
    let expected =
        format!("another machine registered as a from 10.0.0.{last}, and takes its place");
    assert_eq!(message, expected);
}

#[tokio::test]
async fn waiter_is_told_at_once_that_another_machine_has_its_name() {
    for (older, newer) in [(ONE, TWO), (ONE, ""), ("", TWO), ("", "")] {
        let server = TestServer::start(PAIR);
        let mut waiter = waiter(&server, older, 1).await;
        assert_eq!(register(&server, newer, 2).await.status, 202);
        is_replaced_by(&waiter.reply().await, 2);

        // The newer one counts, also for a later request of the older one.
        server.register("b").await;
        let fetch = |joiner: &str, last| {
            let headers = format!("{joiner}prefer: wait=3600\r\n");
            post("/node", &headers, &facts(last))
        };
        assert_eq!(server.request(&fetch(newer, 2)).await.status, 200);
        if older == ONE && newer == TWO {
            is_replaced_by(&server.request(&fetch(older, 1)).await, 2);
        }
    }
}

#[tokio::test]
async fn refuse_keeps_the_earlier_machine_while_its_request_is_held() {
    let server = TestServer::start(&format!("on_conflict: refuse\n{PAIR}"));
    let waiting = waiter(&server, ONE, 1).await;
    let refused = register(&server, TWO, 2).await;
    let (_, reason, message) = refused.error();
    assert_eq!((refused.status, reason.as_str()), (409, "name_in_use"));
    assert!(
        message.contains("registered as a from 10.0.0.1"),
        "{message}"
    );
    // The same process may change its address.
    assert_eq!(register(&server, ONE, 3).await.status, 202);
    drop(waiting);
    server.wait_until_held(0).await;
    assert_eq!(register(&server, TWO, 2).await.status, 202);
}

#[tokio::test]
async fn joiner_does_not_conflict_with_itself_or_with_equal_facts() {
    for (older, newer, last) in [(ONE, ONE, 2), (ONE, TWO, 1), ("", "", 1)] {
        let server = TestServer::start(PAIR);
        let mut waiter = waiter(&server, older, 1).await;
        assert_eq!(register(&server, newer, last).await.status, 202);
        server.register("b").await;
        assert_eq!(waiter.reply().await.status, 200);
    }
}

#[tokio::test]
async fn leave_withdraws_only_the_registration_of_its_own_joiner() {
    let server = TestServer::start(PAIR);
    assert_eq!(register(&server, ONE, 1).await.status, 202);
    assert_eq!(register(&server, TWO, 1).await.status, 202);
    assert_eq!(leave(&server, ONE, 1).await.status, 409);
    assert_eq!(leave(&server, TWO, 1).await.status, 202);
}
