//! TLS: who is trusted and who is let in, by real handshakes; and what those get who do something else.

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
use cfgsync_client::{CallError, Client, Distrust, Fault, ServerUrl, Trust};
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
    pki::{Authority, Pair, early, expired, for_servers, served, with_garbled_names},
    support::{TestServer, get, register, within},
};

const HERE: &str = "127.0.0.1";
const ONE: &str =
    "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: a, template: x}]}]\n";

/// Short enough to be waited for, and only where running out is what the test is about.
const SHORT: Duration = Duration::from_millis(50);

fn place() -> (TempDir, Authority) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    (directory, authority)
}

/// TLS with a certificate of `authority`, for who shows one of `nodes`.
fn asking_for_certificates(authority: &Authority, nodes: &Authority) -> Tls {
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
    within(client.livez()).await.map(|_| ())
}

fn distrust(answer: Result<(), CallError>) -> Distrust {
    match answer {
        Err(CallError::Untrusted { distrust, .. }) => distrust,
        other => panic!("{other:?}"),
    }
}

fn pinned(pins: &[Pin]) -> Trust {
    Trust {
        pins: pins.to_vec(),
        ..Trust::default()
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_or_by_its_key() {
    let (_directory, authority) = place();
    let pair = authority.sign(HERE);
    let server = TestServer::with(ONE, pair.served());
    let pin = pair.tls().pin();
    let other = Pin::of(b"another key");
    livez(url(&server), &authority.trust()).await.unwrap();
    livez(join_url(&server, pin), &Trust::default())
        .await
        .unwrap();
    // While a key is replaced both are good.
    livez(url(&server), &pinned(&[other, pin])).await.unwrap();

    let answer = livez(url(&server), &Trust::default()).await;
    assert_eq!(distrust(answer), Distrust::Authority);
    let stranger = Authority::new(authority.file().parent().unwrap(), "stranger");
    let answer = livez(url(&server), &stranger.trust()).await;
    assert_eq!(distrust(answer), Distrust::Authority);
    let answer = livez(join_url(&server, other), &Trust::default()).await;
    assert_eq!(distrust(answer), Distrust::Pin { found: pin });
    // Both must hold where both are asked for.
    let both = |trust: Trust, pin| Trust {
        pins: vec![pin],
        ..trust
    };
    livez(url(&server), &both(authority.trust(), pin))
        .await
        .unwrap();
    let answer = livez(url(&server), &both(authority.trust(), other)).await;
    assert_eq!(distrust(answer), Distrust::Pin { found: pin });
    let answer = livez(url(&server), &both(stranger.trust(), pin)).await;
    assert_eq!(distrust(answer), Distrust::Authority);
}

#[tokio::test]
async fn a_pinned_certificate_is_nothing_without_its_key() {
    let (_directory, authority) = place();
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
        let refused = distrust(answer);
        assert!(matches!(refused, Distrust::Certificate(_)), "{refused:?}");
        assert!(within(impostor).await.unwrap());
    }
}

#[tokio::test]
async fn a_certificate_must_be_of_its_time_and_name_unless_its_key_is_pinned() {
    let (_directory, authority) = place();
    let late = authority.sign_with(HERE, expired);
    let server = TestServer::with(ONE, late.served());
    let answer = livez(url(&server), &authority.trust()).await;
    let gone = Distrust::Expired("2001-01-01T00:00:00Z".to_owned());
    assert_eq!(distrust(answer), gone);
    let pin = late.tls().pin();
    livez(url(&server), &pinned(&[pin])).await.unwrap();

    let server = TestServer::with(ONE, authority.sign_with(HERE, early).served());
    let answer = livez(url(&server), &authority.trust()).await;
    let to_come = Distrust::NotYetValid("3000-01-01T00:00:00Z".to_owned());
    assert_eq!(distrust(answer), to_come);

    let other = authority.sign("boot.example");
    let server = TestServer::with(ONE, other.served());
    let answer = distrust(livez(url(&server), &authority.trust()).await);
    assert!(matches!(answer, Distrust::Name { .. }), "{answer:?}");
    let words = answer.to_string();
    assert!(words.contains("not for 127.0.0.1"), "{words}");
    assert!(words.contains("boot.example"), "{words}");
    livez(url(&server), &pinned(&[other.tls().pin()]))
        .await
        .unwrap();
}

#[tokio::test]
async fn only_who_shows_a_certificate_of_the_right_authority_is_let_in() {
    let (directory, authority) = place();
    let nodes = Authority::new(directory.path(), "nodes");
    let strangers = Authority::new(directory.path(), "strangers");
    let tls = asking_for_certificates(&authority, &nodes);
    let server = TestServer::with(ONE, served(tls));
    let shown = |pair: Pair| pair.shown(&authority);

    livez(url(&server), &shown(nodes.sign("node-1")))
        .await
        .unwrap();
    for _ in 0..20 {
        // In TLS 1.3 the client is done before it is refused: what it sends then must not hide why.
        let answer = livez(url(&server), &authority.trust()).await;
        assert_eq!(distrust(answer), Distrust::WantsCertificate);
    }
    let answer = livez(url(&server), &shown(strangers.sign("node-1"))).await;
    let refused = distrust(answer);
    assert!(
        matches!(refused, Distrust::RefusesCertificate(_)),
        "{refused:?}"
    );
    server.is_left().await;
}

/// One that was to come had expired, one for servers was refused without a reason, and one with names that cannot be
/// read was asked about again and again.
#[tokio::test]
async fn a_client_hears_what_is_wrong_with_its_certificate() {
    let (directory, authority) = place();
    let nodes = Authority::new(directory.path(), "nodes");
    let strangers = Authority::new(directory.path(), "strangers");
    let server = TestServer::with(ONE, served(asking_for_certificates(&authority, &nodes)));
    for (pair, fault) in [
        (strangers.sign("node-1"), Fault::Authority),
        (nodes.sign_with("node-2", expired), Fault::NotNow),
        (nodes.sign_with("node-3", early), Fault::NotNow),
        (nodes.sign_with("node-4", for_servers), Fault::NotForClients),
        (
            nodes.sign_with("node-5", with_garbled_names),
            Fault::Unreadable,
        ),
    ] {
        let answer = livez(url(&server), &pair.shown(&authority)).await;
        assert_eq!(distrust(answer), Distrust::RefusesCertificate(fault));
    }
    server.is_left().await;
}

/// A certificate that is refused was a refusal that the audit log did not have.
#[tokio::test]
async fn the_audit_log_has_refused_certificates_and_cannot_be_filled_with_them() {
    let (directory, authority) = place();
    let nodes = Authority::new(directory.path(), "nodes");
    let strangers = Authority::new(directory.path(), "strangers");
    let tls = asking_for_certificates(&authority, &nodes);
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
        ..served(tls)
    };
    let server = TestServer::with(ONE, config);
    for trust in [
        authority.trust(),
        strangers.sign("node-1").shown(&authority),
        nodes.sign_with("node-2", expired).shown(&authority),
        nodes.sign_with("node-3", early).shown(&authority),
        // This one is let in.
        nodes.sign("node-4").shown(&authority),
        // A server that is not trusted has refused nobody.
        Trust::default(),
    ] {
        let _ = livez(url(&server), &trust).await;
    }
    for _ in 0..40 {
        let answer = livez(url(&server), &authority.trust()).await;
        assert_eq!(distrust(answer), Distrust::WantsCertificate);
    }
    server.is_left().await;
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
    // Twenty, and one for every second that it took.
    let lines = log.lines().count();
    assert!((20..40).contains(&lines), "{lines}");
    assert_eq!(server.coordinator.metrics().tls_failures.get(), 45);
}

