//! The command line: exit codes, messages, settings, signals.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use cfgsync_support::clock::Timestamp;
use rustix::process::Signal;

use crate::sandbox::{PROGRAM, SPEC, Sandbox, code, text};

/// Names and values of environment variables.
type Variables = &'static [(&'static str, &'static str)];

#[test]
fn usage_errors_exit_2() {
    let sandbox = Sandbox::new();
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
        &["inspect", "--only", "waiting", "generations"],
        &["inspect", "--name", "a b"],
        &["inspect", "node", "../etc"],
        &["inspect", "diff", "0", "1"],
        &["fail", "--reason", ""],
        &["plan", "cluster.yaml", "--nodes", "a", "--fake", "2"],
        &["plan", "cluster.yaml", "--out-dir", "out"],
        &["plan", "cluster.yaml", "--fake", "1000000"],
        &["rm"],
        &["rm", "localhost"],
        &["fail"],
        // `a` is a string, so `a.b` cannot be set inside it.
        &[
            "join",
            "--server",
            "http://127.0.0.1:1",
            "--id",
            "node-1",
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
    let transcripts: Vec<String> = cases
        .iter()
        .map(|case| sandbox.transcript(case, &[]))
        .collect();
    for transcript in &transcripts {
        assert!(transcript.ends_with("[exit 2]\n"), "{transcript}");
    }
    insta::assert_snapshot!(transcripts.join("\n"));
}

#[test]
fn refused_join_says_what_to_change() {
    let sandbox = Sandbox::new();
    let join = |url: &str, id: &str| {
        let ip = "10.0.0.1";
        let output = sandbox.run(
            &["join", url, "--id", id, "--ip", ip, "--out-dir", "out"],
            &[],
        );
        (code(&output), text(&output.stderr))
    };
    let listed = SPEC.replace("nodes: 2", "nodes: [node-1]");
    sandbox.put("cluster.yaml", &listed);
    let server = sandbox.serve(&[]);
    let (exit, log) = join(&server.url, "node-2");
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("\nhelp: correct --id; or add the node to the spec"),
        "{log}"
    );

    let late = SPEC.replace("nodes: 2", "nodes: 1") + "late: refuse\n";
    sandbox.put("cluster.yaml", &late);
    let server = sandbox.serve(&[]);
    let (exit, log) = join(&server.url, "node-1");
    assert_eq!(exit, 0, "{log}");
    let (exit, log) = join(&server.url, "node-2");
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("\nhelp: if this machine is one of the sealed nodes"),
        "{log}"
    );
}

#[test]
fn last_line_counts_the_mistakes_that_are_not_shown() {
    let sandbox = Sandbox::new();
    for (count, end) in [(21, "and 20 more mistakes"), (30, "and 29 more mistakes")] {
        let mut spec =
            "cfgsync: 1\ncluster: c\nready: { nodes: 1 }\nmaterializers:\n  - kind: template\n    files:\n"
                .to_owned();
        for at in 0..count {
            spec += &format!("      - {{ path: ../{at}, template: x }}\n");
        }
        sandbox.put("cluster.yaml", &spec);
        let output = sandbox.run(&["plan", "cluster.yaml"], &[]);
        let log = text(&output.stderr);
        assert!(log.trim_end().ends_with(end), "{log}");
    }
}

#[test]
fn invalid_settings_exit_78() {
    let sandbox = Sandbox::new();
    sandbox.put("broken.yaml", "cfgsync: 1\nclutser: x\n");
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
            &[
                "join",
                "--server",
                "http://127.0.0.1:1",
                "--id",
                "node-1",
                "--out-dir",
                ".",
            ],
            &[("CFGSYNC_META", "a=1\na.b=2")],
        ),
    ];
    let mut transcripts: Vec<String> = cases
        .iter()
        .map(|(arguments, variables)| sandbox.transcript(arguments, variables))
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
        sandbox.put(".config/cfgsync/config.yaml", settings);
        transcripts.push(format!(
            "{settings}{}",
            sandbox.transcript(&["serve", "cluster.yaml"], &[])
        ));
    }
    for transcript in &transcripts {
        assert!(transcript.ends_with("[exit 78]\n"), "{transcript}");
    }
    insta::assert_snapshot!(transcripts.join("\n"));
}

