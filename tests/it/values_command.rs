//! `cfgsync values`: the commands of operators against a server.

use std::{io::Write as _, process::Stdio};

use crate::sandbox::{Sandbox, code, text};

/// A sandbox with a server, and the results of commands.
struct Values {
    sandbox: Sandbox,
    server: crate::sandbox::Server,
}

impl Values {
    fn start() -> Self {
        Self::serve(&[])
    }

    /// Starts the server with these arguments.
    fn serve(arguments: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let server = sandbox.serve(arguments);
        Self { sandbox, server }
    }

    /// Runs `cfgsync values`. Returns the exit code, standard output and standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_with(arguments, None)
    }

    fn run_with(&self, arguments: &[&str], stdin: Option<&[u8]>) -> (i32, String, String) {
        let all = [&["values"], arguments, &["--server", &self.server.url]].concat();
        let mut command = self.sandbox.command(&all);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if stdin.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        if let Some(bytes) = stdin {
            child.stdin.take().unwrap().write_all(bytes).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        (code(&output), text(&output.stdout), text(&output.stderr))
    }

    /// Runs a command that must succeed, and returns its standard output.
    fn ok(&self, arguments: &[&str]) -> String {
        let (exit, stdout, stderr) = self.run(arguments);
        assert_eq!(exit, 0, "{arguments:?}: {stderr}");
        stdout
    }

    fn set(&self, arguments: &[&str]) {
        self.ok(&[&["set"], arguments].concat());
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let all = [arguments, &["-o", "json"]].concat();
        serde_json::from_str(&self.ok(&all)).unwrap()
    }
}

#[test]
fn value_is_printed_byte_for_byte() {
    let values = Values::start();
    values.set(&["prod/app/timeout", "30"]);
    assert_eq!(values.ok(&["get", "prod/app/timeout"]), "30");

    values.set(&["prod/offset", "-5"]);
    assert_eq!(values.ok(&["get", "prod/offset"]), "-5");

    let content = b"{\"a\":\n 1}\n";
    let (exit, _, log) = values.run_with(&["set", "prod/limits", "-"], Some(content));
    assert_eq!(exit, 0, "{log}");
    assert!(log.contains("set prod/limits to version 1"), "{log}");
    assert_eq!(values.ok(&["get", "prod/limits"]).as_bytes(), content);

    values.sandbox.put("motd.txt", "a: \"b\n");
    values.set(&["prod/motd", "--codec", "text", "--from", "motd.txt"]);
    assert_eq!(values.ok(&["get", "prod/motd"]), "a: \"b\n");

    let json = values.json(&["get", "prod/limits"]);
    assert_eq!(json["value"], serde_json::json!({ "a": 1 }));
    assert_eq!(
        (&json["version"], &json["codec"]),
        (&1.into(), &"json".into())
    );
    let yaml = values.ok(&["get", "prod/motd", "-o", "yaml"]);
    assert!(yaml.contains("codec: text"), "{yaml}");

    values.set(&["prod/blob", "--codec", "client:x", "{"]);
    assert_eq!(values.json(&["get", "prod/blob"])["base64"], "ew==");
}