#[tokio::test]
async fn who_speaks_the_other_language_is_told_so() {
    let (_directory, authority) = place();
    let secure = TestServer::with(ONE, authority.sign(HERE).served());
    let reply = secure.ask(&get("/livez")).await;
    let (code, reason, message) = reply.error();
    assert_eq!(
        (reply.status, &*code, &*reason),
        (400, "internal", "tls_required")
    );
    assert_eq!(
        message,
        "this port speaks TLS: use https://, or the join URL that `serve` printed"
    );
    // Also when it is a long request, of which much is unread when the connection is closed.
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(30_000));
    assert_eq!(secure.ask(&long).await.status, 400);

    let plain = TestServer::start(ONE);
    let answer = livez(url(&plain), &authority.trust()).await;
    let Err(CallError::Unusable { problem, .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(
        problem,
        "it does not speak TLS; plain HTTP begins with http://"
    );
}

#[tokio::test]
async fn garbage_is_closed_and_costs_nobody_else() {
    let (_directory, authority) = place();
    let server = TestServer::with(ONE, authority.sign(HERE).served());
    let hello = hello(&authority).await;
    let mut strange: Vec<Vec<u8>> = vec![
        b"\0".to_vec(),
        vec![0xff; 70_000],
        b"SSH-2.0-x\r\n".to_vec(),
        b"\x16".to_vec(),
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x16\x03\x01\0\x05hello".to_vec(),
        [b"\x16\x03\x01\x40\0".to_vec(), vec![1; 0x4000]].concat(),
        // An alert, and data, before there is anything to be alert about.
        b"\x15\x03\x03\0\x02\x02\x28".to_vec(),
        b"\x17\x03\x03\0\x01x".to_vec(),
        [&hello[..], &hello[..]].concat(),
    ];
    for at in (0..hello.len()).step_by(7) {
        let mut bent = hello.clone();
        bent[at] ^= 0xff;
        strange.push(bent);
        strange.push(hello[..at].to_vec());
    }
    let sent = strange.len() as u64;
    for bytes in strange {
        let mut connection = server.connect().await;
        // It may be closed before all is sent.
        connection.try_send(&bytes).await;
        let _ = connection.try_half_close().await;
        within(connection.read_to_end()).await;
    }
    livez(url(&server), &authority.trust()).await.unwrap();
    server.is_left().await;
    assert_eq!(server.coordinator.metrics().tls_failures.get(), sent);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends_the_connection() {
    let (_directory, authority) = place();
    let config = HttpConfig {
        handshake_timeout: SHORT,
        ..authority.sign(HERE).served()
    };
    let server = TestServer::with(ONE, config);
    let hello = hello(&authority).await;
    for start in [&b""[..], b"\x16", &hello[..20], &hello[..hello.len() - 1]] {
        let mut connection = server.connect().await;
        connection.send(start).await;
        assert!(connection.is_closed().await, "{} bytes", start.len());
    }
    // With the server's half of it as well.
    let mut connection = server.connect().await;
    connection.send(&hello).await;
    within(connection.read_to_end()).await;
    server.is_left().await;
}

#[tokio::test]
async fn a_connection_beyond_the_share_of_its_address_is_closed_before_its_handshake() {
    let (_directory, authority) = place();
    let config = HttpConfig {
        connections_per_address_max: Some(1),
        ..authority.sign(HERE).served()
    };
    let server = TestServer::with(ONE, config);
    let hello = hello(&authority).await;
    let _held = server.connect().await;
    for bytes in [&hello[..], get("/livez").as_bytes()] {
        let mut more = server.connect().await;
        more.try_send(bytes).await;
        assert!(more.is_closed().await);
    }
    // A node takes it for a server that cannot be reached for now.
    let left = livez(url(&server), &authority.trust()).await.unwrap_err();
    assert!(matches!(left, CallError::Unreachable { .. }), "{left}");
    assert_eq!(server.coordinator.metrics().tls_failures.get(), 0);
    assert!(server.coordinator.metrics().connections_refused.get() >= 3);
}

/// Handshakes were bounded in number and time, and not for each address.
#[tokio::test]
async fn an_address_that_shakes_hands_too_often_is_left_before_anything_is_worked_out() {
    let (_directory, authority) = place();
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
        ..authority.sign(HERE).served()
    };
    let server = TestServer::with(ONE, config);
    let hello = hello(&authority).await;
    // One comes again every second, and a slow machine may find it.
    let is_left = async |bytes: &[u8]| {
        let mut connections = 0;
        loop {
            let mut connection = server.connect().await;
            connection.try_send(bytes).await;
            // A handshake that was begun has sent the server's half.
            if connection.is_closed().await {
                return connections;
            }
            connections += 1;
        }
    };
    assert!(within(is_left(&hello)).await >= 3);
    // What is no TLS counts as well, and gets no answer.
    within(is_left(get("/livez").as_bytes())).await;
    // A node takes it for a server that cannot be reached for now.
    let left = within(async {
        loop {
            if let Err(error) = livez(url(&server), &authority.trust()).await {
                return error;
            }
        }
    });
    let left = left.await;
    assert!(matches!(left, CallError::Unreachable { .. }), "{left}");
    // One of so many does not share its place.
    let mut let_in = 0;
    for last in 2..8 {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from(([127, 0, 0, last], 0)))
            .unwrap();
        let stream = within(socket.connect(server.address)).await.unwrap();
        let connector = connector(&authority, None, &rustls::version::TLS13);
        let name = ServerName::try_from(HERE).unwrap();
        let_in += u64::from(within(connector.connect(name, stream)).await.is_ok());
    }
    assert!(let_in > 0);
}