/// tokio panics if no file descriptor is left for its first signal handler.
#[test]
fn too_few_file_descriptors_is_an_error_without_a_panic() {
    let sandbox = Sandbox::new();
    for (descriptors, command) in [
        (6, "serve cluster.yaml"),
        (7, "serve cluster.yaml"),
        (6, "join --out-dir ."),
    ] {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" {command}");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script, PROGRAM])
            .current_dir(sandbox.path());
        let output = shell.env_clear().output().unwrap();
        assert_eq!(code(&output), 1);
        let stderr = text(&output.stderr);
        assert!(stderr.contains("Too many open files"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn flags_override_variables_override_file_override_defaults() {
    let sandbox = Sandbox::new();
    let unreachable_message = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut all = vec!["inspect"];
        all.extend(arguments);
        let output = sandbox.run(&all, variables);
        assert_eq!(code(&output), 69);
        text(&output.stderr)
    };
    // No server listens on the lowest ports.
    let variable = [("CFGSYNC_SERVER", "http://127.0.0.1:2")];
    let flag = ["--server", "http://127.0.0.1:3"];
    let file = |text: &str| sandbox.put(".config/cfgsync/config.yaml", text);
    file("server: http://127.0.0.1:1\n");
    assert!(unreachable_message(&flag, &variable).contains("http://127.0.0.1:3 "));
    assert!(unreachable_message(&[], &variable).contains("http://127.0.0.1:2 "));
    assert!(unreachable_message(&[], &[]).contains("http://127.0.0.1:1 "));
    assert!(unreachable_message(&[], &[("CFGSYNC_SERVER", "")]).contains("http://127.0.0.1:1 "));
    // A subcommand's own section overrides the top level of the file. Sections of other subcommands have no effect.
    file(
        "server: http://127.0.0.1:1\ninspect:\n  server: http://127.0.0.1:4\nrm:\n  server: http://127.0.0.1:5\n",
    );
    assert!(unreachable_message(&[], &[]).contains("http://127.0.0.1:4 "));
    // An invalid variable is an error only if its value is used.
    let wrong = [("CFGSYNC_SERVER", "nowhere")];
    assert!(unreachable_message(&flag, &wrong).contains("http://127.0.0.1:3 "));
}

#[test]
fn boolean_flags_can_be_set_in_file_and_variables() {
    let sandbox = Sandbox::new();
    sandbox.put(
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
    assert_eq!(code(&sandbox.run(&exposed, &[])), 0);
    let off = [("CFGSYNC_ALLOW_ANONYMOUS", "no")];
    assert_eq!(code(&sandbox.run(&exposed, &off)), 78);
}

#[test]
fn warns_of_unknown_variables_except_those_of_kubernetes() {
    let sandbox = Sandbox::new();
    let variables = [
        ("CFGSYNC_SERVRE", "x"),
        ("CFGSYNC_SOMETHING_ELSE", "x"),
        ("CFGSYNC_PORT", "tcp://10.0.0.1:4400"),
        ("CFGSYNC_PORT_4400_TCP_ADDR", "10.0.0.1"),
        ("CFGSYNC_SERVICE_HOST", "10.0.0.1"),
        ("CFGSYNC_SERVER_PORT_4400_TCP", "tcp://10.0.0.1:4400"),
        ("CFGSYNC_SERVER_SERVICE_PORT_HTTP", "4400"),
        // `join` sets it for the command of --check.
        ("CFGSYNC_STAGED", "/tmp"),
    ];
    let output = sandbox.run(&["plan", "cluster.yaml"], &variables);
    let warnings: Vec<String> = text(&output.stderr)
        .lines()
        .map(|line| line.split_once("WARN ").unwrap().1.to_owned())
        .collect();
    assert_eq!(
        warnings,
        [
            "ignoring the unknown variable CFGSYNC_SERVRE; did you mean CFGSYNC_SERVER?",
            "ignoring the unknown variable CFGSYNC_SOMETHING_ELSE",
        ]
    );
}

#[test]
fn each_subcommand_has_help_with_examples() {
    let sandbox = Sandbox::new();
    for subcommand in [
        "serve", "join", "inspect", "plan", "rm", "replace", "fail", "reset", "redraw", "unban",
        "retry", "reload", "key",
    ] {
        let output = sandbox.run(&[subcommand, "--help"], &[]);
        assert_eq!(code(&output), 0, "{subcommand}");
        let help = text(&output.stdout);
        assert!(help.contains("Example"), "{subcommand}:\n{help}");
        assert!(help.contains("[env: CFGSYNC_"), "{subcommand}:\n{help}");
    }
    let output = sandbox.run(&["--help"], &[]);
    assert!(!text(&output.stdout).contains("generate"));
}

#[test]
fn output_has_no_colour_without_a_terminal() {
    let sandbox = Sandbox::new();
    for arguments in [&["serve"][..], &["plan", "absent.yaml"], &["--help"]] {
        let output = sandbox.run(arguments, &[("CFGSYNC_FKE", "x")]);
        for stream in [output.stdout, output.stderr] {
            assert!(!stream.contains(&0x1b), "{arguments:?}");
        }
    }
}

#[test]
fn port_in_use_is_reported_with_a_fix() {
    let sandbox = Sandbox::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let transcript = sandbox.transcript(
        &[
            "serve",
            "cluster.yaml",
            "--listen",
            &address,
            "--log-level",
            "off",
        ],
        &[],
    );
    insta::assert_snapshot!(transcript.replace(&address, "[ADDRESS]"));
}

#[test]
fn serve_ends_with_its_command_and_its_exit_code() {
    let sandbox = Sandbox::new();
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
        sandbox.run(&all, &[])
    };
    let output = serve(&["sh", "-c", "echo $CFGSYNC_SERVER; cp port copy; exit 7"]);
    assert_eq!(code(&output), 7);
    assert!(text(&output.stderr).contains("the command exited with 7"));
    let port = fs::read_to_string(sandbox.path().join("copy")).unwrap();
    assert!(!sandbox.path().join("port").exists());
    assert_eq!(
        text(&output.stdout),
        format!("http://127.0.0.1:{}\n", port.trim_end())
    );
    let killed = serve(&["sh", "-c", "kill -KILL $$"]);
    assert_eq!(code(&killed), 128 + 9);
    assert!(text(&killed.stderr).contains("the command was ended by signal 9"));
    assert_eq!(code(&serve(&["./absent"])), 127);
    assert_eq!(code(&serve(&["./cluster.yaml"])), 126);
}

#[test]
fn variables_of_one_command_do_not_break_another() {
    let sandbox = Sandbox::new();
    let join = [
        "join",
        "--server",
        "http://127.0.0.1:1",
        "--timeout",
        "100ms",
        "--out-dir",
        "x",
    ];
    for (output, expected) in [("yaml", 69), ("table", 69), ("json", 69), ("yml", 78)] {
        let run = sandbox.run(&join, &[("CFGSYNC_OUTPUT", output)]);
        assert_eq!(code(&run), expected, "{}", text(&run.stderr));
    }
    let variables = [("CFGSYNC_OUT_DIR", "app")];
    let plan = sandbox.run(&["plan", "cluster.yaml", "--fake", "2"], &variables);
    assert_eq!(code(&plan), 0, "{}", text(&plan.stderr));
    let key = sandbox.run(&["key", "new"], &variables);
    assert_eq!(code(&key), 0, "{}", text(&key.stderr));
    assert!(!sandbox.path().join("app").exists());
    assert!(sandbox.path().join("sign-key.pem").exists());
}

#[test]
fn help_and_completions_are_commands() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(&["help", "join"], &[]);
    assert_eq!(code(&help), 0);
    assert_eq!(help.stdout, sandbox.run(&["join", "--help"], &[]).stdout);
    let completions = sandbox.run(&["completions", "bash"], &[]);
    assert_eq!(code(&completions), 0);
    let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/completions/cfgsync.bash");
    assert_eq!(
        text(&completions.stdout),
        fs::read_to_string(packaged).unwrap()
    );
}

