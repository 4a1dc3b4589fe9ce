//! Secret files: delivered with mode 0600 to their node, and shown nowhere else.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use serde_json::Value;

use crate::sandbox::{Sandbox, Server, code, join, text};

/// The content of each secret file. It occurs nowhere else.
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
echo 'log line with pl4nted-s3cret' >&2
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

fn sandbox_with_secrets() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", SPEC);
    sandbox.put("key", &format!("{PLANTED}\n"));
    sandbox.put("some", SOME);
    sandbox.put("all", ALL);
    sandbox
}

/// Runs a command and returns its output, which must not contain a secret.
fn run_without_leak(sandbox: &Sandbox, arguments: &[&str], exit: i32) -> String {
    let output = sandbox.run(arguments, &[]);
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(code(&output), exit, "{arguments:?}: {printed}");
    assert!(!printed.contains(PLANTED), "{arguments:?}: {printed}");
    printed
}

fn join_node(sandbox: &Sandbox, server: &Server) -> String {
    let more = [
        "--receipt",
        "receipt.json",
        "-o",
        "json",
        "--log-level",
        "trace",
    ];
    run_without_leak(
        sandbox,
        &[&join(&server.url, "node-1")[..], &more].concat(),
        0,
    )
}

fn get(sandbox: &Sandbox, server: &Server, path: &str) -> Output {
    let url = format!("{}{path}", server.url);
    Command::new("curl")
        .args(["-sS", "--max-time", "20", &url])
        .current_dir(sandbox.path())
        .output()
        .unwrap()
}

