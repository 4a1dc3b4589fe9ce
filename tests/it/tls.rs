//! TLS with real handshakes: server trust, client certificates, and clients that do not complete a handshake.

use std::{
    fs,
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use cfgsync_access::{AccessConfig, AccessControl, AuditLog, AuditTarget, Policy, Rate};
use cfgsync_client::{CallError, CertificateRejection, Client, HandshakeError, ServerUrl, Trust};
use cfgsync_model::Pin;
use cfgsync_server::{HttpConfig, Tls, TlsFiles};
use cfgsync_support::clock::{Timestamp, WallClock};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    pki::{
        Authority, Pair, expired, for_servers_only, not_yet_valid, tls_config, with_malformed_names,
    },
    support::{TestServer, get, register, with_timeout},
};

const HERE: &str = "127.0.0.1";
const ONE: &str =
    "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: a, template: x}]}]\n";

/// A timeout that tests can afford to wait for. Only tests of the timeout itself use it.
const SHORT: Duration = Duration::from_millis(50);

fn test_authority() -> (TempDir, Authority) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    (directory, authority)
}

/// Server TLS with a certificate of `authority` that requires a client certificate of `nodes`.
fn mutual_tls(authority: &Authority, nodes: &Authority) -> Tls {
    let files = TlsFiles {
        client_authorities: Some(nodes.file()),
        ..authority.sign(HERE).files()
    };
    Tls::read(&files).unwrap()
}

fn url(server: &TestServer) -> ServerUrl {
    format!("https://{}", server.address).parse().unwrap()
}

fn join_url(server: &TestServer, pin: Pin) -> ServerUrl {
    let url = format!("cfgsync://{}/?pin={pin}", server.address);
    url.parse().unwrap()
}

async fn livez(server: ServerUrl, trust: &Trust) -> Result<(), CallError> {
    let client = Client::with_trust([server], trust).unwrap();
    with_timeout(client.livez()).await.map(|_| ())
}