#[test]
fn make_install_installs_everything_below_the_prefix() {
    let sandbox = Sandbox::new();
    let binary = sandbox.put("built", "the program");
    let package = sandbox.path().join("package");
    let output = Command::new("make")
        .args(["--silent", "install", "PREFIX=/opt/cfgsync"])
        .arg(format!("DESTDIR={}", package.display()))
        .arg(format!("BINARY={}", binary.display()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = |path: &str| sandbox.read(&format!("package/opt/cfgsync/{path}"));
    assert_eq!(read("bin/cfgsync"), "the program");
    let unit = read("lib/systemd/system/cfgsync-server.service");
    assert!(
        unit.contains("\nExecStart=/opt/cfgsync/bin/cfgsync serve "),
        "{unit}"
    );
    for (installed, source) in [
        ("share/man/man1/cfgsync.1", "man/cfgsync.1"),
        ("share/man/man5/cfgsync-spec.5", "man/cfgsync-spec.5"),
        (
            "share/bash-completion/completions/cfgsync",
            "completions/cfgsync.bash",
        ),
        ("share/zsh/site-functions/_cfgsync", "completions/_cfgsync"),
        (
            "share/fish/vendor_completions.d/cfgsync.fish",
            "completions/cfgsync.fish",
        ),
        (
            "lib/systemd/system/cfgsync-server.socket",
            "contrib/systemd/cfgsync-server.socket",
        ),
    ] {
        let source = format!("{}/{source}", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(read(installed), fs::read_to_string(source).unwrap());
    }
}

#[test]
fn serve_forwards_signals_to_its_command() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&["--", "sh", "-c", "echo up >&2; exec sleep 1000"]);
    server.log_until("up");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 143);
}