#[tokio::test]
async fn a_handshake_holds_up_neither_others_nor_a_server_that_stops() {
    let (_directory, authority) = place();
    let server = TestServer::with(ONE, authority.sign(HERE).served());
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
async fn what_is_read_again_is_used_by_the_connections_that_follow() {
    let (directory, authority) = place();
    let pair = authority.sign(HERE);
    let tls = pair.tls();
    let server = TestServer::with(ONE, served(tls.clone()));
    let kept = Client::with_trust([url(&server)], &authority.trust()).unwrap();
    kept.livez().await.unwrap();
    let before = tls.pin();

    let files = authority.sign(HERE).files();
    tls.replace(&Tls::read(&files).unwrap());
    let after = tls.pin();
    assert_ne!(before, after);
    let answer = livez(join_url(&server, before), &Trust::default()).await;
    assert_eq!(distrust(answer), Distrust::Pin { found: after });
    livez(join_url(&server, after), &Trust::default())
        .await
        .unwrap();
    // Who is connected stays so.
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
    let bent = put(
        "bent",
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    );
    let mut said = String::new();
    for (certificate, key) in [
        (&files.certificate, &stranger.key),
        (&missing, &files.key),
        (&files.certificate, &missing),
        (&empty, &files.key),
        (&files.certificate, &empty),
        (&files.certificate, &torn),
        (&bent, &files.key),
        // The two changed round.
        (&files.key, &files.certificate),
    ] {
        let files = TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authorities: None,
        };
        let error = Tls::read(&files).map(|new| tls.replace(&new)).unwrap_err();
        said.push_str(&format!("{error}\n"));
        assert_eq!(tls.pin(), after);
    }
    let said = said.replace(&directory.path().display().to_string(), "[DIR]");
    insta::assert_snapshot!(said);
    livez(join_url(&server, after), &Trust::default())
        .await
        .unwrap();
}