fn expect_handshake_error(answer: Result<(), CallError>) -> HandshakeError {
    match answer {
        Err(CallError::Untrusted { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn pinned(pins: &[Pin]) -> Trust {
    Trust::new().with_pins(pins.iter().copied())
}

#[tokio::test]
async fn server_is_trusted_by_authority_or_by_pin() {
    let (_directory, authority) = test_authority();
    let pair = authority.sign(HERE);
    let server = TestServer::with(ONE, pair.server_config());
    let pin = pair.tls().pin();
    let other = Pin::of(b"another key");
    livez(url(&server), &authority.trust()).await.unwrap();
    livez(join_url(&server, pin), &Trust::default())
        .await
        .unwrap();
    // During a key rotation, both pins are valid.
    livez(url(&server), &pinned(&[other, pin])).await.unwrap();

    let answer = livez(url(&server), &Trust::default()).await;
    assert_eq!(
        expect_handshake_error(answer),
        HandshakeError::UnknownAuthority
    );
    let stranger = Authority::new(authority.file().parent().unwrap(), "stranger");
    let answer = livez(url(&server), &stranger.trust()).await;
    assert_eq!(
        expect_handshake_error(answer),
        HandshakeError::OtherAuthority {
            authorities: stranger.file()
        }
    );
    let answer = livez(join_url(&server, other), &Trust::default()).await;
    assert_eq!(
        expect_handshake_error(answer),
        HandshakeError::UnexpectedPin { found: pin }
    );
    // With an authority and a pin, both checks must pass.
    let both = |trust: Trust, pin| trust.with_pins([pin]);
    livez(url(&server), &both(authority.trust(), pin))
        .await
        .unwrap();
    let answer = livez(url(&server), &both(authority.trust(), other)).await;
    assert_eq!(
        expect_handshake_error(answer),
        HandshakeError::UnexpectedPin { found: pin }
    );
    let answer = livez(url(&server), &both(stranger.trust(), pin)).await;
    assert_eq!(
        expect_handshake_error(answer),
        HandshakeError::OtherAuthority {
            authorities: stranger.file()
        }
    );
}

#[tokio::test]
async fn pinned_certificate_without_its_key_is_rejected() {
    let (_directory, authority) = test_authority();
    let real = authority.sign(HERE);
    let pin = real.tls().pin();
    let shown = vec![certificate(&real.certificate)];
    let other = fs::read(authority.sign("other").key).unwrap();
    let other = PrivateKeyDer::from_pem_slice(&other).unwrap();
    let other = rustls::crypto::ring::sign::any_supported_type(&other).unwrap();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let pair = SingleCertAndKey::from(CertifiedKey::new(shown.clone(), Arc::clone(&other)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(pair));
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let impostor = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            acceptor.accept(stream).await.is_err()
        });
        let url = format!("cfgsync://{address}/?pin={pin}");
        let answer = livez(url.parse().unwrap(), &Trust::default()).await;
        let refused = expect_handshake_error(answer);
        assert!(
            matches!(refused, HandshakeError::InvalidCertificate(_)),
            "{refused:?}"
        );
        assert!(with_timeout(impostor).await.unwrap());
    }
}

#[tokio::test]
async fn validity_and_name_are_checked_unless_the_key_is_pinned() {
    let (_directory, authority) = test_authority();
    let late = authority.sign_with(HERE, expired);
    let server = TestServer::with(ONE, late.server_config());
    let answer = livez(url(&server), &authority.trust()).await;
    let gone = HandshakeError::Expired("2001-01-01T00:00:00Z".to_owned());
    assert_eq!(expect_handshake_error(answer), gone);
    let pin = late.tls().pin();
    livez(url(&server), &pinned(&[pin])).await.unwrap();

    let server = TestServer::with(
        ONE,
        authority.sign_with(HERE, not_yet_valid).server_config(),
    );
    let answer = livez(url(&server), &authority.trust()).await;
    let to_come = HandshakeError::NotYetValid("3000-01-01T00:00:00Z".to_owned());
    assert_eq!(expect_handshake_error(answer), to_come);

    let other = authority.sign("boot.example");
    let server = TestServer::with(ONE, other.server_config());
    let answer = expect_handshake_error(livez(url(&server), &authority.trust()).await);
    assert!(
        matches!(answer, HandshakeError::WrongName { .. }),
        "{answer:?}"
    );
    let words = answer.to_string();
    assert!(words.contains("not for 127.0.0.1"), "{words}");
    assert!(words.contains("boot.example"), "{words}");
    livez(url(&server), &pinned(&[other.tls().pin()]))
        .await
        .unwrap();
}

#[tokio::test]
async fn mutual_tls_accepts_only_certificates_of_the_configured_authority() {
    let (directory, authority) = test_authority();
    let nodes = Authority::new(directory.path(), "nodes");
    let strangers = Authority::new(directory.path(), "strangers");
    let tls = mutual_tls(&authority, &nodes);
    let server = TestServer::with(ONE, tls_config(tls));
    let shown = |pair: Pair| pair.client_trust(&authority);

    livez(url(&server), &shown(nodes.sign("node-1")))
        .await
        .unwrap();
    for _ in 0..20 {
        // In TLS 1.3 the client completes its handshake before the server rejects it. Its next write must not hide the reason.
        let answer = livez(url(&server), &authority.trust()).await;
        assert_eq!(
            expect_handshake_error(answer),
            HandshakeError::ClientCertificateRequired
        );
    }
    let answer = livez(url(&server), &shown(strangers.sign("node-1"))).await;
    let refused = expect_handshake_error(answer);
    assert!(
        matches!(refused, HandshakeError::ClientCertificateRejected(_)),
        "{refused:?}"
    );
    server.wait_until_disconnected().await;
}

/// Regression test: a certificate that is not yet valid was called expired, one for servers was rejected without a
/// reason, and one with malformed names was retried forever.
#[tokio::test]
async fn client_learns_why_its_certificate_is_rejected() {
    let (directory, authority) = test_authority();
    let nodes = Authority::new(directory.path(), "nodes");
    let strangers = Authority::new(directory.path(), "strangers");
    let server = TestServer::with(ONE, tls_config(mutual_tls(&authority, &nodes)));
    for (pair, fault) in [
        (
            strangers.sign("node-1"),
            CertificateRejection::UnknownAuthority,
        ),
        (
            nodes.sign_with("node-2", expired),
            CertificateRejection::NotValidNow,
        ),
        (
            nodes.sign_with("node-3", not_yet_valid),
            CertificateRejection::NotValidNow,
        ),
        (
            nodes.sign_with("node-4", for_servers_only),
            CertificateRejection::NotForClients,
        ),
        (
            nodes.sign_with("node-5", with_malformed_names),
            CertificateRejection::Unreadable,
        ),
    ] {
        let answer = livez(url(&server), &pair.client_trust(&authority)).await;
        assert_eq!(
            expect_handshake_error(answer),
            HandshakeError::ClientCertificateRejected(fault)
        );
    }
    server.wait_until_disconnected().await;
}

/// Regression test: the audit log lacked rejected client certificates.
#[tokio::test]
async fn audit_log_records_rejected_certificates_at_a_limited_rate() {
    let (directory, authority) = test_authority();
    let nodes = Authority::new(directory.path(), "nodes");
    let strangers = Authority::new(directory.path(), "strangers");
    let tls = mutual_tls(&authority, &nodes);
    let path = directory.path().join("audit");
    let audit = AuditLog::open(AuditTarget::File(path.clone()), false).unwrap();
    let guard = AccessControl::new(AccessConfig {
        tokens: None,
        policy: Policy {
            certificates: true,
            ..Policy::default()
        },
        rate: None,
        audit: Some(audit),
        clock: WallClock::from_fn(|| Timestamp::UNIX_EPOCH),
    });
    let config = HttpConfig {
        access: guard.clone(),
        ..tls_config(tls)
    };
    let server = TestServer::with(ONE, config);
    for trust in [
        authority.trust(),
        strangers.sign("node-1").client_trust(&authority),
        nodes.sign_with("node-2", expired).client_trust(&authority),
        nodes
            .sign_with("node-3", not_yet_valid)
            .client_trust(&authority),
        // This certificate is valid.
        nodes.sign("node-4").client_trust(&authority),
        // Here the client rejects the server, so the server has nothing to record.
        Trust::default(),
    ] {
        let _ = livez(url(&server), &trust).await;
    }
    for _ in 0..40 {
        let answer = livez(url(&server), &authority.trust()).await;
        assert_eq!(
            expect_handshake_error(answer),
            HandshakeError::ClientCertificateRequired
        );
    }
    server.wait_until_disconnected().await;
    guard.audit().unwrap().flush().await;
    let log = fs::read_to_string(&path).unwrap();
    let reasons = [
        "no_certificate",
        "unknown_authority",
        "expired_certificate",
        "early_certificate",
        "no_certificate",
    ];
    for (line, reason) in log.lines().zip(reasons) {
        let expected = format!(
            r#"{{"at":"1970-01-01T00:00:00Z","what":"handshake","outcome":"refused","who":"unknown","from":"127.0.0.1","reason":"{reason}"}}"#
        );
        assert_eq!(line, expected);
    }
    // A burst of 20, plus one for each second that the test took.
    let lines = log.lines().count();
    assert!((20..40).contains(&lines), "{lines}");
    assert_eq!(server.coordinator.metrics().tls_failures.get(), 45);
}

#[tokio::test]
async fn http_on_a_tls_port_and_tls_on_an_http_port_are_explained() {
    let (_directory, authority) = test_authority();
    let secure = TestServer::with(ONE, authority.sign(HERE).server_config());
    let reply = secure.request(&get("/livez")).await;
    let (code, reason, message) = reply.error();
    assert_eq!(
        (reply.status, &*code, &*reason),
        (400, "internal", "tls_required")
    );
    assert_eq!(
        message,
        "this port speaks TLS: use https://, or the join URL that `serve` printed"
    );
    // Also for a long request, most of which the server has not read when it closes the connection.
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(30_000));
    assert_eq!(secure.request(&long).await.status, 400);

    let plain_http = TestServer::start(ONE);
    let answer = livez(url(&plain_http), &authority.trust()).await;
    let Err(CallError::Unusable { problem, .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(
        problem,
        "the server does not speak TLS; for plain HTTP, use http://"
    );
}

#[tokio::test]
async fn malformed_handshakes_are_closed_without_affecting_others() {
    let (_directory, authority) = test_authority();
    let server = TestServer::with(ONE, authority.sign(HERE).server_config());
    let hello = hello(&authority).await;
    let mut malformed: Vec<Vec<u8>> = vec![
        b"\0".to_vec(),
        vec![0xff; 70_000],
        b"SSH-2.0-x\r\n".to_vec(),
        b"\x16".to_vec(),
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x16\x03\x01\0\x05hello".to_vec(),
        [b"\x16\x03\x01\x40\0".to_vec(), vec![1; 0x4000]].concat(),
        // An alert and application data before the handshake.
        b"\x15\x03\x03\0\x02\x02\x28".to_vec(),
        b"\x17\x03\x03\0\x01x".to_vec(),
        [&hello[..], &hello[..]].concat(),
    ];
    for at in (0..hello.len()).step_by(7) {
        let mut corrupted = hello.clone();
        corrupted[at] ^= 0xff;
        malformed.push(corrupted);
        malformed.push(hello[..at].to_vec());
    }
    let sent = malformed.len() as u64;
    for bytes in malformed {
        let mut connection = server.connect().await;
        // The server may close the connection before all bytes are sent.
        connection.try_send(&bytes).await;
        let _ = connection.try_half_close().await;
        with_timeout(connection.read_to_end()).await;
    }
    livez(url(&server), &authority.trust()).await.unwrap();
    server.wait_until_disconnected().await;
    assert_eq!(server.coordinator.metrics().tls_failures.get(), sent);
}

#[tokio::test]
async fn incomplete_handshake_times_out() {
    let (_directory, authority) = test_authority();
    let config = HttpConfig {
        handshake_timeout: SHORT,
        ..authority.sign(HERE).server_config()
    };
    let server = TestServer::with(ONE, config);
    let hello = hello(&authority).await;
    for start in [&b""[..], b"\x16", &hello[..20], &hello[..hello.len() - 1]] {
        let mut connection = server.connect().await;
        connection.send(start).await;
        assert!(connection.is_closed().await, "{} bytes", start.len());
    }
    // Also after the server has sent its part of the handshake.
    let mut connection = server.connect().await;
    connection.send(&hello).await;
    with_timeout(connection.read_to_end()).await;
    server.wait_until_disconnected().await;
}

#[tokio::test]
async fn connection_beyond_the_address_quota_is_closed_before_the_handshake() {
    let (_directory, authority) = test_authority();
    let config = HttpConfig {
        connections_per_address_max: Some(1),
        ..authority.sign(HERE).server_config()
    };
    let server = TestServer::with(ONE, config);
    let hello = hello(&authority).await;
    let _held = server.connect().await;
    for bytes in [&hello[..], get("/livez").as_bytes()] {
        let mut more = server.connect().await;
        more.try_send(bytes).await;
        assert!(more.is_closed().await);
    }
    // A node treats this like an unreachable server and retries.
    let error = livez(url(&server), &authority.trust()).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    assert_eq!(server.coordinator.metrics().tls_failures.get(), 0);
    assert!(server.coordinator.metrics().connections_refused.get() >= 3);
}

/// Regression test: handshakes were limited in number and time, but not for each address.
#[tokio::test]
async fn handshakes_are_rate_limited_by_address_before_any_cryptography() {
    let (_directory, authority) = test_authority();
    let guard = AccessControl::new(AccessConfig {
        tokens: None,
        policy: Policy::default(),
        rate: Some(Rate {
            per_second: NonZeroU32::MIN,
            burst: NonZeroU32::new(3).unwrap(),
        }),
        audit: None,
        clock: WallClock::system(),
    });
    let config = HttpConfig {
        access: guard,
        ..authority.sign(HERE).server_config()
    };
    let server = TestServer::with(ONE, config);
    let hello = hello(&authority).await;
    // The rate limit allows one more each second, so a slow machine gets more than the burst.
    let connections_until_closed = async |bytes: &[u8]| {
        let mut connections = 0;
        loop {
            let mut connection = server.connect().await;
            connection.try_send(bytes).await;
            // If a handshake has begun, the server has sent its part and the connection is not closed yet.
            if connection.is_closed().await {
                return connections;
            }
            connections += 1;
        }
    };
    assert!(with_timeout(connections_until_closed(&hello)).await >= 3);
    // Connections without TLS count too, and get no response.
    with_timeout(connections_until_closed(get("/livez").as_bytes())).await;
    // A node treats this like an unreachable server and retries.
    let error = with_timeout(async {
        loop {
            if let Err(error) = livez(url(&server), &authority.trust()).await {
                return error;
            }
        }
    });
    let error = error.await;
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    // Other addresses have their own rate limit.
    let mut accepted = 0;
    for last in 2..8 {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from(([127, 0, 0, last], 0)))
            .unwrap();
        let stream = with_timeout(socket.connect(server.address)).await.unwrap();
        let connector = connector(&authority, None, &rustls::version::TLS13);
        let name = ServerName::try_from(HERE).unwrap();
        accepted += u64::from(with_timeout(connector.connect(name, stream)).await.is_ok());
    }
    assert!(accepted > 0);
}

#[tokio::test]
async fn pending_handshakes_block_neither_others_nor_shutdown() {
    let (_directory, authority) = test_authority();
    let server = TestServer::with(ONE, authority.sign(HERE).server_config());
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(server.connect().await);
        let mut begun = server.connect().await;
        begun.send(b"\x16").await;
        silent.push(begun);
    }
    livez(url(&server), &authority.trust()).await.unwrap();
    let report = server.stop().report().await;
    assert_eq!(report.cut, 0);
}

#[tokio::test]
async fn reloaded_certificate_applies_to_new_connections() {
    let (directory, authority) = test_authority();
    let pair = authority.sign(HERE);
    let tls = pair.tls();
    let server = TestServer::with(ONE, tls_config(tls.clone()));
    let kept = Client::with_trust([url(&server)], &authority.trust()).unwrap();
    kept.livez().await.unwrap();
    let before = tls.pin();

    let files = authority.sign(HERE).files();
    tls.replace(&Tls::read(&files).unwrap());
    let after = tls.pin();
    assert_ne!(before, after);
    let answer = livez(join_url(&server, before), &Trust::default()).await;
    assert_eq!(
        expect_handshake_error(answer),
        HandshakeError::UnexpectedPin { found: after }
    );
    livez(join_url(&server, after), &Trust::default())
        .await
        .unwrap();
    // Existing connections stay open.
    kept.livez().await.unwrap();

    let stranger = Authority::new(directory.path(), "stranger").sign(HERE);
    let missing = directory.path().join("missing");
    let put = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let empty = put("empty", "");
    let torn = put("torn", "-----BEGIN PRIVATE KEY-----\nMIGHAgEA");
    let corrupted = put(
        "bent",
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    );
    let mut errors = String::new();
    for (certificate, key) in [
        (&files.certificate, &stranger.key),
        (&missing, &files.key),
        (&files.certificate, &missing),
        (&empty, &files.key),
        (&files.certificate, &empty),
        (&files.certificate, &torn),
        (&corrupted, &files.key),
        // Certificate and key swapped.
        (&files.key, &files.certificate),
    ] {
        let files = TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authorities: None,
        };
        let error = Tls::read(&files).map(|new| tls.replace(&new)).unwrap_err();
        errors.push_str(&format!("{error}\n"));
        assert_eq!(tls.pin(), after);
    }
    let errors = errors.replace(&directory.path().display().to_string(), "[DIR]");
    insta::assert_snapshot!(errors);
    livez(join_url(&server, after), &Trust::default())
        .await
        .unwrap();
}

