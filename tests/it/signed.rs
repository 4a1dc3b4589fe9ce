//! Signed payloads and rollback protection on the node.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use cfgsync::{ArtifactFile, ArtifactSet, Client, Identifier};
use cfgsync_client::{DeliveredGeneration, JoinError, JoinOptions, NodeAddress, Session};
use cfgsync_model::{GenerationNumber, Instance, generation_digest};
use cfgsync_wire::{
    PayloadEncoder, PayloadSigner, ReceivedPayload, SignedFacts, SigningKey, VerifyKey,
};
use rustix::process::Signal;

use crate::{
    fake::{FakeServer, Reply},
    sandbox::{SPEC, Sandbox, Server, code, join, text},
    support::INSTANCE,
};

/// Builds the payload that a server of the cluster `devnet` sends to `node`: one file with `content`.
fn payload(
    node: &str,
    of: (Instance, u64),
    content: &str,
    key: Option<&Arc<SigningKey>>,
) -> String {
    payload_of("devnet", node, of, content, key)
}

fn payload_of(
    cluster: &str,
    node: &str,
    (instance, generation): (Instance, u64),
    content: &str,
    key: Option<&Arc<SigningKey>>,
) -> String {
    let signer = key.map(|key| Arc::new(PayloadSigner::new(key.clone(), cluster)));
    let node: Identifier = node.parse().unwrap();
    let file = ArtifactFile::new("a".parse().unwrap(), content.to_owned());
    let own = ArtifactSet::new(vec![file]).unwrap();
    let shared = ArtifactSet::default();
    let nodes = BTreeMap::from([(node.clone(), own)]);
    let (nodes, _) = generation_digest(instance, nodes, &shared);
    let encoder = PayloadEncoder::new(instance, GenerationNumber(generation), &shared);
    let body = encoder
        .signed_by(signer.as_ref())
        .encode(&node, &nodes[&node]);
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// Joins as node-1 at a server that answers each fetch with `body`.
async fn join_with_payload(
    body: String,
    verify_keys: Vec<VerifyKey>,
    delivered: Option<DeliveredGeneration>,
) -> Result<ReceivedPayload, JoinError> {
    join_with_options(body, |options| {
        options.verify_keys = verify_keys;
        options.delivered = delivered;
    })
    .await
}

async fn join_with_options(
    body: String,
    set: impl FnOnce(&mut JoinOptions),
) -> Result<ReceivedPayload, JoinError> {
    let fake = FakeServer::start(move |request| match request.line.as_str() {
        "POST /register" => Reply::Answer(202, "", String::new()),
        _ => Reply::Answer(200, "", body.clone()),
    })
    .await;
    let mut options = JoinOptions::new("node-1".parse().unwrap())
        .with_address(NodeAddress::Fixed("10.0.0.1".parse().unwrap()))
        .with_wait_max(std::time::Duration::from_secs(1));
    set(&mut options);
    Session::new(Client::new([fake.url.clone()]), options)
        .run(|_| ())
        .await
}

fn unusable_reason(outcome: Result<ReceivedPayload, JoinError>) -> String {
    match outcome.unwrap_err() {
        JoinError::Unusable(problem) => problem,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn accepts_only_payloads_signed_for_this_node() {
    let key = || Arc::new(SigningKey::generate().unwrap().0);
    let (ours, another) = (key(), key());
    let keys = || vec![ours.verify_key()];
    let first = (INSTANCE, 1);
    let good = payload("node-1", first, "x", Some(&ours));
    join_with_payload(good.clone(), keys(), None).await.unwrap();
    join_with_payload(good.clone(), vec![], None).await.unwrap();
    let both = vec![another.verify_key(), ours.verify_key()];
    join_with_payload(good.clone(), both, None).await.unwrap();

    let forged = "its signature does not fit the trusted key";
    let number = good.replace("\"generation\":1", "\"generation\":2");
    for (body, problem) in [
        (payload("node-1", first, "x", Some(&another)), forged),
        (payload("node-2", first, "x", Some(&ours)), forged),
        (payload("node-1", first, "x", None), "it is not signed"),
        (number, forged),
        (
            good.replace("\"cluster\":\"devnet\"", "\"cluster\":\"prod\""),
            forged,
        ),
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
            "it is not signed; its server may be too old",
        ),
        // Valid digest and file, with the signature of another generation.
        (
            payload("node-1", (INSTANCE, 2), "evil", None)
                .replace("]}", &good[good.find("],\"cluster\"").unwrap()..]),
            forged,
        ),
    ] {
        let actual = unusable_reason(join_with_payload(body, keys(), None).await);
        assert!(actual.contains(problem), "{actual}");
    }
}

#[tokio::test(start_paused = true)]
async fn rejects_rollback_within_an_instance() {
    let before = ReceivedPayload::decode(payload("node-1", (INSTANCE, 3), "x", None).as_bytes());
    let delivered = Some(DeliveredGeneration {
        cluster: None,
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
        join_with_payload(body, vec![], delivered.clone())
            .await
            .unwrap();
    }
    for (of, content, problem) in [
        (
            (INSTANCE, 2),
            "x",
            "generation 2 is older than generation 3, which was delivered before",
        ),
        (
            (INSTANCE, 3),
            "y",
            "generation 3 differs from the generation 3 that was delivered before",
        ),
    ] {
        let body = payload("node-1", of, content, None);
        let problem_found =
            unusable_reason(join_with_payload(body, vec![], delivered.clone()).await);
        assert!(problem_found.contains(problem), "{problem_found}");
    }
}

/// With one key for two clusters, a payload of staging was accepted in production.
#[tokio::test(start_paused = true)]
async fn accepts_only_payloads_signed_for_its_cluster_and_instance() {
    let key = Arc::new(SigningKey::generate().unwrap().0);
    let digest = |body: &str| {
        ReceivedPayload::decode(body.as_bytes())
            .unwrap()
            .digest
            .unwrap()
    };
    let staging = payload_of("staging", "node-1", (INSTANCE, 3), "x", Some(&key));
    let delivered = |cluster: &str, instance| DeliveredGeneration {
        cluster: Some(cluster.to_owned()),
        instance,
        generation: GenerationNumber(3),
        digest: digest(&staging),
    };
    let join = |delivered: Option<DeliveredGeneration>| {
        join_with_options(staging.clone(), |options| {
            options.verify_keys = vec![key.verify_key()];
            options.delivered = delivered;
        })
    };
    join(Some(delivered("staging", INSTANCE))).await.unwrap();
    let refused = unusable_reason(join(Some(delivered("prod", INSTANCE))).await);
    let expected = r#"it is signed for the cluster "staging", not for "prod" as the receipt says"#;
    assert!(refused.contains(expected), "{refused}");
    let another = Instance::from_bytes([9; 16]);
    let refused = unusable_reason(join(Some(delivered("staging", another))).await);
    let expected = "the payload is of another instance than the last delivery";
    assert!(refused.contains(expected), "{refused}");
}

/// A payload that a server before the second version signed.
#[tokio::test(start_paused = true)]
async fn first_version_of_signatures_is_accepted_only_on_demand() {
    let key = SigningKey::generate().unwrap().0;
    let unsigned = payload("node-1", (INSTANCE, 1), "x", None);
    let facts = SignedFacts {
        cluster: None,
        instance: INSTANCE,
        generation: GenerationNumber(1),
        identifier: &"node-1".parse().unwrap(),
        digest: ReceivedPayload::decode(unsigned.as_bytes())
            .unwrap()
            .digest
            .unwrap(),
    };
    let signature = key.sign(&facts);
    let old = unsigned.replace("]}", &format!("],\"signature\":\"{signature}\"}}"));
    let verify_key = key.verify_key();
    let join = |accept| {
        join_with_options(old.clone(), move |options| {
            options.verify_keys = vec![verify_key];
            options.accept_signature_v1 = accept;
        })
    };
    join(true).await.unwrap();
    let refused = unusable_reason(join(false).await);
    let expected = "its signature does not cover the name of the cluster";
    assert!(refused.contains(expected), "{refused}");
}

/// A proxy that answers for production with the payloads of staging, which the same key signed.
#[test]
fn payload_of_another_cluster_with_the_same_key_is_rejected() {
    let sandbox = Sandbox::new();
    key_pair(&sandbox, "keys");
    let spec = SPEC.replace("nodes: 2", "nodes: 1");
    sandbox.put("cluster.yaml", &spec);
    let ours = sandbox.serve(&["--sign-key", "keys/sign-key.pem"]);
    let of_staging = spec.replace("cluster: devnet", "cluster: staging");
    sandbox.put("staging.yaml", &of_staging);
    let serve = ["serve", "staging.yaml", "--listen", "127.0.0.1:0"];
    let sign = ["--sign-key", "keys/sign-key.pem"];
    let mut process = sandbox.start(&[&serve[..], &sign].concat());
    let line = process.log_until("serving staging on ");
    let url = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    let staging = Server { process, url };
    let verify = [
        "--verify-key",
        "keys/verify-key.pem",
        "--receipt",
        "receipt",
    ];
    let run =
        |server: &Server| sandbox.run(&[&join(&server.url, "node-1")[..], &verify].concat(), &[]);
    assert_eq!(code(&run(&ours)), 0);
    // The receipt names the cluster, so the node needs no --cluster.
    let output = run(&staging);
    assert_eq!(code(&output), 65);
    let expected =
        r#"it is signed for the cluster "staging", not for "devnet" as the receipt says"#;
    assert!(
        text(&output.stderr).contains(expected),
        "{}",
        text(&output.stderr)
    );
}

fn key_pair(sandbox: &Sandbox, directory: &str) {
    let output = sandbox.run(&["key", "new", "--out-dir", directory], &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn generated_key_pair_signs_and_verifies() {
    let sandbox = Sandbox::new();
    key_pair(&sandbox, "keys");
    key_pair(&sandbox, "others");
    let mode = |name: &str| {
        let stat = fs::metadata(sandbox.path().join(name)).unwrap();
        stat.permissions().mode() & 0o7777
    };
    assert_eq!(mode("keys/sign-key.pem"), 0o600);
    assert_eq!(mode("keys/verify-key.pem"), 0o644);
    let spec = SPEC.replace("nodes: 2", "nodes: 1");
    sandbox.put("cluster.yaml", &spec);
    let server = sandbox.serve(&["--sign-key", "keys/sign-key.pem"]);
    let run = |more: &[&str]| sandbox.run(&[&join(&server.url, "node-1")[..], more].concat(), &[]);

    let output = run(&["--verify-key", "others/verify-key.pem"]);
    assert_eq!(code(&output), 65, "{}", text(&output.stderr));
    assert!(!sandbox.path().join("node-1").exists());
    let both = "others/verify-key.pem\nkeys/verify-key.pem";
    for more in [&[][..], &["--verify-key", "keys/verify-key.pem"]] {
        let output = run(more);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let output = sandbox.run(
        &join(&server.url, "node-1"),
        &[("CFGSYNC_VERIFY_KEY", both)],
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn new_signing_key_takes_effect_at_restart_and_sighup_warns() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    key_pair(&sandbox, "first");
    key_pair(&sandbox, "second");
    let copy =
        |from: &str| fs::copy(sandbox.path().join(from), sandbox.path().join("key")).unwrap();
    copy("first/sign-key.pem");
    let mut server = sandbox.serve(&["--sign-key", "key", "--state-dir", "state"]);
    let accepts = |server: &Server, key: &str| {
        let verify = ["--verify-key", &format!("{key}/verify-key.pem")];
        code(&sandbox.run(&[&join(&server.url, "node-1")[..], &verify].concat(), &[])) == 0
    };
    // An unchanged key causes no warning.
    server.signal(Signal::HUP);
    server.log_until("the spec was read again");
    copy("second/sign-key.pem");
    server.signal(Signal::HUP);
    server.log_until("key contains another key, which the server uses after a restart");
    assert!(accepts(&server, "first") && !accepts(&server, "second"));
    server.signal(Signal::TERM);
    let (_, log) = server.process.end();
    assert_eq!(log.matches("contains another key").count(), 1, "{log}");
    let server = sandbox.serve(&["--sign-key", "key", "--state-dir", "state"]);
    assert!(accepts(&server, "second") && !accepts(&server, "first"));
}

#[test]
fn rejects_invalid_keys() {
    let sandbox = Sandbox::new();
    key_pair(&sandbox, ".");
    sandbox.put("empty.pem", "");
    let transcripts = [
        sandbox.transcript(&["key", "new"], &[]),
        sandbox.transcript(
            &["serve", "cluster.yaml", "--sign-key", "verify-key.pem"],
            &[],
        ),
        sandbox.transcript(&["serve", "cluster.yaml", "--sign-key", "none.pem"], &[]),
        sandbox.transcript(
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
        sandbox.transcript(
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
    insta::assert_snapshot!(transcripts.concat(), @r"
    $ cfgsync key new
    cfgsync: exit 73: cannot write ./sign-key.pem: it already exists
    help: remove the file if no node uses that key, or choose another --out-dir
    [exit 73]
    $ cfgsync serve cluster.yaml --sign-key verify-key.pem
    cfgsync: exit 78: --sign-key verify-key.pem: it contains no private key: expected PEM with BEGIN PRIVATE KEY (PKCS#8)
    [exit 78]
    $ cfgsync serve cluster.yaml --sign-key none.pem
    cfgsync: exit 78: cannot read --sign-key none.pem: no such file
    [exit 78]
    $ cfgsync join --server http://127.0.0.1:1 --out-dir o --id a --verify-key sign-key.pem
    cfgsync: exit 78: --verify-key sign-key.pem: it contains a private key, which only the server may have: give the node the public key
    [exit 78]
    $ cfgsync join --server http://127.0.0.1:1 --out-dir o --id a --verify-key empty.pem
    cfgsync: exit 78: --verify-key empty.pem: it contains no public key: expected PEM with BEGIN PUBLIC KEY
    [exit 78]
    ");
    assert!(!transcripts.concat().contains(secret(sandbox.path()).trim()));
}

/// Returns the secret line of a private key file.
fn secret(directory: &Path) -> String {
    let pem = fs::read_to_string(directory.join("sign-key.pem")).unwrap();
    pem.lines().nth(1).unwrap().to_owned()
}