/// A connection stayed what it was when it was made, for as long as it was kept open.
#[tokio::test]
async fn what_a_certificate_proved_stands_no_longer_than_the_certificate_and_its_authority() {
    let (directory, authority) = place();
    let nodes = Authority::new(directory.path(), "nodes");
    let others = Authority::new(directory.path(), "others");
    let now = Arc::new(AtomicI64::new(0));
    let clock = {
        let now = Arc::clone(&now);
        WallClock::from_fn(move || Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap())
    };
    let tls = asking_for_certificates(&authority, &nodes);
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
        ..served(tls.clone())
    };
    let server = TestServer::with(ONE, config);
    let shown = nodes.sign("node-1");
    let connector = connector(&authority, Some(&shown), &rustls::version::TLS13);
    let request = register("node-1");

    let years = || now.store(i64::from(u32::MAX) * 50, Ordering::Relaxed);
    // The server's own certificate may change under a connection.
    tls.replace(&asking_for_certificates(&authority, &nodes));
    let reading = || tls.replace(&asking_for_certificates(&authority, &others));
    let passed: [&dyn Fn(); 2] = [&years, &reading];
    for pass in passed {
        now.store(0, Ordering::Relaxed);
        let mut stream = connect(&server, &connector).await.unwrap();
        within(stream.write_all(request.as_bytes())).await.unwrap();
        let mut accepted = [0; 12];
        within(stream.read_exact(&mut accepted)).await.unwrap();
        assert_eq!(&accepted, b"HTTP/1.1 202");
        pass();
        within(stream.write_all(request.as_bytes())).await.unwrap();
        let mut rest = String::new();
        within(stream.read_to_string(&mut rest)).await.unwrap();
        assert!(rest.contains("HTTP/1.1 503"), "{rest}");
        assert!(rest.contains("connection: close"), "{rest}");
        assert!(rest.contains(r#""reason":"handshake_again""#), "{rest}");
    }
    // Connected anew, it hears what is wrong.
    let answer = livez(url(&server), &shown.shown(&authority)).await;
    assert_eq!(
        distrust(answer),
        Distrust::RefusesCertificate(Fault::Authority)
    );
}

/// The pair was read once, and shown until the node was refused for it.
#[tokio::test]
async fn a_client_shows_the_certificate_that_is_in_its_files_when_it_connects() {
    let (directory, authority) = place();
    let nodes = Authority::new(directory.path(), "nodes");
    let others = Authority::new(directory.path(), "others");
    let tls = asking_for_certificates(&authority, &nodes);
    let server = TestServer::with(ONE, served(tls.clone()));
    let (shown, renewed) = (nodes.sign("node-1"), others.sign("node-1"));
    let client = Client::with_trust([url(&server)], &shown.shown(&authority)).unwrap();
    within(client.nodes()).await.unwrap();

    // From here on the pair is as good as expired: the server wants another connection.
    tls.replace(&asking_for_certificates(&authority, &others));
    fs::copy(&renewed.certificate, &shown.certificate).unwrap();
    let told = within(client.nodes()).await.unwrap_err().to_string();
    assert!(told.contains("answered 503"), "{told}");
    // Half of a renewal is none: what was good last is shown.
    let answer = within(client.nodes()).await.map(|_| ());
    assert_eq!(
        distrust(answer),
        Distrust::RefusesCertificate(Fault::Authority)
    );
    fs::copy(&renewed.key, &shown.key).unwrap();
    within(client.nodes()).await.unwrap();
}

#[tokio::test]
async fn sessions_are_resumed_unless_a_certificate_is_asked_for() {
    let (directory, authority) = place();
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
        let server = TestServer::with(ONE, served(tls));
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
async fn http_1_1_is_what_both_agree_upon() {
    let (_directory, authority) = place();
    let server = TestServer::with(ONE, authority.sign(HERE).served());
    for (offered, agreed) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"http/1.1"[..])),
        (&[], None),
    ] {
        let mut config = config(&authority, None, &rustls::version::TLS13);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let stream = connect(&server, &TlsConnector::from(Arc::new(config))).await;
        assert_eq!(stream.unwrap().get_ref().1.alpn_protocol(), agreed);
    }
    let mut config = config(&authority, None, &rustls::version::TLS13);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let refused = connect(&server, &TlsConnector::from(Arc::new(config))).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn plain_http_is_not_made_safer_by_pins() {
    let server: ServerUrl = "http://127.0.0.1:1".parse().unwrap();
    let trust = pinned(&[Pin::of(b"")]);
    let error = Client::with_trust([server], &trust).unwrap_err();
    assert_eq!(
        error.to_string(),
        "http://127.0.0.1:1 is plain HTTP, where pins, authorities and client certificates protect nothing"
    );
}

/// The first bytes of a good handshake.
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
    within(connector.connect(ServerName::try_from(HERE).unwrap(), stream)).await
}

/// One request on a connection of its own, to its end; how the connection came about.
async fn exchange(server: &TestServer, connector: &TlsConnector) -> HandshakeKind {
    let mut stream = connect(server, connector).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    within(stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream.get_ref().1.handshake_kind().unwrap()
}
