//! Process life cycles: servers that start late or are killed and restarted, signals to nodes, and cfgsync as PID 1.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process},
};
use socket2::{Domain, Socket, Type};

use crate::sandbox::{Process, Sandbox, Server, code, join, namespace, text};

/// A reserved port. Connections are refused until a server listens there.
///
/// A socket that is bound but does not listen reserves the port, so the system does not assign it to another process.
pub(crate) struct ReservedPort {
    _socket: Socket,
    pub(crate) address: SocketAddr,
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self {
            _socket: socket,
            address,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn serve(&self, sandbox: &Sandbox) -> Server {
        self.serve_with(sandbox, &[])
    }

    pub(crate) fn serve_with(&self, sandbox: &Sandbox, arguments: &[&str]) -> Server {
        let listen = self.address.to_string();
        let first = ["serve", "cluster.yaml", "--listen", &listen];
        Server::from_process(sandbox.start(&[&first, arguments].concat()))
    }
}

#[test]
fn nodes_wait_for_a_server_that_starts_late() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let mut nodes = ["node-1", "node-2"].map(|node| sandbox.join(&port.url(), node, &[]));
    for node in &mut nodes {
        node.log_until("Connection refused");
    }
    let _server = port.serve(&sandbox);
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert_eq!(
        sandbox.read("node-2/config.yaml"),
        "id: \"node-2\"\nport: 9000\n"
    );
    assert_eq!(sandbox.read("node-1/cookie"), sandbox.read("node-2/cookie"));
}

#[test]
fn nodes_register_again_after_a_restart_without_state() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let mut server = port.serve(&sandbox);
    let waiting = sandbox.join(&port.url(), "node-1", &[]);
    for _ in 0..2 {
        server.log_until("node-1 registered");
        server.signal(Signal::KILL);
        assert_eq!(server.end(), 128 + 9);
        server = port.serve(&sandbox);
    }
    server.log_until("node-1 registered");
    let last = sandbox.join(&port.url(), "node-2", &[]);
    for node in [waiting, last] {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert_eq!(
        sandbox.read("node-1/config.yaml"),
        "id: \"node-1\"\nport: 9000\n"
    );
    assert_eq!(sandbox.read("node-1/cookie"), sandbox.read("node-2/cookie"));
}

#[test]
fn signal_before_the_seal_removes_the_node() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    for (signal, code) in [
        (Signal::TERM, 143),
        (Signal::INT, 130),
        (Signal::HUP, 129),
        (Signal::QUIT, 131),
    ] {
        let node = sandbox.join(&server.url, "node-1", &["--", "touch", "started"]);
        server.log_until("node-1 registered");
        assert_eq!(sandbox.registered(&server.url), ["node-1"]);
        node.signal(signal);
        let (ended, log) = node.end();
        assert_eq!(ended, code, "{log}");
        assert_eq!(sandbox.registered(&server.url), [""; 0]);
    }
    // The spec needs two nodes. A remaining registration of node-1 would be a third one.
    let nodes = ["node-2", "node-3"].map(|node| sandbox.join(&server.url, node, &[]));
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert_eq!(sandbox.registered(&server.url), ["node-2", "node-3"]);
    assert!(!sandbox.path().join("started").exists());
    assert!(!sandbox.path().join("node-1").exists());
}

#[test]
fn join_as_pid_1_handles_signals() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    for (signal, code) in [
        ("TERM", 143),
        ("INT", 130),
        ("HUP", 129),
        ("QUIT", 131),
        ("USR1", 138),
        ("USR2", 140),
        ("WINCH", 156),
        ("RTMIN+3", 165),
    ] {
        let node = pid_1(&sandbox, &join(&server.url, "node-1"));
        server.log_until("node-1 registered");
        let pid = outer_pid(&node).to_string();
        let kill = Command::new("bash")
            .args(["-c", "kill -s $0 $1", signal, &pid])
            .status();
        assert!(kill.unwrap().success());
        let (ended, log) = node.end();
        assert_eq!(ended, code, "{log}");
        assert_eq!(sandbox.registered(&server.url), [""; 0]);
    }
}

