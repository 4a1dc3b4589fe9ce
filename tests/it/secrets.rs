//! Secret files: delivered with mode 0600, and shown to nobody else, wherever one looks.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use serde_json::Value;

use crate::place::{Place, Server, code, join, text};

/// Stands in every secret file, and nowhere else.
const PLANTED: &str = "pl4nted-s3cret";

const SPEC: &str = r#"
cfgsync: 1
cluster: devnet
ready: { nodes: 1 }
values: { planted: pl4nted-s3cret }
materializers:
  - kind: template
    files:
      - { path: open, template: "nothing to hide\n" }
      - { path: rendered, secret: true, template: "{{ values.planted }} of {{ node.identifier }}\n" }
      - { path: strict, secret: true, mode: "0400", template: "{{ values.planted }}\n" }
      - { path: read, secret: true, source: key }
      - { path: shared, shared: true, secret: true, template: "{{ values.planted }}\n" }
  - kind: exec
    command: [sh, ./some]
  - kind: exec
    command: [sh, ./all]
    secret: true
"#;

const SOME: &str = r#"
cat <<'END'
{"status": "ready", "nodes": {"node-1": [
    {"path": "made", "content": "pl4nted-s3cret\n", "secret": true},
    {"path": "made-open", "content": "nothing to hide\n"}]}}
END
"#;
const ALL: &str = r#"
echo 'a word on pl4nted-s3cret' >&2
cat <<'END'
{"status": "ready", "shared": [{"path": "made-shared", "content": "pl4nted-s3cret\n"}]}
END
"#;

const SECRET: [&str; 6] = [
    "rendered",
    "strict",
    "read",
    "shared",
    "made",
    "made-shared",
];

fn place() -> Place {
    let place = Place::new();
    place.put("cluster.yaml", SPEC);
    place.put("key", &format!("{PLANTED}\n"));
    place.put("some", SOME);
    place.put("all", ALL);
    place
}

