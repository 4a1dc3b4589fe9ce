//! `cfgsync plan --server`: what a spec would change on a running cluster.

use crate::sandbox::{SPEC, Sandbox, code, text};

#[test]
fn plan_shows_what_a_spec_would_change_on_the_server() {
    let sandbox = Sandbox::new();
    let secret = "      - { path: key, secret: true, template: '{{ once.cookie }}' }\n";
    sandbox.put("cluster.yaml", &format!("{SPEC}{secret}"));
    let server = sandbox.serve(&[]);
    let plan = |spec: &str, more: &[&str]| {
        sandbox.put("next.yaml", spec);
        let first = ["plan", "next.yaml", "--server", &server.url];
        let output = sandbox.run(&[&first, more].concat(), &[]);
        let log = text(&output.stderr);
        (code(&output), text(&output.stdout), log)
    };
    let same = format!("{SPEC}{secret}");

    // One node is missing.
    server.register("node-1");
    let (exit, shown, _) = plan(&same, &[]);
    assert_eq!(exit, 3);
    assert!(shown.contains("would not be ready: 1/2"), "{shown}");
    server.register("node-2");
    let ready = ["inspect", "--wait", "ready", "--server", &server.url];
    assert_eq!(code(&sandbox.run(&ready, &[])), 0);

    // The values of `once` are the server's own, so the same spec changes nothing.
    let (exit, shown, log) = plan(&same, &[]);
    assert_eq!((exit, shown.as_str()), (0, ""), "{log}");
    assert!(
        log.contains("0 files would change; generation 1 is served"),
        "{log}"
    );
    assert!(
        log.contains("not compared, because they are secret"),
        "{log}"
    );

    let changed = same.replace("          port:", "          listen:");
    let (exit, shown, _) = plan(&changed, &[]);
    assert_eq!(exit, 3);
    insta::assert_snapshot!(shown, @r#"
    --- served/node-1/config.yaml
    +++ planned/node-1/config.yaml
    @@ -1,2 +1,2 @@
     id: "node-1"
    -port: 9000
    +listen: 9000
    --- served/node-2/config.yaml
    +++ planned/node-2/config.yaml
    @@ -1,2 +1,2 @@
     id: "node-2"
    -port: 9000
    +listen: 9000
    "#);
    let (_, json, _) = plan(&changed, &["-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ready"], true);
    assert_eq!(json["differences"].as_array().unwrap().len(), 2);
    assert_eq!(
        json["not_compared"],
        serde_json::json!(["node-1/key", "node-2/key"])
    );

    let (exit, shown, _) = plan(&same.replace("nodes: 2", "nodes: 3"), &[]);
    assert_eq!(exit, 3);
    assert!(shown.contains("would not be ready: 2/3"), "{shown}");
    let (exit, _, log) = plan(&same.replace("devnet", "other"), &[]);
    assert_eq!(exit, 78);
    assert!(
        log.contains("the server has devnet and would refuse it"),
        "{log}"
    );
}

#[test]
fn plan_reads_the_values_of_a_file_and_of_the_server() {
    const READING: &str = "cfgsync: 1\ncluster: devnet\nrequires: [production/app/timeout]\nready: { nodes: 1 }\n\
                           materializers:\n  - kind: template\n    files:\n      - path: conf\n        template: |\n          \
                           timeout: {{ value(\"production\", \"app/timeout\") }}\n      - path: key\n        secret: true\n        \
                           template: '{{ value(\"production\", \"key\", default=\"none\") }}'\n";
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", READING);
    let server = sandbox.serve(&[]);
    let run = |arguments: &[&str]| {
        let output = sandbox.run(arguments, &[]);
        (code(&output), text(&output.stdout), text(&output.stderr))
    };
    // Nothing is set.
    let (exit, shown, _) = run(&["plan", "cluster.yaml", "--fake", "1"]);
    let missing = "values that are not set: production/app/timeout";
    assert!(exit == 3 && shown.contains(missing), "{shown}");

    let at = ["--server", server.url.as_str()];
    sandbox.put("key.json", "\"hunter2\"");
    for arguments in [
        &["production/app/timeout", "30"][..],
        &["production/key", "--from", "key.json", "--secret"],
    ] {
        let (exit, _, log) = run(&[&["values", "set"], arguments, &at[..]].concat());
        assert_eq!(exit, 0, "{log}");
    }
    let export = ["values", "export", "production", "values.yaml", "--reveal"];
    let (exit, _, log) = run(&[&export[..], &at[..]].concat());
    assert_eq!(exit, 0, "{log}");
    let plan = ["plan", "cluster.yaml", "--fake", "1"];
    let with_values = ["--values", "values.yaml", "--out-dir", "out"];
    let (exit, _, log) = run(&[&plan[..], &with_values[..]].concat());
    assert_eq!(exit, 0, "{log}");
    let rendered = std::fs::read_to_string(sandbox.path().join("out/node-0/conf")).unwrap();
    assert_eq!(rendered, "timeout: 30\n");

    server.register("node-1");
    let ready = ["inspect", "--wait", "ready"];
    assert_eq!(run(&[&ready[..], &at[..]].concat()).0, 0);
    let (exit, shown, log) = run(&[&["plan", "cluster.yaml"][..], &at[..]].concat());
    assert_eq!((exit, shown.as_str()), (0, ""), "{log}");
}