/// Regression test: a connection kept its identity for as long as it stayed open, whatever happened to its certificate.
#[tokio::test]
async fn connection_identity_ends_with_its_certificate_or_authority() {
    let (directory, authority) = test_authority();
    let nodes = Authority::new(directory.path(), "nodes");
    let others = Authority::new(directory.path(), "others");
    let now = Arc::new(AtomicI64::new(0));
    let clock = {
        let now = Arc::clone(&now);
        WallClock::from_fn(move || Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap())
    };
    let tls = mutual_tls(&authority, &nodes);
    let guard = AccessConfig {
        tokens: None,
        policy: Policy {
            certificates: true,
            ..Policy::default()
        },
        rate: None,
        audit: None,
        clock,
    };
    let config = HttpConfig {
        access: AccessControl::new(guard),
        ..tls_config(tls.clone())
    };
    let server = TestServer::with(ONE, config);
    let shown = nodes.sign("node-1");
    let connector = connector(&authority, Some(&shown), &rustls::version::TLS13);
    let request = register("node-1");

    let expire = || now.store(i64::from(u32::MAX) * 50, Ordering::Relaxed);
    // A change of the server's own certificate does not affect the connection.
    tls.replace(&mutual_tls(&authority, &nodes));
    let change_authority = || tls.replace(&mutual_tls(&authority, &others));
    let invalidations: [&dyn Fn(); 2] = [&expire, &change_authority];
    for invalidate in invalidations {
        now.store(0, Ordering::Relaxed);
        let mut stream = connect(&server, &connector).await.unwrap();
        with_timeout(stream.write_all(request.as_bytes()))
            .await
            .unwrap();
        let mut accepted = [0; 12];
        with_timeout(stream.read_exact(&mut accepted))
            .await
            .unwrap();
        assert_eq!(&accepted, b"HTTP/1.1 202");
        invalidate();
        with_timeout(stream.write_all(request.as_bytes()))
            .await
            .unwrap();
        let mut rest = String::new();
        with_timeout(stream.read_to_string(&mut rest))
            .await
            .unwrap();
        assert!(rest.contains("HTTP/1.1 503"), "{rest}");
        assert!(rest.contains("connection: close"), "{rest}");
        assert!(rest.contains(r#""reason":"handshake_again""#), "{rest}");
    }
    // A new connection gets the reason.
    let answer = livez(url(&server), &shown.client_trust(&authority)).await;
    assert_eq!(
        expect_handshake_error(answer),
        HandshakeError::ClientCertificateRejected(CertificateRejection::UnknownAuthority)
    );
}

/// Regression test: the client read its certificate once and presented it until the server rejected the node.
#[tokio::test]
async fn client_presents_the_certificate_currently_in_its_files() {
    let (directory, authority) = test_authority();
    let nodes = Authority::new(directory.path(), "nodes");
    let others = Authority::new(directory.path(), "others");
    let tls = mutual_tls(&authority, &nodes);
    let server = TestServer::with(ONE, tls_config(tls.clone()));
    let (shown, renewed) = (nodes.sign("node-1"), others.sign("node-1"));
    let client = Client::with_trust([url(&server)], &shown.client_trust(&authority)).unwrap();
    with_timeout(client.nodes()).await.unwrap();

    // From here on the server rejects the old certificate and requires a new connection.
    tls.replace(&mutual_tls(&authority, &others));
    fs::copy(&renewed.certificate, &shown.certificate).unwrap();
    let message = with_timeout(client.nodes()).await.unwrap_err().to_string();
    assert!(message.contains("answered 503"), "{message}");
    // Only one of the two files is renewed, so the client still presents the last valid pair.
    let answer = with_timeout(client.nodes()).await.map(|_| ());
    assert_eq!(
        expect_handshake_error(answer),
        HandshakeError::ClientCertificateRejected(CertificateRejection::UnknownAuthority)
    );
    fs::copy(&renewed.key, &shown.key).unwrap();
    with_timeout(client.nodes()).await.unwrap();
}

#[tokio::test]
async fn sessions_resume_unless_client_certificates_are_required() {
    let (directory, authority) = test_authority();
    let nodes = Authority::new(directory.path(), "nodes");
    let pair = authority.sign(HERE);
    let shown = nodes.sign("node-1");
    let with_certificates = Tls::read(&TlsFiles {
        client_authorities: Some(nodes.file()),
        ..pair.files()
    });
    for (tls, again) in [
        (pair.tls(), HandshakeKind::Resumed),
        (with_certificates.unwrap(), HandshakeKind::Full),
    ] {
        let server = TestServer::with(ONE, tls_config(tls));
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let connector = connector(&authority, Some(&shown), version);
            for expected in [HandshakeKind::Full, again] {
                let kind = exchange(&server, &connector).await;
                assert_eq!(kind, expected, "{version:?}");
            }
        }
    }
}

#[tokio::test]
async fn alpn_negotiates_http_1_1() {
    let (_directory, authority) = test_authority();
    let server = TestServer::with(ONE, authority.sign(HERE).server_config());
    for (offered, negotiated) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"http/1.1"[..])),
        (&[], None),
    ] {
        let mut config = config(&authority, None, &rustls::version::TLS13);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let stream = connect(&server, &TlsConnector::from(Arc::new(config))).await;
        assert_eq!(stream.unwrap().get_ref().1.alpn_protocol(), negotiated);
    }
    let mut config = config(&authority, None, &rustls::version::TLS13);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let refused = connect(&server, &TlsConnector::from(Arc::new(config))).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn pins_with_plain_http_are_rejected() {
    let server: ServerUrl = "http://127.0.0.1:1".parse().unwrap();
    let trust = pinned(&[Pin::of(b"")]);
    let error = Client::with_trust([server], &trust).unwrap_err();
    assert_eq!(
        error.to_string(),
        "http://127.0.0.1:1 uses plain HTTP, where pins, certificate authorities and client certificates have no effect"
    );
}

