//! Runs the program, keeps what it prints, and compares it with the expected text.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::Path,
};

use regex::Regex;
use rustix::process::Signal;

use crate::sandbox::{Process, Sandbox, Server, join};

/// The texts that differ in each run, and the words that replace them. A later row reads the result of the earlier ones.
const CHANGING: [(&str, &str); 12] = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (
        r"(127\.0\.0\.1|\[::1\]|localhost|0\.0\.0\.0):\d{4,5}\b",
        "$1:PORT",
    ),
    (r"sha256-[\w-]{43}", "PIN"),
    (r"sha256:[0-9a-f]{64}", "HASH"),
    (r"\b\d+\.\d{3} s\b", "SECONDS s"),
    (r"process id \d+", "process id PID"),
    (r"\d+ times in a row", "N times in a row"),
    (r"grants this process \d+", "grants this process N"),
    (r"\b[0-9a-f]{32}([0-9a-f]{32})?\b", "HEX"),
    (
        r"(Name or service not known|Temporary failure in name resolution)",
        "NOT RESOLVED",
    ),
    (r"\b(x86_64|aarch64)\b", "ARCH"),
    (r"(?m) +$", ""),
];

/// A spec that is ready with one node.
pub(super) const ONE_NODE: &str = "\
cfgsync: 1
cluster: devnet
metadata:
  port: { type: integer, default: 9000 }
ready: { nodes: 1 }
materializers:
  - kind: template
    files:
      - path: app.conf
        template: \"port = {{ node.metadata.port }}\\n\"
";

/// Runs of the program, and what they printed.
pub(super) struct Stage {
    pub(super) sandbox: Sandbox,
    transcript: String,
}

impl Stage {
    /// A stage whose `cluster.yaml` is this spec.
    pub(super) fn new(spec: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.put("cluster.yaml", spec);
        Self {
            sandbox,
            transcript: String::new(),
        }
    }

    /// Runs the program to its end.
    pub(super) fn run(&mut self, arguments: &[&str]) {
        self.run_under(&[], arguments);
    }

    /// Runs the program to its end, started by `wrapper`.
    pub(super) fn run_under(&mut self, wrapper: &[&str], arguments: &[&str]) {
        let process = Process::start(self.sandbox.command_under(wrapper, arguments));
        self.end(process, arguments);
    }

    /// Runs `join` as node-1 to its end, with these further arguments.
    pub(super) fn join(&mut self, url: &str, more: &[&str]) {
        self.run(&[&join(url, "node-1")[..], more].concat());
    }

    /// Waits for the end of a process that was started with these arguments.
    pub(super) fn end(&mut self, process: Process, arguments: &[&str]) {
        let (code, log) = process.end();
        let words: Vec<&str> = arguments
            .iter()
            .map(|word| if word.is_empty() { "''" } else { word })
            .collect();
        let line = words.join(" ");
        self.transcript
            .push_str(&format!("$ cfgsync {line}\n{log}[exit {code}]\n"));
    }

    /// Starts a server of `cluster.yaml`.
    pub(super) fn serve(&self, more: &[&str]) -> Server {
        let mut server = self.sandbox.serve(more);
        // Two tasks log the address and the instance. All later lines are logged after both.
        server.log_until("instance ");
        server
    }

    /// Stops a server that was started with these arguments, and keeps its log.
    pub(super) fn stop(&mut self, server: Server, more: &[&str]) {
        server.signal(Signal::TERM);
        let first = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
        self.end(server.process, &[&first[..], more].concat());
    }

    /// Compares what was printed with `tests/staged-failures/NAME.txt`.
    pub(super) fn expect(self, name: &str) {
        let mut text = self
            .transcript
            .replace(&self.sandbox.path().display().to_string(), "DIR");
        for (changing, word) in CHANGING {
            let changing = Regex::new(changing).unwrap();
            text = changing.replace_all(&text, word).into_owned();
        }
        let path = Path::new("tests/staged-failures").join(format!("{name}.txt"));
        if std::env::var_os("CFGSYNC_BLESS").is_some() {
            fs::write(path, text).unwrap();
        } else {
            let expected = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                text == expected,
                "{}: the text is now:\n{text}\nCFGSYNC_BLESS=1 accepts this",
                path.display()
            );
        }
    }
}

/// Returns the URL of a server that calls `respond` for each connection once it has received something.
pub(super) fn other_server(respond: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if stream.read(&mut [0; 4096]).is_ok() {
                respond(stream);
            }
        }
    });
    url
}