#[test]
fn sigterm_and_sigint_stop_the_server_with_exit_0() {
    let sandbox = Sandbox::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = sandbox.serve(&[]);
        server.signal(signal);
        server.log_until("stopped after");
        assert_eq!(server.end(), 0);
    }
}

#[test]
fn sighup_keeps_the_last_valid_spec() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    sandbox.put("cluster.yaml", "cfgsync: 2\n");
    server.signal(Signal::HUP);
    server.log_until("the spec was not reloaded");
    server.register("node-1");
    sandbox.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
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
    assert_eq!(code(&sandbox.run(&ready, &[])), 0);
    // A spec that needs more nodes than are registered is valid too, but the server warns.
    sandbox.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 3"));
    server.signal(Signal::HUP);
    server.log_until("the new spec is not satisfied (1/3); still serving generation 1");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
}

#[test]
fn inspect_shows_the_state_of_the_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    let inspect = |arguments: &[&str]| {
        let mut all = vec!["inspect", "--server", &server.url];
        all.extend(arguments);
        sandbox.run(&all, &[])
    };
    let table = |arguments: &[&str]| {
        let output = inspect(arguments);
        let printed = text(&output.stdout) + &text(&output.stderr);
        format!(
            "$ inspect {}\n{printed}[exit {}]\n",
            arguments.join(" "),
            code(&output)
        )
    };
    let mut transcripts = vec![table(&[])];
    server.register("node-1");
    transcripts.push(table(&[]));
    transcripts.push(table(&["node", "node-1"]));
    transcripts.push(table(&["node", "node-2"]));
    transcripts.push(table(&["file", "node-1", "config.yaml"]));
    transcripts.push(table(&["--wait", "ready", "--timeout", "1ms"]));
    transcripts.push(table(&["generations"]));
    server.register("node-2");
    transcripts.push(table(&["--wait", "ready", "--timeout", "1m"]));
    transcripts.push(table(&["file", "node-1", "/config.yaml"]));
    transcripts.push(table(&["file", "node-1", "confg.yaml"]));
    transcripts.push(table(&["--name", "*-2", "--only", "behind"]));
    transcripts.push(table(&["--only", "waiting"]));
    transcripts.push(table(&["diff", "1", "1"]));
    transcripts.push(table(&["generations", "7"]));
    let shown = transcripts.join("\n").replace(&server.url, "[URL]");
    // Columns are aligned by spaces, so only the times are replaced.
    let words = shown
        .split(' ')
        .map(|word| match word.parse::<Timestamp>() {
            Ok(_) => "[TIME]",
            Err(_) => word,
        });
    insta::assert_snapshot!(words.collect::<Vec<_>>().join(" "));

    let json = inspect(&["-o", "json"]);
    let body: cfgsync_wire::ClusterBody = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(body.registrations.len(), 2);
    let selected = inspect(&["-o", "json", "--name", "*-2"]);
    let selected: cfgsync_wire::ClusterBody = serde_json::from_slice(&selected.stdout).unwrap();
    assert_eq!(selected.registrations, body.registrations[1..]);
    let wide = text(&inspect(&["-o", "wide"]).stdout);
    assert!(wide.contains("REVISION"), "{wide}");
    let yaml = inspect(&["-o", "yaml"]);
    let same: cfgsync_wire::ClusterBody = serde_yaml::from_slice(&yaml.stdout).unwrap();
    assert_eq!(body, same);

    // `inspect file` prints the file unchanged, whatever output format is set for all commands.
    let file = [
        "inspect",
        "--server",
        &server.url,
        "file",
        "node-1",
        "config.yaml",
    ];
    let unset = sandbox.run(&file, &[]);
    let output = sandbox.run(&file, &[("CFGSYNC_OUTPUT", "json")]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(output.stdout, unset.stdout);

    // `plan --nodes` accepts the JSON that `inspect` prints.
    let nodes = sandbox.put("nodes.json", &text(&json.stdout));
    let plan = sandbox.run(
        &["plan", "cluster.yaml", "--nodes", nodes.to_str().unwrap()],
        &[],
    );
    assert_eq!(code(&plan), 0, "{}", text(&plan.stderr));
}