/// Returns the ClientHello of a valid handshake.
async fn hello(authority: &Authority) -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(16 << 10);
    let connector = connector(authority, None, &rustls::version::TLS13);
    let name = ServerName::try_from(HERE).unwrap();
    let connecting = tokio::spawn(async move { connector.connect(name, near).await.is_ok() });
    let mut hello = vec![0; 16 << 10];
    let length = far.read(&mut hello).await.unwrap();
    hello.truncate(length);
    drop(far);
    assert!(!connecting.await.unwrap());
    hello
}

fn config(
    authority: &Authority,
    shown: Option<&Pair>,
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.file())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    match shown {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
            let chain = vec![certificate(&pair.certificate)];
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

fn connector(
    authority: &Authority,
    shown: Option<&Pair>,
    version: &'static rustls::SupportedProtocolVersion,
) -> TlsConnector {
    TlsConnector::from(Arc::new(config(authority, shown, version)))
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

async fn connect(
    server: &TestServer,
    connector: &TlsConnector,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    with_timeout(connector.connect(ServerName::try_from(HERE).unwrap(), stream)).await
}

/// Sends one request on a new connection and reads the response. Returns the kind of handshake.
async fn exchange(server: &TestServer, connector: &TlsConnector) -> HandshakeKind {
    let mut stream = connect(server, connector).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    with_timeout(stream.write_all(request.as_bytes()))
        .await
        .unwrap();
    let mut answer = String::new();
    with_timeout(stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream.get_ref().1.handshake_kind().unwrap()
}
