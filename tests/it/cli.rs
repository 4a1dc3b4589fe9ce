//! The command line as a shell sees it: exit codes, messages, settings, signals.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::place::{PROGRAM, Place, SPEC, code, text};

/// Names and values for an environment.
type Variables = &'static [(&'static str, &'static str)];

#[test]
fn usage_mistakes() {
    let place = Place::new();
    let cases: &[&[&str]] = &[
        &["srve"],
        &["serve"],
        &["serve", "cluster.yaml", "--lisen", "127.0.0.1:0"],
        &["serve", "cluster.yaml", "--listen", "4400"],
        &["serve", "cluster.yaml", "--hold", "25"],
        &["serve", "cluster.yaml", "--register-body-max", "1kb"],
        &["serve", "cluster.yaml", "--log-level", "loud"],
        &["inspect", "--server", "boot:4400"],
        &["inspect", "--wait", "reddy"],
        &["inspect", "--wait", "ready", "--watch"],
        &["inspect", "node", "../etc"],
        &["inspect", "diff", "0", "1"],
        &["fail", "--reason", ""],
        &["plan", "cluster.yaml", "--nodes", "a", "--fake", "2"],
        &["plan", "cluster.yaml", "--out-dir", "out"],
        &["plan", "cluster.yaml", "--fake", "1000000"],
        &["rm"],
        &["rm", "localhost"],
        &["fail"],
        // What lies within a text is no better than what is no fact at all.
        &[
            "join",
            "--server",
            "http://127.0.0.1:1",
            "--out-dir",
            ".",
            "--meta",
            "a=1",
            "--meta",
            "a.b=2",
        ],
        &["inspect", "file", "node-1", "cookie", "-o", "json"],
        &["inspect", "-o", "table", "file", "node-1", "cookie"],
    ];
    let seen: Vec<String> = cases.iter().map(|case| place.seen(case, &[])).collect();
    for seen in &seen {
        assert!(seen.ends_with("[exit 2]\n"), "{seen}");
    }
    insta::assert_snapshot!(seen.join("\n"));
}

#[test]
fn wrong_settings() {
    let place = Place::new();
    place.put("broken.yaml", "cfgsync: 1\nclutser: x\n");
    let cases: &[(&[&str], Variables)] = &[
        (&["plan", "absent.yaml"], &[]),
        (&["plan", "broken.yaml"], &[]),
        (&["serve", "broken.yaml"], &[]),
        (&["serve", "cluster.yaml", "--listen", "0.0.0.0:0"], &[]),
        (
            &["serve", "cluster.yaml"],
            &[("CFGSYNC_LISTEN", "127.0.0.1:0\n[::]:0")],
        ),
        (&["serve", "cluster.yaml"], &[("CFGSYNC_HISTORY", "0")]),
        (
            &["serve", "cluster.yaml"],
            &[("CFGSYNC_ALLOW_ANONYMOUS", "perhaps")],
        ),
        (&["plan", "cluster.yaml"], &[("CFGSYNC_FAKE", "many")]),
        (
            &["serve", "cluster.yaml", "--state-dir", "broken.yaml"],
            &[],
        ),
        (
            &["join", "--server", "http://127.0.0.1:1", "--out-dir", "."],
            &[("CFGSYNC_META", "a=1\na.b=2")],
        ),
    ];
    let mut seen: Vec<String> = cases
        .iter()
        .map(|(arguments, variables)| place.seen(arguments, variables))
        .collect();
    for settings in [
        "srever: http://boot:4400\n",
        "serve: { histroy: 3 }\n",
        "serve:\n  history: 0\n",
        "serve:\n  history: [1, 2]\n",
        "[]\n",
        "server: [\n",
        "serve: 3\n",
    ] {
        place.put(".config/cfgsync/config.yaml", settings);
        seen.push(format!(
            "{settings}{}",
            place.seen(&["serve", "cluster.yaml"], &[])
        ));
    }
    for seen in &seen {
        assert!(seen.ends_with("[exit 78]\n"), "{seen}");
    }
    insta::assert_snapshot!(seen.join("\n"));
}