/// Regression test: the kernel dropped a signal that arrived while PID 1 read its settings, so the process never ended.
#[test]
fn signal_while_reading_settings_ends_the_process() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.pipe("pipe");
    let serve = ["serve", "pipe", "--listen", "127.0.0.1:0"];
    let with_command = [&serve[..], &["--", "touch", "started"]].concat();
    let with_token = join("http://127.0.0.1:1", "node-1");
    // Only a pipe below /proc is opened, because a named pipe may have no writer.
    let with_token = [&with_token[..], &["--token-file", "/proc/self/cwd/pipe"]].concat();
    for (arguments, code) in [(&serve[..], 0), (&with_command, 143), (&with_token, 143)] {
        for is_pid_1 in [false, true] {
            let process = if is_pid_1 {
                pid_1(&sandbox, arguments)
            } else {
                sandbox.start(arguments)
            };
            // This open returns once the process opens the pipe. The process then blocks in its read.
            let writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
            let pid = if is_pid_1 {
                outer_pid(&process)
            } else {
                process.pid()
            };
            kill_process(pid, Signal::TERM).unwrap();
            let (ended, log) = process.end();
            assert_eq!(ended, code, "{arguments:?}: {log}");
            drop(writer);
        }
    }
    assert!(!sandbox.path().join("started").exists());
}

/// Regression test: a named pipe without a writer blocked these commands, some of them even after SIGTERM.
#[test]
fn named_pipe_in_place_of_a_file_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.pipe("pipe");
    let node = join("http://127.0.0.1:1", "node-1");
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let cases: [(Vec<&str>, i32); 6] = [
        ([&node[..], &["--token-file", "pipe"]].concat(), 78),
        ([&node[..], &["--verify-key", "pipe"]].concat(), 78),
        (vec!["plan", "cluster.yaml", "--nodes", "pipe"], 78),
        ([&serve[..], &["--tokens", "pipe"]].concat(), 78),
        ([&serve[..], &["--sign-key", "pipe"]].concat(), 78),
        ([&serve[..], &["--port-file", "pipe"]].concat(), 73),
    ];
    for (arguments, expected) in cases {
        let output = sandbox.run(&arguments, &[]);
        let message = text(&output.stderr);
        assert_eq!(code(&output), expected, "{arguments:?}: {message}");
        assert!(message.contains("it is a named pipe"), "{message}");
        assert!(!message.contains("listening"), "{message}");
    }
}

/// Regression test: a signal right after the start seemed to be lost.
#[test]
fn server_handles_signals_once_its_port_file_exists() {
    let sandbox = Sandbox::new();
    let port_file = sandbox.path().join("port");
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let serve = [&serve[..], &["--port-file", "port"]].concat();
    for at in 0..40 {
        let is_pid_1 = at % 4 == 0;
        let server = if is_pid_1 {
            pid_1(&sandbox, &serve)
        } else {
            sandbox.start(&serve)
        };
        while fs::remove_file(&port_file).is_err() {
            std::thread::yield_now();
        }
        let pid = if is_pid_1 {
            outer_pid(&server)
        } else {
            server.pid()
        };
        kill_process(pid, Signal::TERM).unwrap();
        let (ended, log) = server.end();
        assert_eq!(ended, 0, "{log}");
        assert!(log.contains("SIGTERM: stopping"), "{log}");
    }
}

/// Regression test: scripts read the port of an earlier server that had been killed.
#[test]
fn port_file_exists_only_while_the_server_listens() {
    let sandbox = Sandbox::new();
    let port_file = sandbox.put("port", "1\n");
    let spec = sandbox.path().join("cluster.yaml");
    fs::remove_file(&spec).unwrap();
    // This server waits for its spec, and does not listen yet.
    sandbox.pipe("cluster.yaml");
    let arguments = [
        "serve",
        "cluster.yaml",
        "--listen",
        "127.0.0.1:0",
        "--port-file",
        "port",
    ];
    let mut server = sandbox.start(&arguments);
    let mut writer = fs::OpenOptions::new().write(true).open(&spec).unwrap();
    assert!(!port_file.exists());
    writer.write_all(crate::sandbox::SPEC.as_bytes()).unwrap();
    drop(writer);
    let line = server.log_until("serving devnet on ");
    let port = sandbox.read("port");
    assert!(
        line.trim_end().ends_with(&format!(":{}", port.trim_end())),
        "{line}"
    );
    server.signal(Signal::TERM);
    let (ended, log) = server.end();
    assert_eq!(ended, 0, "{log}");
    assert!(!port_file.exists());

    fs::remove_file(&spec).unwrap();
    sandbox.put("port", "1\n");
    let output = sandbox.run(&arguments, &[]);
    assert_eq!(code(&output), 78);
    assert!(!port_file.exists());
}

