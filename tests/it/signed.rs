//! Signed payloads, and no step back: what a node with a key, or with a memory, refuses of a server's.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use cfgsync::{ArtifactFile, ArtifactSet, Client, Identifier};
use cfgsync_client::{Delivered, Join, JoinError, JoinOptions, KeyPlace, NodeAddress};
use cfgsync_model::{GenerationNumber, Instance, generation_digest};
use cfgsync_wire::{PayloadEncoder, ReceivedPayload, SigningKey, VerifyKey};
use rustix::process::Signal;

use crate::{
    fake::{Fake, Reply},
    place::{Place, SPEC, Server, code, join, text},
    support::INSTANCE,
};

/// What a server sends `node`: one file with `content`.
fn payload(
    node: &str,
    (instance, generation): (Instance, u64),
    content: &str,
    key: Option<&Arc<SigningKey>>,
) -> String {
    let node: Identifier = node.parse().unwrap();
    let file = ArtifactFile::new("a".parse().unwrap(), content.to_owned());
    let own = ArtifactSet::new(vec![file]).unwrap();
    let shared = ArtifactSet::default();
    let nodes = BTreeMap::from([(node.clone(), own)]);
    let (nodes, _) = generation_digest(instance, nodes, &shared);
    let encoder = PayloadEncoder::new(instance, GenerationNumber(generation), &shared);
    let body = encoder.signed_by(key).encode(&node, &nodes[&node]);
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// node-1's join with a server that answers `body`.
async fn joined(
    body: String,
    verify_keys: Vec<VerifyKey>,
    delivered: Option<Delivered>,
) -> Result<ReceivedPayload, JoinError> {
    let fake = Fake::start(move |asked| match asked.line.as_str() {
        "POST /register" => Reply::Answer(202, "", String::new()),
        _ => Reply::Answer(200, "", body.clone()),
    })
    .await;
    let options = JoinOptions {
        identifier: "node-1".parse().unwrap(),
        address: NodeAddress::Fixed("10.0.0.1".parse().unwrap()),
        metadata: serde_json::json!({}),
        cluster: None,
        verify_keys,
        delivered,
        timeout: None,
        wait_max: std::time::Duration::from_secs(1),
        key: KeyPlace::Nowhere,
    };
    Join::new(Client::new([fake.url.clone()]), options)
        .run(|_| ())
        .await
}

fn refused(outcome: Result<ReceivedPayload, JoinError>) -> String {
    match outcome.unwrap_err() {
        JoinError::Unusable(problem) => problem,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_signed_for_this_node_is_taken() {
    let key = || Arc::new(SigningKey::generate().unwrap().0);
    let (ours, another) = (key(), key());
    let keys = || vec![ours.verify_key()];
    let first = (INSTANCE, 1);
    let good = payload("node-1", first, "x", Some(&ours));
    joined(good.clone(), keys(), None).await.unwrap();
    joined(good.clone(), vec![], None).await.unwrap();
    let both = vec![another.verify_key(), ours.verify_key()];
    joined(good.clone(), both, None).await.unwrap();

    let forged = "is by a key that is not trusted here, or belongs to another payload";
    let number = good.replace("\"generation\":1", "\"generation\":2");
    for (body, problem) in [
        (payload("node-1", first, "x", Some(&another)), forged),
        (payload("node-2", first, "x", Some(&ours)), forged),
        (payload("node-1", first, "x", None), "it is not signed"),
        (number, forged),
        (
            good.replace("\"content\":\"x\"", "\"content\":\"y\""),
            "does not match its digest",
        ),
        (
            good.replace("\"signature\":\"", "\"signature\":\"A"),
            "it is not signed",
        ),
        (
            r#"{"schema_version":1,"files":[{"path":"a","content":"x"}]}"#.to_owned(),
            "it is not signed, and it has no instance, generation and digest",
        ),
        // The signature is another generation's; digest and file fit each other.
        (
            payload("node-1", (INSTANCE, 2), "evil", None)
                .replace("]}", &good[good.find("],\"signature\"").unwrap()..]),
            forged,
        ),
    ] {
        let problem_said = refused(joined(body, keys(), None).await);
        assert!(problem_said.contains(problem), "{problem_said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_does_not_go_back_within_an_instance() {
    let before = ReceivedPayload::decode(payload("node-1", (INSTANCE, 3), "x", None).as_bytes());
    let delivered = Some(Delivered {
        instance: INSTANCE,
        generation: GenerationNumber(3),
        digest: before.unwrap().digest.unwrap(),
    });
    let another = Instance::from_bytes([9; 16]);
    for (of, content) in [
        ((INSTANCE, 3), "x"),
        ((INSTANCE, 4), "y"),
        ((another, 1), "y"),
    ] {
        let body = payload("node-1", of, content, None);
        joined(body, vec![], delivered).await.unwrap();
    }
    for (of, content, problem) in [
        (
            (INSTANCE, 2),
            "x",
            "it is generation 2, and generation 3 of the same instance was delivered here before",
        ),
        (
            (INSTANCE, 3),
            "y",
            "it is another generation 3 of the same instance",
        ),
    ] {
        let body = payload("node-1", of, content, None);
        let said = refused(joined(body, vec![], delivered).await);
        assert!(said.contains(problem), "{said}");
    }
}

fn key_pair(place: &Place, directory: &str) {
    let output = place.run(&["key", "new", "--out-dir", directory], &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn a_pair_is_made_and_what_it_signs_is_delivered() {
    let place = Place::new();
    key_pair(&place, "keys");
    key_pair(&place, "others");
    let mode = |name: &str| {
        let stat = fs::metadata(place.path().join(name)).unwrap();
        stat.permissions().mode() & 0o7777
    };
    assert_eq!(mode("keys/sign-key.pem"), 0o600);
    assert_eq!(mode("keys/verify-key.pem"), 0o644);
    let spec = SPEC.replace("nodes: 2", "nodes: 1");
    place.put("cluster.yaml", &spec);
    let server = place.serve(&["--sign-key", "keys/sign-key.pem"]);
    let run = |more: &[&str]| place.run(&[&join(&server.url, "node-1")[..], more].concat(), &[]);

    let output = run(&["--verify-key", "others/verify-key.pem"]);
    assert_eq!(code(&output), 65, "{}", text(&output.stderr));
    assert!(!place.path().join("node-1").exists());
    let both = "others/verify-key.pem\nkeys/verify-key.pem";
    for more in [&[][..], &["--verify-key", "keys/verify-key.pem"]] {
        let output = run(more);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let output = place.run(
        &join(&server.url, "node-1"),
        &[("CFGSYNC_VERIFY_KEY", both)],
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn another_key_signs_once_the_server_starts_again_and_a_hangup_says_so() {
    let place = Place::new();
    place.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    key_pair(&place, "first");
    key_pair(&place, "second");
    let copy = |from: &str| fs::copy(place.path().join(from), place.path().join("key")).unwrap();
    copy("first/sign-key.pem");
    let mut server = place.serve(&["--sign-key", "key", "--state-dir", "state"]);
    let taken = |server: &Server, key: &str| {
        let verify = ["--verify-key", &format!("{key}/verify-key.pem")];
        code(&place.run(&[&join(&server.url, "node-1")[..], &verify].concat(), &[])) == 0
    };
    // The same key is nothing to tell.
    server.signal(Signal::HUP);
    server.log_until("the spec was read again");
    copy("second/sign-key.pem");
    server.signal(Signal::HUP);
    server.log_until("key holds another key, which signs once the server has started again");
    assert!(taken(&server, "first") && !taken(&server, "second"));
    server.signal(Signal::TERM);
    let (_, log) = server.process.end();
    assert_eq!(log.matches("holds another key").count(), 1, "{log}");
    let server = place.serve(&["--sign-key", "key", "--state-dir", "state"]);
    assert!(taken(&server, "second") && !taken(&server, "first"));
}

#[test]
fn mistakes_with_keys_are_told() {
    let place = Place::new();
    key_pair(&place, ".");
    place.put("empty.pem", "");
    let seen = [
        place.seen(&["key", "new"], &[]),
        place.seen(
            &["serve", "cluster.yaml", "--sign-key", "verify-key.pem"],
            &[],
        ),
        place.seen(&["serve", "cluster.yaml", "--sign-key", "none.pem"], &[]),
        place.seen(
            &[
                "join",
                "--server",
                "http://127.0.0.1:1",
                "--out-dir",
                "o",
                "--id",
                "a",
                "--verify-key",
                "sign-key.pem",
            ],
            &[],
        ),
        place.seen(
            &[
                "join",
                "--server",
                "http://127.0.0.1:1",
                "--out-dir",
                "o",
                "--id",
                "a",
                "--verify-key",
                "empty.pem",
            ],
            &[],
        ),
    ];
    insta::assert_snapshot!(seen.concat(), @r"
    $ cfgsync key new
    error: ./sign-key.pem is there already, and nodes may rely on it: remove it, or choose another --out-dir
    [exit 73]
    $ cfgsync serve cluster.yaml --sign-key verify-key.pem
    error: --sign-key verify-key.pem: it contains no private key: expected PEM with BEGIN PRIVATE KEY (PKCS#8)
    [exit 78]
    $ cfgsync serve cluster.yaml --sign-key none.pem
    error: cannot read --sign-key none.pem: No such file or directory (os error 2)
    [exit 78]
    $ cfgsync join --server http://127.0.0.1:1 --out-dir o --id a --verify-key sign-key.pem
    error: --verify-key sign-key.pem: it contains a private key, which only the server may have: give the node the public key
    cfgsync: exit 78: --verify-key sign-key.pem: it contains a private key, which only the server may have: give the node the public key
    [exit 78]
    $ cfgsync join --server http://127.0.0.1:1 --out-dir o --id a --verify-key empty.pem
    error: --verify-key empty.pem: it contains no public key: expected PEM with BEGIN PUBLIC KEY
    cfgsync: exit 78: --verify-key empty.pem: it contains no public key: expected PEM with BEGIN PUBLIC KEY
    [exit 78]
    ");
    assert!(!seen.concat().contains(secret(place.path()).trim()));
}

/// The line of a key file that nobody may see.
fn secret(directory: &Path) -> String {
    let pem = fs::read_to_string(directory.join("sign-key.pem")).unwrap();
    pem.lines().nth(1).unwrap().to_owned()
}