/// tokio panics when it has no descriptors left for its first signal handler.
#[test]
fn too_few_descriptors_are_an_error_and_no_panic() {
    let place = Place::new();
    for (descriptors, command) in [
        (6, "serve cluster.yaml"),
        (7, "serve cluster.yaml"),
        (6, "join --out-dir ."),
    ] {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" {command}");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script, PROGRAM])
            .current_dir(place.path());
        let output = shell.env_clear().output().unwrap();
        assert_eq!(code(&output), 1);
        let told = text(&output.stderr);
        assert!(told.contains("Too many open files"), "{told}");
        assert!(!told.contains("panicked"), "{told}");
    }
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let place = Place::new();
    let asked = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut all = vec!["inspect"];
        all.extend(arguments);
        let output = place.run(&all, variables);
        assert_eq!(code(&output), 69);
        text(&output.stderr)
    };
    // Nobody listens on the lowest ports.
    let variable = [("CFGSYNC_SERVER", "http://127.0.0.1:2")];
    let flag = ["--server", "http://127.0.0.1:3"];
    let file = |text: &str| place.put(".config/cfgsync/config.yaml", text);
    file("server: http://127.0.0.1:1\n");
    assert!(asked(&flag, &variable).contains("http://127.0.0.1:3 "));
    assert!(asked(&[], &variable).contains("http://127.0.0.1:2 "));
    assert!(asked(&[], &[]).contains("http://127.0.0.1:1 "));
    assert!(asked(&[], &[("CFGSYNC_SERVER", "")]).contains("http://127.0.0.1:1 "));
    // A subcommand's own section wins over what is said for all; others' are nothing to it.
    file(
        "server: http://127.0.0.1:1\ninspect:\n  server: http://127.0.0.1:4\nrm:\n  server: http://127.0.0.1:5\n",
    );
    assert!(asked(&[], &[]).contains("http://127.0.0.1:4 "));
    // A variable is wrong only where it is used.
    let wrong = [("CFGSYNC_SERVER", "nowhere")];
    assert!(asked(&flag, &wrong).contains("http://127.0.0.1:3 "));
}

#[test]
fn flags_of_two_values_can_be_set_everywhere() {
    let place = Place::new();
    place.put(
        ".config/cfgsync/config.yaml",
        "serve:\n  allow-anonymous: true\n",
    );
    let exposed = [
        "serve",
        "cluster.yaml",
        "--listen",
        "0.0.0.0:0",
        "--",
        "true",
    ];
    assert_eq!(code(&place.run(&exposed, &[])), 0);
    let off = [("CFGSYNC_ALLOW_ANONYMOUS", "no")];
    assert_eq!(code(&place.run(&exposed, &off)), 78);
}

#[test]
fn unknown_variables_are_told_but_not_those_of_kubernetes() {
    let place = Place::new();
    let variables = [
        ("CFGSYNC_SERVRE", "x"),
        ("CFGSYNC_SOMETHING_ELSE", "x"),
        ("CFGSYNC_PORT", "tcp://10.0.0.1:4400"),
        ("CFGSYNC_PORT_4400_TCP_ADDR", "10.0.0.1"),
        ("CFGSYNC_SERVICE_HOST", "10.0.0.1"),
        ("CFGSYNC_SERVER_PORT_4400_TCP", "tcp://10.0.0.1:4400"),
        ("CFGSYNC_SERVER_SERVICE_PORT_HTTP", "4400"),
    ];
    let output = place.run(&["plan", "cluster.yaml"], &variables);
    let warnings: Vec<String> = text(&output.stderr)
        .lines()
        .map(|line| line.split_once("WARN ").unwrap().1.to_owned())
        .collect();
    assert_eq!(
        warnings,
        [
            "unknown variable CFGSYNC_SERVRE; did you mean CFGSYNC_SERVER?",
            "unknown variable CFGSYNC_SOMETHING_ELSE is ignored",
        ]
    );
}