/// SIGPIPE is ignored under systemd, SIGHUP under nohup.
#[test]
fn signals_that_were_ignored_stay_ignored() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    let ignoring = ["sh", "-c", "trap '' HUP PIPE; exec \"$@\"", "sh"];
    let program = ["--", "grep", "-H", "SigIgn", "/proc/self/status"];
    let mut node = sandbox.command_under(
        &ignoring,
        &[&join(&server.url, "node-1")[..], &program].concat(),
    );
    let node = node.stdout(Stdio::piped()).spawn().unwrap();
    server.log_until("node-1 registered");
    kill_process(Pid::from_child(&node), Signal::HUP).unwrap();
    server.register("node-2");
    let ignored = text(&node.wait_with_output().unwrap().stdout);
    let ignored = ignored.trim().rsplit('\t').next().unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    let is_ignored = |signal: Signal| ignored & (1 << (signal.as_raw() - 1)) != 0;
    assert!(
        is_ignored(Signal::HUP) && is_ignored(Signal::PIPE),
        "{ignored:x}"
    );
    assert!(!is_ignored(Signal::TERM), "{ignored:x}");
}

#[test]
fn join_as_pid_1_execs_the_program_as_pid_1() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    server.register("node-2");
    let program = ["--", "sh", "-c", "echo I am $$ >&2; exit 7"];
    let node = pid_1(
        &sandbox,
        &[&join(&server.url, "node-1")[..], &program].concat(),
    );
    let (code, log) = node.end();
    assert_eq!(code, 7, "{log}");
    assert!(log.ends_with("I am 1\n"), "{log}");
}

#[test]
fn serve_as_pid_1_drains_and_stops() {
    let sandbox = Sandbox::new();
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let mut server = Server::from_process(pid_1(&sandbox, &serve));
    let node = sandbox.join(&server.url, "node-1", &["--timeout", "1s"]);
    server.log_until("node-1 registered");
    kill_process(outer_pid(&server.process), Signal::TERM).unwrap();
    server.log_until("stopped after");
    assert_eq!(server.end(), 0);
    let (code, log) = node.end();
    assert!([69, 124].contains(&code), "{code}: {log}");
}

/// A server that collected the status of any child would also take those of CMD and of the program.
#[test]
fn serve_as_pid_1_collects_orphans_and_no_other_child() {
    let sandbox = Sandbox::new();
    let spec = "cfgsync: 1\ncluster: devnet\nready: { nodes: 1 }\nmaterializers:\n  - kind: exec\n    \
                command: [bash, -c, 'setsid cat pipe & cat >/dev/null; exit 9']\n";
    sandbox.put("cluster.yaml", spec);
    let pipe = sandbox.pipe("pipe");
    sandbox.pipe("never");
    let script = "trap 'exit 7' TERM; (cat pipe & cat pipe &); echo is up >&2; cat never & wait";
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let serve = [&serve[..], &["--", "bash", "-c", script]].concat();
    let mut server = Server::from_process(pid_1(&sandbox, &serve));
    server.log_until("is up");
    server.register("node-1");
    server.log_until("exited with 9");
    let pid_1 = outer_pid(&server.process);
    let deadline = Instant::now() + Duration::from_secs(20);
    let in_time = || assert!(Instant::now() < deadline, "{:?}", children(pid_1));
    // CMD, its two orphans, and that of the program.
    while children(pid_1).len() < 4 {
        in_time();
        std::thread::yield_now();
    }
    while children(pid_1).len() > 1 {
        in_time();
        // Ends the processes that have opened the pipe by now.
        drop(open(
            &pipe,
            OFlags::WRONLY | OFlags::NONBLOCK,
            Mode::empty(),
        ));
        std::thread::yield_now();
    }
    kill_process(pid_1, Signal::TERM).unwrap();
    let (code, log) = server.process.end();
    assert_eq!(code, 7, "{log}");
    assert!(log.contains("the command exited with 7"), "{log}");
}