#[test]
fn conditions_decide_whether_a_value_is_set() {
    let values = Values::start();
    let (exit, _, log) = values.run(&["set", "prod/a", "1", "--update"]);
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("the namespace prod has no values"), "{log}");
    values.set(&["prod/a", "1", "--create"]);
    let (exit, _, log) = values.run(&["set", "prod/a", "2", "--create"]);
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("leave --create out"), "{log}");
    values.set(&["prod/a", "2", "--if-version", "1"]);
    let (exit, _, log) = values.run(&["set", "prod/a", "3", "--if-version", "1"]);
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("a has version 2, not the required version"),
        "{log}"
    );
    let (exit, _, log) = values.run(&["rm", "prod/a", "--if-version", "1"]);
    assert_eq!(exit, 77, "{log}");
    values.ok(&["rm", "prod/a", "--if-version", "2"]);
    assert_eq!(values.run(&["get", "prod/a"]).0, 3);
    let (exit, _, log) = values.run(&["rm", "prod/a"]);
    assert_eq!(exit, 77, "{log}");
    // The history stays.
    assert_eq!(values.ok(&["get", "prod/a", "2"]), "2");

    let (exit, _, log) = values.run(&["set", "prod/a", "{", "--codec", "yaml"]);
    assert_eq!(exit, 77, "{log}");
    assert!(
        !log.contains("--codec text"),
        "a hint for another failure: {log}"
    );
    let (exit, _, log) = values.run(&["set", "prod/a", "not JSON"]);
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("with --codec text, the content is the text itself"),
        "{log}"
    );
    values.set(&["prod/b", "1", "--ttl", "1h"]);
    assert!(values.json(&["get", "prod/b"])["expires_at"].is_string());
    for ttl in ["0s", "1500ms"] {
        assert_eq!(
            values.run(&["set", "prod/b", "1", "--ttl", ttl]).0,
            2,
            "{ttl}"
        );
    }
}

#[test]
fn missing_value_is_answered_with_the_nearest_name() {
    let values = Values::start();
    values.set(&["production/app/timeout", "30"]);
    for (address, expected) in [
        (
            "production/app/timeot",
            "app/timeot has no value in the namespace production; did you mean `app/timeout`?",
        ),
        (
            "prodution/app/timeout",
            "help: the namespace prodution has no values; did you mean `production`?",
        ),
        (
            "production/x",
            "help: `cfgsync values ls production` lists the values",
        ),
    ] {
        for command in ["get", "history", "diff"] {
            let (exit, stdout, log) = values.run(&[command, address]);
            assert_eq!((exit, &*stdout), (3, ""), "{log}");
            assert!(log.contains(expected), "{log}");
        }
        let (exit, _, log) = values.run(&["rm", address]);
        assert_eq!(exit, 77, "{log}");
        assert!(log.contains(expected), "{log}");
    }
    for arguments in [
        &["ls", "prodution"][..],
        &["ls", "prodution", "-o", "json"],
        &["export", "prodution"],
    ] {
        let (exit, _, log) = values.run(arguments);
        assert_eq!(exit, 0, "{log}");
        let warning = "the namespace prodution has no values; did you mean `production`?";
        assert!(log.contains(warning), "{log}");
    }
    for (address, expected) in [
        (
            "production",
            "must be NAMESPACE/KEY, such as production/app/timeout",
        ),
        ("production/", "a key must not be empty"),
        ("/app", "a namespace must not be empty"),
        ("a b/c", "namespace \"a b\" contains ' '"),
    ] {
        let (exit, _, log) = values.run(&["get", address]);
        assert_eq!(exit, 2, "{log}");
        assert!(log.contains(expected), "{log}");
    }
}

#[test]
fn secrets_are_shown_only_with_reveal() {
    let values = Values::start();
    let (exit, _, log) = values.run(&["set", "prod/password", "hunter2", "--secret"]);
    assert_eq!(exit, 2, "{log}");
    assert!(log.contains("visible on the command line"), "{log}");
    let set = ["set", "prod/password", "--secret", "--codec", "text", "-"];
    assert_eq!(values.run_with(&set, Some(b"hunter2")).0, 0);
    assert_eq!(values.run_with(&set, Some(b"hunter3")).0, 0);

    let (exit, stdout, log) = values.run(&["get", "prod/password"]);
    assert_eq!((exit, &*stdout), (3, ""));
    assert!(
        log.contains("prod/password is a secret; add --reveal"),
        "{log}"
    );
    for arguments in [
        &["get", "prod/password", "-o", "json"][..],
        &["ls", "prod"],
        &["ls", "prod", "-o", "yaml"],
        &["history", "prod/password"],
        &["history", "prod/password", "-o", "json"],
        &["diff", "prod/password"],
    ] {
        let (_, stdout, log) = values.run(arguments);
        assert!(
            !stdout.contains("hunter") && !log.contains("hunter"),
            "{stdout}{log}"
        );
        // `hunter` as base64
        assert!(!stdout.contains("aHVudGVy"), "{stdout}");
    }
    assert!(values.ok(&["ls", "prod"]).contains("(secret)"));
    assert_eq!(values.ok(&["get", "prod/password", "--reveal"]), "hunter3");
    assert_eq!(
        values.ok(&["get", "prod/password", "1", "--reveal"]),
        "hunter2"
    );
    let (exit, stdout, _) = values.run(&["diff", "prod/password", "--reveal"]);
    assert_eq!(exit, 3);
    assert!(stdout.contains("-hunter2"), "{stdout}");
}