#[test]
fn every_subcommand_has_help_with_examples() {
    let place = Place::new();
    for subcommand in [
        "serve", "join", "inspect", "plan", "rm", "fail", "reset", "key",
    ] {
        let output = place.run(&[subcommand, "--help"], &[]);
        assert_eq!(code(&output), 0, "{subcommand}");
        let help = text(&output.stdout);
        assert!(help.contains("Example"), "{subcommand}:\n{help}");
        assert!(help.contains("[env: CFGSYNC_"), "{subcommand}:\n{help}");
    }
    let output = place.run(&["--help"], &[]);
    assert!(!text(&output.stdout).contains("generate"));
}

#[test]
fn nothing_is_coloured_but_on_a_terminal() {
    let place = Place::new();
    for arguments in [&["serve"][..], &["plan", "absent.yaml"], &["--help"]] {
        let output = place.run(arguments, &[("CFGSYNC_FKE", "x")]);
        for stream in [output.stdout, output.stderr] {
            assert!(!stream.contains(&0x1b), "{arguments:?}");
        }
    }
}

#[test]
fn a_port_in_use_is_told_with_a_way_out() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let seen = place.seen(&["serve", "cluster.yaml", "--listen", &address], &[]);
    insta::assert_snapshot!(seen.replace(&address, "[ADDRESS]"));
}

#[test]
fn a_server_lives_as_long_as_its_command() {
    let place = Place::new();
    let serve = |command: &[&str]| {
        let mut all = vec![
            "serve",
            "cluster.yaml",
            "--listen",
            "127.0.0.1:0",
            "--port-file",
            "port",
            "--",
        ];
        all.extend(command);
        place.run(&all, &[])
    };
    let output = serve(&["sh", "-c", "echo $CFGSYNC_SERVER; exit 7"]);
    assert_eq!(code(&output), 7);
    let port = fs::read_to_string(place.path().join("port")).unwrap();
    assert_eq!(
        text(&output.stdout),
        format!("http://127.0.0.1:{}\n", port.trim_end())
    );
    assert_eq!(code(&serve(&["sh", "-c", "kill -KILL $$"])), 128 + 9);
    assert_eq!(code(&serve(&["./absent"])), 127);
    assert_eq!(code(&serve(&["./cluster.yaml"])), 126);
}

#[test]
fn signals_reach_the_command() {
    let place = Place::new();
    let mut server = place.serve(&["--", "sh", "-c", "echo up >&2; exec sleep 1000"]);
    server.log_until("up");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 143);
}

#[test]
fn sigterm_and_sigint_end_a_server_well() {
    let place = Place::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = place.serve(&[]);
        server.signal(signal);
        server.log_until("stopped after");
        assert_eq!(server.end(), 0);
    }
}

#[test]
fn sighup_keeps_the_last_good_spec() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    place.put("cluster.yaml", "cfgsync: 2\n");
    server.signal(Signal::HUP);
    server.log_until("the last good spec stays in force");
    server.register("node-1");
    place.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    server.signal(Signal::HUP);
    server.log_until("read again");
    let ready = [
        "inspect",
        "--server",
        &server.url,
        "--wait",
        "ready",
        "--timeout",
        "1m",
    ];
    assert_eq!(code(&place.run(&ready, &[])), 0);
    // One that asks for more than is here is good as well, but that is said.
    place.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 3"));
    server.signal(Signal::HUP);
    server.log_until("the new spec is not satisfied (1/3); still serving generation 1");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
}