/// With too few threads, the server used to panic, or to hang without listening.
#[test]
fn server_works_with_few_threads_or_says_that_they_are_too_few() {
    let sandbox = Sandbox::new();
    let serve = [
        "serve",
        "cluster.yaml",
        "--listen",
        "127.0.0.1:0",
        "--state-dir",
        "state",
    ];
    let (mut started, mut refused) = (0, 0);
    for threads in 1..16 {
        let mut process = with_threads(&sandbox, 54321, threads, &serve);
        let line =
            process.log_until_any(&["serving devnet on ", "cfgsync: exit 1: cannot start: "]);
        if line.contains("serving") {
            started += 1;
            process.signal(Signal::TERM);
            let (code, log) = process.end();
            assert_eq!(code, 0, "{threads}: {log}");
        } else {
            refused += 1;
            let (code, log) = process.end();
            assert_eq!(code, 1, "{threads}: {log}");
            assert!(log.contains("help: raise the limit: pids.max"), "{log}");
        }
    }
    assert!(
        started > 0 && refused > 0,
        "{started} started, {refused} refused"
    );
}

/// Without a single thread, `join` used to panic.
#[test]
fn clients_work_with_one_more_thread_or_say_that_it_is_missing() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    server.register("node-2");
    let server = server.url.replace("127.0.0.1", "localhost");
    fs::set_permissions(sandbox.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for arguments in [
        &join(&server, "node-1")[..],
        &["inspect", "--server", &server],
    ] {
        let log_of = |threads| with_threads(&sandbox, 54322, threads, arguments).end();
        assert_eq!(
            log_of(1),
            (
                1,
                "cfgsync: exit 1: cannot start: the system grants this process 0 more threads, and at least 1 is \
                 needed: Resource temporarily unavailable (os error 11)\nhelp: raise the limit: pids.max of the \
                 cgroup, TasksMax= of the systemd unit, --pids-limit of the container, or ulimit -u\n"
                    .to_owned()
            )
        );
        let (code, log) = log_of(2);
        assert_eq!(code, 0, "{log}");
    }
}

/// Starts cfgsync as a user that may have this many threads in all. The limit counts all processes of a user, so each
/// test has a user of its own. Root has no limit.
pub(crate) fn with_threads(
    sandbox: &Sandbox,
    user: u32,
    threads: usize,
    arguments: &[&str],
) -> Process {
    let as_user = if rustix::process::geteuid().is_root() {
        format!(
            "setpriv --reuid={user} --regid={user} --clear-groups --inh-caps=+dac_override \
             --ambient-caps=+dac_override"
        )
    } else {
        "unshare --user".to_owned()
    };
    let limit = format!("--nproc={threads}");
    let limited = as_user.split(' ').chain(["prlimit", &limit]);
    Process::start(sandbox.command_under(&limited.collect::<Vec<_>>(), arguments))
}

/// Starts cfgsync as PID 1 of a new PID namespace.
fn pid_1(sandbox: &Sandbox, arguments: &[&str]) -> Process {
    let wrapper = namespace(&["--pid", "--fork", "--kill-child"]);
    Process::start(sandbox.command_under(&wrapper, arguments))
}

/// Returns the PID, outside of the namespace, of the process that is PID 1 inside.
fn outer_pid(unshare: &Process) -> Pid {
    children(unshare.pid())[0]
}

/// Returns the children of the main thread of a process, with those that have ended and were not collected.
fn children(pid: Pid) -> Vec<Pid> {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(children).unwrap();
    let children = children.split_whitespace();
    children
        .map(|child| Pid::from_raw(child.parse().unwrap()).unwrap())
        .collect()
}
