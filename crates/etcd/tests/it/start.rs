//! A store that cannot open says why, and whose fault it is, within its start timeout.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::etcd::{Etcd, config, own_host};
use cfgsync_etcd::{EtcdConfig, EtcdError, EtcdErrorKind, EtcdStore};
use cfgsync_store::Store as _;

async fn error_of(config: EtcdConfig) -> EtcdError {
    let (begun, limit) = (Instant::now(), config.start_timeout);
    let opened = EtcdStore::open(config).await;
    assert!(begun.elapsed() < limit + Duration::from_secs(2));
    match opened {
        Ok(_) => panic!("the store opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn address_without_a_server_is_unreachable() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let config = EtcdConfig {
        start_timeout: Duration::from_secs(1),
        ..config("demo", &[address])
    };
    let error = error_of(config).await;
    assert_eq!(error.kind, EtcdErrorKind::Unreachable);
    assert!(error.reason.contains("within 1 s"), "{error}");
    assert!(error.reason.contains(&address.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_waits_for_an_etcd_that_starts_later() {
    let mut etcd = Etcd::start().await;
    etcd.kill_member(0);
    let config = EtcdConfig {
        start_timeout: Duration::from_mins(1),
        ..etcd.config("demo")
    };
    let opening = tokio::spawn(EtcdStore::open(config));
    // The first try is refused here.
    let listener = TcpListener::bind(etcd.addresses()[0]).await.unwrap();
    drop(listener.accept().await.unwrap());
    drop(listener);
    etcd.start_member(0);
    opening.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_member_ends_the_start_although_another_one_is_unreachable() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let etcd = Etcd::start().await;
    let config = EtcdConfig {
        user: Some(("node".to_owned(), "secret".into())),
        start_timeout: Duration::from_hours(1),
        ..config("demo", &[address, etcd.addresses()[0]])
    };
    // etcd's authentication is off, so it refuses the user.
    let error = EtcdStore::open(config).await.err().unwrap();
    assert_eq!(error.kind, EtcdErrorKind::NotPermitted, "{error}");
}

#[tokio::test]
async fn server_that_says_nothing_is_unreachable_within_the_timeout() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    let config = EtcdConfig {
        start_timeout: Duration::from_secs(1),
        ..config("demo", &[address])
    };
    let error = error_of(config).await;
    assert_eq!(error.kind, EtcdErrorKind::Unreachable);
    assert!(error.reason.contains("within 1 s"), "{error}");
}

#[tokio::test]
async fn other_server_is_not_etcd() {
    let web = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = web.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = web.accept().await {
            let mut request = [0; 24];
            stream.read_exact(&mut request).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            // Without this, the unread rest of the request resets the connection.
            let _ = stream.read_to_end(&mut vec![]).await;
        }
    });
    let error = error_of(config("demo", &[address])).await;
    assert_eq!(error.kind, EtcdErrorKind::NotEtcd, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_records_are_refused_with_their_key() {
    let etcd = Etcd::start().await;
    for (cluster, key, value) in [
        ("a", "meta", "{}"),
        ("b", "log/0000000000000001/0000000000000001", "garbage"),
        (
            "c",
            "snapshot",
            r#"{"etcd_revision":1,"parts":[],"generations":{},"x":1}"#,
        ),
    ] {
        drop(etcd.open(cluster).await);
        etcd.etcdctl(&["put", &format!("/cfgsync/{cluster}/{key}"), value]);
        let error = error_of(etcd.config(cluster)).await;
        assert_eq!(error.kind, EtcdErrorKind::Malformed);
        assert!(error.reason.contains(key), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_a_newer_format_or_another_etcd_are_refused() {
    let etcd = Etcd::start().await;
    let instance = etcd.open("demo").await.instance();
    let meta = etcd.etcdctl(&["get", "--print-value-only", "/cfgsync/demo/meta"]);
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    assert_eq!(meta["instance"], instance.to_string());
    for (field, value, kind, expected) in [
        ("format", 2, EtcdErrorKind::Malformed, "format 2"),
        (
            "etcd_cluster",
            7,
            EtcdErrorKind::Replaced,
            "another etcd cluster",
        ),
    ] {
        let mut changed = meta.clone();
        changed[field] = value.into();
        etcd.etcdctl(&["put", "/cfgsync/demo/meta", &changed.to_string()]);
        let error = error_of(etcd.config("demo")).await;
        assert_eq!(error.kind, kind);
        assert!(error.reason.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_needs_the_right_password_and_access_to_the_prefix() {
    let etcd = Etcd::start().await;
    let user = |password: &str| EtcdConfig {
        user: Some(("node".to_owned(), password.into())),
        ..etcd.config("demo")
    };
    let error = error_of(user("secret")).await;
    assert_eq!(error.kind, EtcdErrorKind::NotPermitted);
    assert!(error.reason.contains("auth enable"), "{error}");

    etcd.etcdctl(&["user", "add", "root:root"]);
    etcd.etcdctl(&["user", "grant-role", "root", "root"]);
    etcd.etcdctl(&["user", "add", "node:secret"]);
    etcd.etcdctl(&["role", "add", "cfgsync"]);
    etcd.etcdctl(&["user", "grant-role", "node", "cfgsync"]);
    etcd.etcdctl(&["auth", "enable"]);
    for config in [etcd.config("demo"), user("wrong"), user("secret")] {
        let error = error_of(config).await;
        assert_eq!(error.kind, EtcdErrorKind::NotPermitted, "{error}");
    }
    let grant = [
        "--user",
        "root:root",
        "role",
        "grant-permission",
        "--prefix=true",
    ];
    let grant = [&grant[..], &["cfgsync", "readwrite", "/cfgsync/"]].concat();
    etcd.etcdctl(&grant);
    let store = EtcdStore::open(user("secret")).await.unwrap();
    let node = cfgsync_model::NodeRegistration::new("a", [10, 0, 0, 1]).unwrap();
    let registered = vec![cfgsync_store::Change::register(node)];
    assert!(store.apply(registered).await.unwrap().is_changed());
}

/// Writes a certificate authority, and a certificate of `host` that it has signed.
fn write_certificates(directory: &Path, host: IpAddr) -> [PathBuf; 3] {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![host.to_string()]).unwrap();
    // etcd uses it as a client's certificate too.
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "node");
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| directory.join(name));
    for (file, text) in files
        .iter()
        .zip([authority.pem(), certificate.pem(), key.serialize_pem()])
    {
        std::fs::write(file, text).unwrap();
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_needs_the_authority_and_the_certificate_of_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let host = own_host();
    let [authority, certificate, key] = write_certificates(directory.path(), host);
    let text = |path: &Path| path.display().to_string();
    let etcd =
        Etcd::start_with_tls(host, &text(&authority), &text(&certificate), &text(&key)).await;
    let trusted = EtcdConfig {
        authorities: Some(authority),
        identity: Some((certificate, key)),
        ..etcd.config("demo")
    };
    EtcdStore::open(trusted.clone()).await.unwrap();
    for (config, kind) in [
        (
            EtcdConfig {
                authorities: None,
                ..trusted.clone()
            },
            EtcdErrorKind::NotTrusted,
        ),
        (
            EtcdConfig {
                identity: None,
                ..trusted.clone()
            },
            EtcdErrorKind::NotTrusted,
        ),
        (
            EtcdConfig {
                authorities: Some("missing.pem".into()),
                ..trusted.clone()
            },
            EtcdErrorKind::NotTrusted,
        ),
    ] {
        let error = error_of(config).await;
        assert_eq!(error.kind, kind, "{error}");
    }
}