#[test]
fn inspect_shows_what_a_server_knows() {
    let place = Place::new();
    let server = place.serve(&[]);
    let inspect = |arguments: &[&str]| {
        let mut all = vec!["inspect", "--server", &server.url];
        all.extend(arguments);
        place.run(&all, &[])
    };
    let table = |arguments: &[&str]| {
        let output = inspect(arguments);
        let seen = text(&output.stdout) + &text(&output.stderr);
        format!(
            "$ inspect {}\n{seen}[exit {}]\n",
            arguments.join(" "),
            code(&output)
        )
    };
    let mut seen = vec![table(&[])];
    server.register("node-1");
    seen.push(table(&[]));
    seen.push(table(&["node", "node-1"]));
    seen.push(table(&["node", "node-2"]));
    seen.push(table(&["file", "node-1", "config.yaml"]));
    seen.push(table(&["--wait", "ready", "--timeout", "1ms"]));
    seen.push(table(&["generations"]));
    server.register("node-2");
    seen.push(table(&["--wait", "ready", "--timeout", "1m"]));
    seen.push(table(&["file", "node-1", "/config.yaml"]));
    seen.push(table(&["file", "node-1", "confg.yaml"]));
    seen.push(table(&["diff", "1", "1"]));
    seen.push(table(&["generations", "7"]));
    insta::assert_snapshot!(seen.join("\n").replace(&server.url, "[URL]"));

    let json = inspect(&["-o", "json"]);
    let body: cfgsync_wire::ClusterBody = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(body.registrations.len(), 2);
    let yaml = inspect(&["-o", "yaml"]);
    let same: cfgsync_wire::ClusterBody = serde_yaml::from_slice(&yaml.stdout).unwrap();
    assert_eq!(body, same);

    // A format that is set for all commands is nothing to a file, which is printed as it is.
    let file = [
        "inspect",
        "--server",
        &server.url,
        "file",
        "node-1",
        "config.yaml",
    ];
    let unset = place.run(&file, &[]);
    let output = place.run(&file, &[("CFGSYNC_OUTPUT", "json")]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(output.stdout, unset.stdout);

    // What is shown can be planned with.
    let nodes = place.put("nodes.json", &text(&json.stdout));
    let plan = place.run(
        &["plan", "cluster.yaml", "--nodes", nodes.to_str().unwrap()],
        &[],
    );
    assert_eq!(code(&plan), 0, "{}", text(&plan.stderr));
}

#[test]
fn health_is_zero_or_one() {
    let place = Place::new();
    let server = place.serve(&[]);
    let health = ["inspect", "health", "--server", &server.url];
    assert_eq!(code(&place.run(&health, &[])), 0);
    server.signal(Signal::TERM);
    let url = server.url.clone();
    server.end();
    let health = ["inspect", "health", "--server", &url];
    assert_eq!(code(&place.run(&health, &[])), 1);
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mut inspect = place
        .command(&["inspect", "--server", &server.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(inspect.stdout.take());
    let output = inspect.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, String::new()));
}

#[test]
fn plan_says_what_serve_would_give() {
    let place = Place::new();
    place.put("one.yaml", "- { identifier: a, ip: 10.0.0.1 }\n");
    place.put(
        "two.yaml",
        "- { identifier: a, ip: 10.0.0.1 }\n- { identifier: b, ip: fd00::2, metadata: { port: 7 } }\n",
    );
    place.put(
        "flawed.yaml",
        "- { identifier: a, ip: 10.0.0.1, metadata: { port: high } }\n",
    );
    let mut seen: Vec<String> = [
        &["plan", "cluster.yaml"][..],
        &["plan", "cluster.yaml", "--nodes", "one.yaml"],
        &["plan", "cluster.yaml", "--nodes", "flawed.yaml"],
        &[
            "plan",
            "cluster.yaml",
            "--nodes",
            "two.yaml",
            "--out-dir",
            "out",
        ],
        &[
            "plan",
            "cluster.yaml",
            "--nodes",
            "two.yaml",
            "--diff",
            "out",
        ],
        &["plan", "cluster.yaml", "--fake", "2", "-o", "yaml"],
    ]
    .iter()
    .map(|case| place.seen(case, &[]))
    .collect();
    place.put("out/b/config.yaml", "id: \"b\"\nport: 8\n");
    place.put("out/c/config.yaml", "stale\n");
    seen.push(place.seen(
        &[
            "plan",
            "cluster.yaml",
            "--nodes",
            "two.yaml",
            "--diff",
            "out",
        ],
        &[],
    ));
    insta::assert_snapshot!(seen.join("\n"));
}

#[test]
fn mistakes_in_a_nodes_file() {
    let place = Place::new();
    let seen: Vec<String> = [
        "nodes: []\n",
        "- node-1\n",
        "- { identifier: node-1 }\n",
        "- { identifier: 1, ip: 10.0.0.1 }\n",
        "- { identifier: a/b, ip: 10.0.0.1 }\n",
        "- { identifier: a, ip: 10.0.0.256 }\n",
        "- { identifier: a, ip: 10.0.0.1, metdata: {} }\n",
        "- { identifier: a, ip: 10.0.0.1, seat: -1 }\n",
        "- { identifier: a, ip: 10.0.0.1 }\n- { identifier: a, ip: 10.0.0.2 }\n",
        "- { identifier: a }\n- { identifier: b, ip: 10.0.0.2 }\n- { identifier: c, ip: x }\n",
        "- { identifier: a, ip: 10.0.0.1, metadata: { serial: 18446744073709551616 } }\n",
        "{",
    ]
    .iter()
    .map(|nodes| {
        place.put("nodes.yaml", nodes);
        place.seen(&["plan", "cluster.yaml", "--nodes", "nodes.yaml"], &[])
    })
    .collect();
    for seen in &seen {
        assert!(seen.ends_with("[exit 78]\n"), "{seen}");
    }
    insta::assert_snapshot!(seen.join("\n"));
}

#[test]
fn what_is_generated_is_fresh() {
    let place = Place::new();
    let root = place.path().to_str().unwrap();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    fs::copy(readme, place.path().join("README.md")).unwrap();
    let output = place.run(&["generate", root], &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    for directory in ["completions", "man", "schema"] {
        let list = |root: &Path| {
            let mut names: Vec<_> = fs::read_dir(root.join(directory))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        let committed = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(
            list(place.path()),
            list(committed),
            "{directory}: run `cfgsync generate`"
        );
        for name in list(committed) {
            let file = Path::new(directory).join(name);
            let fresh = fs::read(place.path().join(&file)).unwrap();
            let same = fs::read(committed.join(&file)).unwrap() == fresh;
            assert!(same, "{} is stale: run `cfgsync generate`", file.display());
        }
    }
}

#[test]
fn the_last_line_of_a_failed_join_is_for_the_container_s_reader() {
    let place = Place::new();
    for (arguments, last) in [
        (
            &["join", "--servr", "x"][..],
            "cfgsync: exit 2: unexpected argument '--servr' found",
        ),
        (
            &[
                "join",
                "--server",
                "http://127.0.0.1:2",
                "--id",
                "a",
                "--out-dir",
                "o",
                "--timeout",
                "1ms",
            ],
            "cfgsync: exit 69: ",
        ),
    ] {
        let stderr = text(&place.run(arguments, &[]).stderr);
        assert!(stderr.lines().last().unwrap().starts_with(last), "{stderr}");
    }
    let help = place.run(&["join", "--help"], &[]);
    assert_eq!((code(&help), text(&help.stderr)), (0, String::new()));
}

/// What an operator did to the cluster is the first thing that whoever reads the server's log at night needs.
#[test]
fn what_operators_do_stands_in_the_servers_log() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    server.register("node-1");
    let operate = |arguments: &[&str]| {
        let all = [arguments, &["--server", &server.url]].concat();
        let output = place.run(&all, &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    };
    operate(&["fail", "--reason", "wrong image"]);
    operate(&["reset"]);
    operate(&["rm", "node-1"]);
    server.log_until("an operator declared the cluster failed: wrong image");
    server.log_until("an operator ended the declared failure");
    server.log_until("node-1 was removed");
}