#[test]
fn inspect_health_exits_0_or_1() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    let health = ["inspect", "health", "--server", &server.url];
    assert_eq!(code(&sandbox.run(&health, &[])), 0);
    server.signal(Signal::TERM);
    let url = server.url.clone();
    server.end();
    let health = ["inspect", "health", "--server", &url];
    assert_eq!(code(&sandbox.run(&health, &[])), 1);
}

#[test]
fn closed_stdout_reader_is_not_an_error() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    let mut inspect = sandbox
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
fn plan_shows_what_serve_would_render() {
    let sandbox = Sandbox::new();
    sandbox.put("one.yaml", "- { identifier: a, ip: 10.0.0.1 }\n");
    sandbox.put(
        "two.yaml",
        "- { identifier: a, ip: 10.0.0.1 }\n- { identifier: b, ip: fd00::2, metadata: { port: 7 } }\n",
    );
    sandbox.put(
        "flawed.yaml",
        "- { identifier: a, ip: 10.0.0.1, metadata: { port: high } }\n",
    );
    let mut transcripts: Vec<String> = [
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
    .map(|case| sandbox.transcript(case, &[]))
    .collect();
    sandbox.put("out/b/config.yaml", "id: \"b\"\nport: 8\n");
    sandbox.put("out/c/config.yaml", "stale\n");
    transcripts.push(sandbox.transcript(
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
    insta::assert_snapshot!(transcripts.join("\n"));
}

#[test]
fn errors_in_a_nodes_file() {
    let sandbox = Sandbox::new();
    let transcripts: Vec<String> = [
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
        sandbox.put("nodes.yaml", nodes);
        sandbox.transcript(&["plan", "cluster.yaml", "--nodes", "nodes.yaml"], &[])
    })
    .collect();
    for transcript in &transcripts {
        assert!(transcript.ends_with("[exit 78]\n"), "{transcript}");
    }
    insta::assert_snapshot!(transcripts.join("\n"));
}

#[test]
fn generated_files_are_up_to_date() {
    let sandbox = Sandbox::new();
    let root = sandbox.path().to_str().unwrap();
    // One manual page comes from the book.
    let operating = "docs/src/operating.md";
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(operating);
    sandbox.put(operating, &fs::read_to_string(committed).unwrap());
    let output = sandbox.run(&["generate", root], &[]);
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
            list(sandbox.path()),
            list(committed),
            "{directory}: run `cfgsync generate`"
        );
        for name in list(committed) {
            let file = Path::new(directory).join(name);
            let fresh = fs::read(sandbox.path().join(&file)).unwrap();
            let same = fs::read(committed.join(&file)).unwrap() == fresh;
            assert!(same, "{} is stale: run `cfgsync generate`", file.display());
        }
    }
}

#[test]
fn failed_join_prints_one_line_with_exit_code_and_reason() {
    let sandbox = Sandbox::new();
    for (arguments, start) in [
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
        let stderr = text(&sandbox.run(arguments, &[]).stderr);
        let failures = stderr
            .lines()
            .filter(|line| line.starts_with("cfgsync: exit "));
        let failures: Vec<&str> = failures.collect();
        assert!(
            matches!(failures[..], [only] if only.starts_with(start)),
            "{stderr}"
        );
    }
    let help = sandbox.run(&["join", "--help"], &[]);
    assert_eq!((code(&help), text(&help.stderr)), (0, String::new()));
}