#[test]
fn secret_files_are_delivered_with_owner_only_modes() {
    let sandbox = sandbox_with_secrets();
    let server = sandbox.serve(&[]);
    join_node(&sandbox, &server);
    for name in SECRET {
        let path = format!("node-1/{name}");
        assert!(sandbox.read(&path).contains(PLANTED), "{name}");
        let mode = fs::metadata(sandbox.path().join(&path))
            .unwrap()
            .permissions();
        let expected = if name == "strict" { 0o400 } else { 0o600 };
        assert_eq!(mode.mode() & 0o7777, expected, "{name}");
    }
    let open = fs::metadata(sandbox.path().join("node-1/open")).unwrap();
    assert_eq!(open.permissions().mode() & 0o7777, 0o644);
    assert!(!sandbox.read("receipt.json").contains(PLANTED));
    // A route to stdout prints the secret.
    let output = sandbox.run(
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
fn output_routes_and_logs_contain_no_secret() {
    let sandbox = sandbox_with_secrets();
    let mut server = sandbox.serve(&["--log-level", "trace"]);
    let printed = join_node(&sandbox, &server);
    let json: Value =
        serde_json::from_str(&printed[..printed.rfind("\n}\n").unwrap() + 2]).unwrap();
    let secret = json["files"].as_array().unwrap().iter();
    let secret = secret.filter(|file| file["secret"] == true).count();
    assert_eq!(secret, SECRET.len());

    let url = server.url.clone();
    let at = ["--server", &url];
    let inspect =
        |more: &[&str], exit| run_without_leak(&sandbox, &[&["inspect"], more, &at].concat(), exit);
    inspect(&[], 0);
    inspect(&["-o", "json"], 0);
    let node = inspect(&["node", "node-1"], 0);
    assert_eq!(node.matches(" secret").count(), SECRET.len(), "{node}");
    inspect(&["generations", "1", "-o", "yaml"], 0);
    for name in SECRET {
        let printed = inspect(&["file", "node-1", name], 3);
        assert!(
            printed.contains("is secret (") && printed.contains("add --reveal to print it"),
            "{printed}"
        );
    }
    assert_eq!(inspect(&["file", "node-1", "open"], 0), "nothing to hide\n");
    let route = "/v1/generations/1/nodes/node-1/payload";
    let hidden = text(&get(&sandbox, &server, route).stdout);
    assert!(!hidden.contains(PLANTED), "{hidden}");
    assert!(hidden.contains("nothing to hide") && hidden.contains("\"withheld\":["));
    for (path, exit) in [
        ("/metrics", false),
        ("/v1/snapshot", false),
        ("/v1/nodes/node-1", false),
    ] {
        let body = text(&get(&sandbox, &server, path).stdout);
        assert_eq!(body.contains(PLANTED), exit, "{path}: {body}");
    }

    // `reveal` shows the secret.
    let revealed = text(&get(&sandbox, &server, &format!("{route}?reveal=true")).stdout);
    assert_eq!(revealed.matches(PLANTED).count(), SECRET.len());
    let output = sandbox.run(
        &[
            &["inspect", "file", "node-1", "rendered", "--reveal"],
            &at[..],
        ]
        .concat(),
        &[],
    );
    assert_eq!(text(&output.stdout), format!("{PLANTED} of node-1\n"));

    // The diff of another generation shows checksums in place of secret content.
    sandbox.put("key", &format!("{PLANTED} renewed\n"));
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
    let output = sandbox.run(
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
fn override_of_a_secret_file_is_secret() {
    let sandbox = sandbox_with_secrets();
    let server = sandbox.serve(&[]);
    join_node(&sandbox, &server);
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
    let node = run_without_leak(
        &sandbox,
        &[&["inspect", "node", "node-1"], &at[..]].concat(),
        0,
    );
    let secret: Vec<&str> = node
        .lines()
        .filter(|line| line.contains("0600 secret"))
        .collect();
    // Two files of the override and two shared ones.
    assert_eq!(secret.len(), 4, "{node}");
    run_without_leak(
        &sandbox,
        &[&["inspect", "file", "node-1", "rendered"], &at[..]].concat(),
        3,
    );

    let looser = body.replace("\"secret\":true", "\"secret\":true,\"mode\":\"0644\"");
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", &url, "-d", &looser])
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    assert!(
        printed.contains("gives other users access to a secret file") && !printed.contains(PLANTED),
        "{printed}"
    );
}

#[test]
fn plan_compares_secrets_by_checksum() {
    let sandbox = sandbox_with_secrets();
    let plan = ["plan", "cluster.yaml", "--fake", "1"];
    let nodes = "- { identifier: node-1, ip: 10.0.0.1 }\n";
    sandbox.put("nodes.yaml", nodes);
    let plan = [&plan[..2], &["--nodes", "nodes.yaml"]].concat();
    let printed = run_without_leak(&sandbox, &[&plan[..], &["--out-dir", "out"]].concat(), 0);
    assert_eq!(printed.matches("secret").count(), SECRET.len(), "{printed}");
    let mode = |path: &str| {
        let stat = fs::metadata(sandbox.path().join(path)).unwrap();
        stat.permissions().mode() & 0o7777
    };
    assert_eq!(mode("out/node-1/read"), 0o600);
    assert_eq!(mode("out/_shared/made-shared"), 0o600);
    run_without_leak(&sandbox, &[&plan[..], &["--diff", "out"]].concat(), 0);

    sandbox.put("key", &format!("{PLANTED} renewed\n"));
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("- { path: strict,", "- { path: other,"),
    );
    let diff = run_without_leak(&sandbox, &[&plan[..], &["--diff", "out"]].concat(), 3);
    assert!(diff.contains("-secret: 15 bytes, sha256 "), "{diff}");
    assert!(diff.contains("+secret: 23 bytes, sha256 "), "{diff}");
    assert!(
        diff.contains("--- out/node-1/strict\n+++ /dev/null\n-secret: "),
        "{diff}"
    );
}

/// Templates that fail while they process a secret value.
#[test]
fn template_errors_do_not_contain_the_secret() {
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
        let sandbox = Sandbox::new();
        let spec = format!(
            "cfgsync: 1\ncluster: devnet\nready: {{ nodes: 1 }}\nvalues: {{ planted: {PLANTED} }}\n\
             materializers:\n  - kind: template\n    files:\n      - path: key\n        secret: true\n        \
             template: |\n          {mistake}\n"
        );
        sandbox.put("cluster.yaml", &spec);
        let output = sandbox.run(&["plan", "cluster.yaml", "--fake", "1"], &[]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        // An error found while the spec is read quotes the spec's line, which does not contain the value.
        assert!(!printed.contains(PLANTED), "{mistake}: {printed}");
        failed += usize::from(code(&output) != 0);
    }
    assert!(
        failed >= mistakes.len() - 6,
        "{failed} of {}",
        mistakes.len()
    );
}

#[test]
fn exec_errors_do_not_contain_the_secret() {
    for script in [
        "echo pl4nted-s3cret",
        "echo '{\"status\": \"pl4nted-s3cret\"}'",
        "echo '{\"status\": \"not_ready\", \"message\": \"pl4nted-s3cret\"}'",
        "echo '{\"status\": \"ready\", \"shared\": [{\"path\": \"a\", \"content\": [\"pl4nted-s3cret\"]}]}'",
        "echo pl4nted-s3cret >&2; exit 1",
    ] {
        let sandbox = sandbox_with_secrets();
        sandbox.put("all", script);
        sandbox.put("nodes.yaml", "- { identifier: node-1, ip: 10.0.0.1 }\n");
        let output = sandbox.run(&["plan", "cluster.yaml", "--nodes", "nodes.yaml"], &[]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_ne!(code(&output), 0, "{script}: {printed}");
        assert!(!printed.contains(PLANTED), "{script}: {printed}");
    }
}