#[test]
fn lists_and_differences_are_for_people_and_scripts() {
    let values = Values::start();
    for key in ["app/b", "app/a", "db/c"] {
        values.set(&[&format!("prod/{key}"), "1"]);
    }
    values.set(&["stage/x", "1"]);
    assert_eq!(values.ok(&["ls"]), "NAMESPACE\nprod\nstage\n");
    let table = values.ok(&["ls", "prod/app/"]);
    let keys: Vec<&str> = table
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(keys, ["KEY", "app/a", "app/b"]);
    let json = values.json(&["ls", "prod"]);
    assert_eq!(json.as_array().unwrap().len(), 3);

    let (exit, _, log) = values.run(&["diff", "prod/app/a"]);
    assert_eq!(exit, 3);
    assert!(log.contains("has one version only"), "{log}");
    values.set(&["prod/app/a", "1"]);
    assert_eq!(values.ok(&["diff", "prod/app/a"]), "");
    values.set(&["prod/app/a", "2"]);
    let (exit, diff, _) = values.run(&["diff", "prod/app/a"]);
    let expected = "--- prod/app/a (version 2)\n+++ prod/app/a (version 3)\n@@ -1 +1 @@\n-1\n\\ No newline at end of \
                    file\n+2\n\\ No newline at end of file\n";
    assert_eq!((exit, &*diff), (3, expected));
    assert_eq!(values.run(&["diff", "prod/app/a", "1"]).0, 3);
    assert_eq!(values.run(&["diff", "prod/app/a", "1", "2"]).0, 0);
    let (exit, _, log) = values.run(&["diff", "prod/app/a", "1", "9"]);
    assert_eq!(exit, 3, "{log}");
    assert!(
        log.contains("help: `cfgsync values history prod/app/a` lists"),
        "{log}"
    );
    let history = values.ok(&["history", "prod/app/a"]);
    let versions: Vec<&str> = history
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(versions, ["VERSION", "3", "2", "1"]);
}

#[test]
fn long_list_comes_in_several_pages() {
    let values = Values::start();
    let entries: Vec<String> = (0..101).map(|at| format!("v{at:03}")).collect();
    for entry in &entries {
        let body = r#"{"value":"MQ=="}"#;
        let (path, length) = (format!("/v1/namespaces/prod/keys/{entry}"), body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        assert!(values.server.send(&request).contains(" 200 "));
    }
    let json = values.json(&["ls", "prod"]);
    assert_eq!(json.as_array().unwrap().len(), 101);
    assert_eq!(json[100]["key"], "v100");
}

#[test]
fn alias_is_a_second_name() {
    let values = Values::start();
    values.set(&["prod/app/timeout", "30"]);
    values.ok(&["alias", "set", "timeout", "app/timeout"]);
    assert_eq!(values.ok(&["get", "prod/timeout"]), "30");
    let (exit, _, log) = values.run(&["alias", "set", "timeout", "other"]);
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("timeout is an alias already"), "{log}");
    assert!(log.contains("help: choose another name"), "{log}");
    let json = values.json(&["alias", "ls"]);
    assert_eq!(json[0]["target"], "app/timeout");
    let table = values.ok(&["alias", "ls"]);
    assert!(
        table.starts_with("ALIAS    KEY          SET\ntimeout  app/timeout  "),
        "{table}"
    );
    values.ok(&["alias", "rm", "timeout"]);
    let (exit, _, log) = values.run(&["alias", "rm", "timeout"]);
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("help: `cfgsync values alias ls` lists"),
        "{log}"
    );
    assert_eq!(values.run(&["get", "prod/timeout"]).0, 3);
}