/// The server's log must show what operators did to the cluster, as this is the first question in an incident.
#[test]
fn operator_actions_are_logged_by_the_server() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    server.register("node-1");
    let operate = |arguments: &[&str]| {
        let all = [arguments, &["--server", &server.url]].concat();
        let output = sandbox.run(&all, &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    };
    operate(&["fail", "--reason", "wrong image"]);
    operate(&["reset"]);
    operate(&["rm", "node-1"]);
    server.log_until("an operator declared the cluster failed: wrong image");
    server.log_until("an operator ended the declared failure");
    server.log_until("node-1 was removed");
}

#[test]
fn files_that_cannot_be_sent_are_refused_at_once() {
    let sandbox = Sandbox::new();
    sandbox.pipe("pipe");
    sandbox.put("large", &"x".repeat(2000));
    let server = sandbox.serve(&["--replace-body-max", "1KiB"]);
    let cases: [(&[&str], i32, &str); 4] = [
        (
            &["replace", "a", "--file", "a=pipe"],
            78,
            "it is a named pipe",
        ),
        (
            &["replace", "a", "--file", "a=large"],
            77,
            "larger --replace-body-max",
        ),
        (
            &["join", "--out-dir", ".", "--meta", "a:=@pipe"],
            78,
            "--meta a:=@pipe: cannot read pipe: it is a named pipe",
        ),
        (
            &["join", "--out-dir", ".", "--meta", "a=@/dev/zero"],
            78,
            "it is larger than 16 MiB",
        ),
    ];
    for (arguments, exit, expected) in cases {
        let output = sandbox.run(&[arguments, &["--server", &server.url]].concat(), &[]);
        let printed = text(&output.stderr);
        assert_eq!(code(&output), exit, "{printed}");
        assert!(printed.contains(expected), "{printed}");
    }
}

#[test]
fn replace_overrides_the_files_of_a_node_until_the_override_ends() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&["--min-generation-interval", "0s"]);
    server.register("node-1");
    server.register("node-2");
    let run = |arguments: &[&str]| {
        let all = [arguments, &["--server", &server.url]].concat();
        let output = sandbox.run(&all, &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let files_of = |node: &str, files: &[&str]| -> Vec<String> {
        let read = |file: &&str| run(&["inspect", "file", node, file, "--reveal"]);
        files.iter().map(read).collect()
    };
    run(&["inspect", "--wait", "ready"]);
    fs::write(sandbox.path().join("fixed=.yaml"), "fixed\n").unwrap();
    // Bytes that are no text travel as base64.
    fs::write(sandbox.path().join("key"), [0xff, b'\n']).unwrap();
    run(&[
        "replace",
        "node-1",
        "--file",
        "config.yaml=fixed=.yaml",
        "--secret-file",
        "tls/key=key",
        "--mode",
        "config.yaml=0640",
    ]);
    let shown = run(&["inspect", "node", "node-1"]);
    assert!(shown.contains("config.yaml  0640 "), "{shown}");
    assert!(shown.contains("0600 secret"), "{shown}");
    assert_eq!(files_of("node-1", &["config.yaml"]), ["fixed\n"]);
    let key = ["inspect", "file", "node-1", "tls/key", "--reveal"];
    let key = sandbox.run(&[&key[..], &["--server", &server.url]].concat(), &[]);
    assert_eq!(key.stdout, [0xff, b'\n']);
    assert_eq!(
        files_of("node-2", &["config.yaml"]),
        ["id: \"node-2\"\nport: 9000\n"]
    );
    run(&["rm", "node-1", "--override"]);
    assert_eq!(
        files_of("node-1", &["config.yaml"]),
        ["id: \"node-1\"\nport: 9000\n"]
    );
    // A shared file cannot be overridden for one node.
    let refused = [
        "replace",
        "node-1",
        "--file",
        "cookie=key",
        "--server",
        &server.url,
    ];
    let refused = sandbox.run(&refused, &[]);
    assert_eq!(code(&refused), 77, "{}", text(&refused.stderr));
}