/// What a command says, which must hold nothing that is secret.
fn says(place: &Place, arguments: &[&str], exit: i32) -> String {
    let output = place.run(arguments, &[]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(code(&output), exit, "{arguments:?}: {said}");
    assert!(!said.contains(PLANTED), "{arguments:?}: {said}");
    said
}

fn delivered(place: &Place, server: &Server) -> String {
    let more = [
        "--receipt",
        "receipt.json",
        "-o",
        "json",
        "--log-level",
        "trace",
    ];
    says(
        place,
        &[&join(&server.url, "node-1")[..], &more].concat(),
        0,
    )
}

fn get(place: &Place, server: &Server, path: &str) -> Output {
    let url = format!("{}{path}", server.url);
    Command::new("curl")
        .args(["-sS", "--max-time", "20", &url])
        .current_dir(place.path())
        .output()
        .unwrap()
}

#[test]
fn a_secret_file_is_delivered_to_its_owner_alone() {
    let place = place();
    let server = place.serve(&[]);
    delivered(&place, &server);
    for name in SECRET {
        let path = format!("node-1/{name}");
        assert!(place.read(&path).contains(PLANTED), "{name}");
        let mode = fs::metadata(place.path().join(&path))
            .unwrap()
            .permissions();
        let expected = if name == "strict" { 0o400 } else { 0o600 };
        assert_eq!(mode.mode() & 0o7777, expected, "{name}");
    }
    let open = fs::metadata(place.path().join("node-1/open")).unwrap();
    assert_eq!(open.permissions().mode() & 0o7777, 0o644);
    assert!(!place.read("receipt.json").contains(PLANTED));
    // Whoever asks for it on stdout gets it.
    let output = place.run(
        &[
            "join",
            "--server",
            &server.url,
            "--id",
            "node-1",
            "--out",
            "read=-",
            "--out-dir",
            "x",
        ],
        &[],
    );
    assert_eq!(text(&output.stdout), format!("{PLANTED}\n"));
}

#[test]
fn nothing_that_is_told_holds_a_secret() {
    let place = place();
    let mut server = place.serve(&["--log-level", "trace"]);
    let told = delivered(&place, &server);
    let json: Value = serde_json::from_str(&told[..told.rfind("\n}\n").unwrap() + 2]).unwrap();
    let secret = json["files"].as_array().unwrap().iter();
    let secret = secret.filter(|file| file["secret"] == true).count();
    assert_eq!(secret, SECRET.len());

    let url = server.url.clone();
    let at = ["--server", &url];
    let inspect = |more: &[&str], exit| says(&place, &[&["inspect"], more, &at].concat(), exit);
    inspect(&[], 0);
    inspect(&["-o", "json"], 0);
    let node = inspect(&["node", "node-1"], 0);
    assert_eq!(node.matches(" secret").count(), SECRET.len(), "{node}");
    inspect(&["generations", "1", "-o", "yaml"], 0);
    for name in SECRET {
        let said = inspect(&["file", "node-1", name], 3);
        assert!(
            said.contains("is secret (") && said.contains("--reveal shows it"),
            "{said}"
        );
    }
    assert_eq!(inspect(&["file", "node-1", "open"], 0), "nothing to hide\n");
    let route = "/v1/generations/1/nodes/node-1/payload";
    let hidden = text(&get(&place, &server, route).stdout);
    assert!(!hidden.contains(PLANTED), "{hidden}");
    assert!(hidden.contains("nothing to hide") && hidden.contains("\"withheld\":["));
    for (path, exit) in [
        ("/metrics", false),
        ("/v1/snapshot", false),
        ("/v1/nodes/node-1", false),
    ] {
        let body = text(&get(&place, &server, path).stdout);
        assert_eq!(body.contains(PLANTED), exit, "{path}: {body}");
    }

    // Who asks for it sees it.
    let revealed = text(&get(&place, &server, &format!("{route}?reveal=true")).stdout);
    assert_eq!(revealed.matches(PLANTED).count(), SECRET.len());
    let output = place.run(
        &[
            &["inspect", "file", "node-1", "rendered", "--reveal"],
            &at[..],
        ]
        .concat(),
        &[],
    );
    assert_eq!(text(&output.stdout), format!("{PLANTED} of node-1\n"));

    // Another generation: what changed is told by sums.
    place.put("key", &format!("{PLANTED} renewed\n"));
    server.signal(rustix::process::Signal::HUP);
    server.log_until("generation 2");
    let diff = inspect(&["diff", "1", "2"], 3);
    assert!(
        diff.contains("-secret: mode 0600, 15 bytes, sha256 "),
        "{diff}"
    );
    assert!(
        diff.contains("+secret: mode 0600, 23 bytes, sha256 "),
        "{diff}"
    );
    let output = place.run(
        &[&["inspect", "diff", "1", "2", "--reveal"], &at[..]].concat(),
        &[],
    );
    let shown = text(&output.stdout);
    assert!(shown.contains(&format!("+{PLANTED} renewed")), "{shown}");

    server.signal(rustix::process::Signal::TERM);
    let (_, log) = server.process.end();
    assert!(!log.contains(PLANTED), "{log}");
}

#[test]
fn an_override_of_a_secret_file_is_secret() {
    let place = place();
    let server = place.serve(&[]);
    delivered(&place, &server);
    let body = format!(
        r#"{{"identifier":"node-1","files":[{{"path":"/rendered","content":"{PLANTED} by hand"}},
        {{"path":"new","content":"{PLANTED}","secret":true}},{{"path":"plain","content":"x"}}]}}"#
    );
    let url = format!("{}/node/replace", server.url);
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", &url, "-d", &body])
        .output()
        .unwrap();
    assert!(output.status.success());
    let at = ["--server", &server.url];
    let node = says(
        &place,
        &[&["inspect", "node", "node-1"], &at[..]].concat(),
        0,
    );
    let secret: Vec<&str> = node
        .lines()
        .filter(|line| line.contains("0600 secret"))
        .collect();
    // With the two that all share.
    assert_eq!(secret.len(), 4, "{node}");
    says(
        &place,
        &[&["inspect", "file", "node-1", "rendered"], &at[..]].concat(),
        3,
    );

    let looser = body.replace("\"secret\":true", "\"secret\":true,\"mode\":\"0644\"");
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", &url, "-d", &looser])
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(
        said.contains("gives other users access to a secret file") && !said.contains(PLANTED),
        "{said}"
    );
}