/// An export describes the namespace completely, so importing it again changes nothing.
#[test]
fn export_and_import_changes_nothing() {
    let values = Values::start();
    values.set(&["prod/app/timeout", "30"]);
    values.set(&["prod/app/limits", r#"{ "max": 5, "a": [1.0, null, "on"] }"#]);
    values.set(&["prod/app/motd", "--codec", "text", "a: b\n\n  c\n"]);
    values.set(&["prod/app/toml", "--codec", "toml", "a = 1\n"]);
    values.set(&["prod/maintenance", "true", "--ttl", "1h"]);
    let secret = [
        "set",
        "prod/db/password",
        "--secret",
        "--codec",
        "text",
        "-",
    ];
    assert_eq!(values.run_with(&secret, Some(b"hunter2")).0, 0);
    let bytes = ["set", "prod/blob", "--codec", "client:x", "-"];
    assert_eq!(values.run_with(&bytes, Some(b"\xff\x00")).0, 0);
    let before = values.json(&["ls", "prod", "--reveal"]);

    values.ok(&["export", "prod", "hidden.yaml"]);
    values.ok(&["export", "prod", "all.yaml", "--reveal"]);
    let hidden = values.sandbox.read("hidden.yaml");
    assert_eq!(values.ok(&["export", "prod"]), hidden);
    assert!(!hidden.contains("hunter2"), "{hidden}");
    assert!(values.sandbox.read("all.yaml").contains("hunter2"));
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = values.sandbox.path().join(name);
        path.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("hidden.yaml"), mode("all.yaml")), (0o644, 0o600));

    for file in ["hidden.yaml", "all.yaml"] {
        assert_eq!(values.ok(&["import", file, "--prune", "--dry-run"]), "");
        values.ok(&["import", file, "--prune"]);
    }
    assert_eq!(values.json(&["ls", "prod", "--reveal"]), before);

    // A copy in another namespace has the same contents.
    values.ok(&["import", "all.yaml", "--into", "copy"]);
    let copy = values.ok(&["export", "copy", "--reveal"]);
    let expected = values
        .sandbox
        .read("all.yaml")
        .replace("namespace: prod", "namespace: copy");
    assert_eq!(copy, expected);
    let (exit, _, log) = values.run(&["import", "hidden.yaml", "--into", "other"]);
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("db/password: it has no content"), "{log}");
    assert!(log.contains("export the file with --reveal"), "{log}");
    assert_eq!(
        values.ok(&["export", "other"]),
        "namespace: other\nvalues: {}\n"
    );
}

#[test]
fn import_is_made_completely_or_not_at_all() {
    let values = Values::start();
    values.set(&["prod/a", "{\"x\":1}"]);
    values.set(&["prod/gone", "1"]);
    let secret = ["set", "prod/secret", "--secret", "-"];
    assert_eq!(values.run_with(&secret, Some(b"1")).0, 0);
    let file = "namespace: prod\nvalues:\n  a: { x: 2 }\n  b: !value { codec: text, text: \"hello\\n\" }\n  secret: \
                !value { secret: true, text: \"2\" }\n";
    values.sandbox.put("prod.yaml", file);
    let (exit, diff, _) = values.run(&["import", "prod.yaml", "--dry-run", "--prune"]);
    let expected = "\
--- prod/a
+++ prod/a
@@ -1,3 +1,3 @@
 {
-  \"x\": 1
+  \"x\": 2
 }
--- /dev/null
+++ prod/b
@@ -0,0 +1 @@
+hello
secret prod/secret: update
--- prod/gone
+++ /dev/null
@@ -1 +0,0 @@
-1
";
    assert_eq!((exit, &*diff), (3, expected));
    let (exit, json, _) = values.run(&["import", "prod.yaml", "--dry-run", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(exit, 3);
    let expected = serde_json::json!([
        { "key": "a", "change": "update" },
        { "key": "b", "change": "create" },
        { "key": "secret", "change": "update" },
    ]);
    assert_eq!(
        (&json["changes"], &json["dryRun"]),
        (&expected, &true.into())
    );
    assert_eq!(values.ok(&["get", "prod/a"]), "{\"x\":1}");

    let (exit, _, log) = values.run(&["import", "prod.yaml", "--prune"]);
    assert_eq!(exit, 0, "{log}");
    let summary = "imported prod: 1 value created, 2 updated, 1 deleted, 0 unchanged";
    assert!(log.contains(summary), "{log}");
    assert_eq!(values.ok(&["get", "prod/secret", "--reveal"]), "2");
    assert_eq!(values.run(&["get", "prod/gone"]).0, 3);

    let wrong =
        file.replace("{ x: 2 }", "3").replace("hello", "bye") + "  c: !value { text: '{' }\n";
    values.sandbox.put("prod.yaml", &wrong);
    let (exit, _, log) = values.run(&["import", "prod.yaml"]);
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("c: the value is not JSON"), "{log}");
    assert!(log.contains("help: nothing was changed"), "{log}");
    assert_eq!(values.ok(&["get", "prod/b"]), "hello\n");

    values.sandbox.put("prod.yaml", "values: { a: 1 }\n");
    let (exit, _, log) = values.run(&["import", "prod.yaml"]);
    assert_eq!(exit, 78, "{log}");
    assert!(log.contains("prod.yaml: it names no namespace"), "{log}");
    values.sandbox.put("prod.yaml", "valus: { a: 1 }\n");
    let (exit, _, log) = values.run(&["import", "prod.yaml"]);
    assert_eq!(exit, 78, "{log}");
    assert!(
        log.contains("prod.yaml: unknown field `valus`; did you mean `values`?"),
        "{log}"
    );
    let (exit, _, log) = values.run(&["export", "prod", "missing/prod.yaml"]);
    assert_eq!(exit, 73, "{log}");
}

#[test]
fn flags_limit_the_values_of_a_server() {
    let limits = [
        "--values-max",
        "2",
        "--values-total-max",
        "2KiB",
        "--value-history-max",
        "2",
    ];
    let values = Values::serve(&[&limits[..], &["--page-default", "1"]].concat());
    for content in ["1", "2", "3"] {
        values.set(&["prod/a", content]);
    }
    let versions = values.json(&["history", "prod/a"]);
    let versions: Vec<_> = versions
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["version"])
        .collect();
    assert_eq!(versions, [3, 2]);
    let list = "GET /v1/namespaces/prod/keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    values.set(&["prod/b", "1"]);
    let reply = values.server.send(list);
    assert!(
        reply.contains("\"key\":\"a\"") && !reply.contains("\"key\":\"b\""),
        "{reply}"
    );
    assert_eq!(values.json(&["ls", "prod"]).as_array().unwrap().len(), 2);

    let metrics = list.replace("/v1/namespaces/prod/keys", "/metrics");
    let reply = values.server.send(&metrics);
    assert!(reply.contains("\ncfgsync_values 2\n"), "{reply}");
    let bytes = 3 * (256 + 1);
    assert!(
        reply.contains(&format!("\ncfgsync_values_bytes {bytes}\n")),
        "{reply}"
    );

    let (exit, _, log) = values.run(&["set", "prod/c", "1"]);
    assert_eq!(exit, 1, "{log}");
    assert!(log.contains("or raise serve --values-max"), "{log}");
    let content = format!("\"{}\"", "x".repeat(2000));
    let (exit, _, log) = values.run(&["set", "prod/b", &content]);
    assert_eq!(exit, 1, "{log}");
    assert!(log.contains("or raise serve --values-total-max"), "{log}");
    // The history of a deleted value makes room.
    values.ok(&["rm", "prod/b"]);
    values.set(&["prod/c", "1"]);
}