#[test]
fn a_plan_compares_secrets_by_their_sums() {
    let place = place();
    let plan = ["plan", "cluster.yaml", "--fake", "1"];
    let nodes = "- { identifier: node-1, ip: 10.0.0.1 }\n";
    place.put("nodes.yaml", nodes);
    let plan = [&plan[..2], &["--nodes", "nodes.yaml"]].concat();
    let said = says(&place, &[&plan[..], &["--out-dir", "out"]].concat(), 0);
    assert_eq!(said.matches("secret").count(), SECRET.len(), "{said}");
    let mode = |path: &str| {
        let stat = fs::metadata(place.path().join(path)).unwrap();
        stat.permissions().mode() & 0o7777
    };
    assert_eq!(mode("out/node-1/read"), 0o600);
    assert_eq!(mode("out/_shared/made-shared"), 0o600);
    says(&place, &[&plan[..], &["--diff", "out"]].concat(), 0);

    place.put("key", &format!("{PLANTED} renewed\n"));
    place.put(
        "cluster.yaml",
        &SPEC.replace("- { path: strict,", "- { path: other,"),
    );
    let diff = says(&place, &[&plan[..], &["--diff", "out"]].concat(), 3);
    assert!(diff.contains("-secret: 15 bytes, sha256 "), "{diff}");
    assert!(diff.contains("+secret: 23 bytes, sha256 "), "{diff}");
    assert!(
        diff.contains("--- out/node-1/strict\n+++ /dev/null\n-secret: "),
        "{diff}"
    );
}

/// Renders that fail in the middle of something secret.
#[test]
fn what_goes_wrong_with_a_secret_is_told_without_it() {
    let mistakes = [
        "{{ values.planted | int }}",
        "{{ values.planted + 1 }}",
        "{{ values.planted / 2 }}",
        "{{ values.planted.nothing }}",
        "{{ values.planted[values.planted] }}",
        "{{ values[values.planted] }}",
        "{{ values.planted() }}",
        "{{ values.planted.upper(1, 2, 3) }}",
        "{{ values.planted | b64decode }}",
        "{{ values.planted | ordinal | float | tojson(values.planted) }}",
        "{{ hostport(node.ip, values.planted) }}",
        "{{ cidr_host(values.planted, 1) }}",
        "{{ fragment(values.planted) }}",
        "{{ range(values.planted) }}",
        "{{ values.planted | batch(values.planted) }}",
        "{{ values.planted | round }}",
        "{{ values.planted | items }}",
        "{{ [1] | join(values.planted, values.planted, 3) }}",
        "{{ dict(values.planted) }}",
        "{{ -values.planted }}",
        "{{ [values.planted] | sum }}",
        "{% for a, b in [values.planted] %}{% endfor %}",
        "{{ values.planted is divisibleby(values.planted) }}",
        "{{ nodes | map(values.planted) | list }}",
        "{{ nodes | selectattr('identifier', values.planted) | list }}",
        "{{ values.planted ~ undefined_name }}",
    ];
    let mut failed = 0;
    for mistake in mistakes {
        let place = Place::new();
        let spec = format!(
            "cfgsync: 1\ncluster: devnet\nready: {{ nodes: 1 }}\nvalues: {{ planted: {PLANTED} }}\n\
             materializers:\n  - kind: template\n    files:\n      - path: key\n        secret: true\n        \
             template: |\n          {mistake}\n"
        );
        place.put("cluster.yaml", &spec);
        let output = place.run(&["plan", "cluster.yaml", "--fake", "1"], &[]);
        let said = text(&output.stdout) + &text(&output.stderr);
        // A mistake that is found when the spec is read shows the spec's own line, which is not the value.
        assert!(!said.contains(PLANTED), "{mistake}: {said}");
        failed += usize::from(code(&output) != 0);
    }
    assert!(
        failed >= mistakes.len() - 6,
        "{failed} of {}",
        mistakes.len()
    );
}

#[test]
fn a_program_that_fails_with_a_secret_tells_nothing_of_it() {
    for script in [
        "echo pl4nted-s3cret",
        "echo '{\"status\": \"pl4nted-s3cret\"}'",
        "echo '{\"status\": \"not_ready\", \"message\": \"pl4nted-s3cret\"}'",
        "echo '{\"status\": \"ready\", \"shared\": [{\"path\": \"a\", \"content\": [\"pl4nted-s3cret\"]}]}'",
        "echo pl4nted-s3cret >&2; exit 1",
    ] {
        let place = place();
        place.put("all", script);
        place.put("nodes.yaml", "- { identifier: node-1, ip: 10.0.0.1 }\n");
        let output = place.run(&["plan", "cluster.yaml", "--nodes", "nodes.yaml"], &[]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_ne!(code(&output), 0, "{script}: {said}");
        assert!(!said.contains(PLANTED), "{script}: {said}");
    }
}
