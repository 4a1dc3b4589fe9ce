//! Machines on which a server or a node cannot work: addresses, directories, disks, and limits.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use rustix::process::Signal;

use super::stage::{ONE_NODE, Stage};
use crate::{
    processes::with_threads,
    sandbox::{join, namespace},
};

const SERVE: [&str; 4] = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];

/// Returns the wrapper under which permissions of files count, as they do for a user who is not root.
fn bound_by_permissions() -> Vec<&'static str> {
    if rustix::process::geteuid().is_root() {
        vec!["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    } else {
        vec![]
    }
}

/// Returns the wrapper under which `directory` is a disk of 64 KiB.
fn small_disk(directory: &str) -> Vec<&str> {
    let mut wrapper = namespace(&["--mount"]);
    let script = r#"mount -t tmpfs -o size=64k none "$0" && exec "$@""#;
    wrapper.extend(["sh", "-c", script, directory]);
    wrapper
}

fn read_only(stage: &Stage, directory: &str) {
    let path = stage.sandbox.path().join(directory);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn port_is_in_use() {
    let mut stage = Stage::new(ONE_NODE);
    let server = stage.serve(&[]);
    let address = server.url.replace("http://", "");
    stage.run(&["serve", "cluster.yaml", "--listen", &address]);
    stage.expect("port_is_in_use");
}

#[test]
fn listener_is_exposed() {
    let mut stage = Stage::new(ONE_NODE);
    stage.run(&["serve", "cluster.yaml", "--listen", "0.0.0.0:4400"]);
    stage.expect("listener_is_exposed");
}

#[test]
fn state_directory_is_in_use() {
    let mut stage = Stage::new(ONE_NODE);
    let kept = ["--state-dir", "state"];
    let _server = stage.serve(&kept);
    stage.run(&[&SERVE[..], &kept].concat());
    stage.expect("state_directory_is_in_use");
}

#[test]
fn state_directory_cannot_be_written() {
    let mut stage = Stage::new(ONE_NODE);
    read_only(&stage, "lib");
    let arguments = [&SERVE[..], &["--state-dir", "lib/state"]].concat();
    stage.run_under(&bound_by_permissions(), &arguments);
    stage.expect("state_directory_cannot_be_written");
}

#[test]
fn state_directory_is_damaged() {
    let mut stage = Stage::new(ONE_NODE);
    let kept = ["--state-dir", "state"];
    let mut server = stage.serve(&kept);
    server.register("node-1");
    server.log_until("sealed generation 1");
    server.signal(Signal::TERM);
    server.end();
    let sealed = fs::read_dir(stage.sandbox.path().join("state/generations")).unwrap();
    let sealed = sealed.last().unwrap().unwrap().path();
    let mut bytes = fs::read(&sealed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&sealed, bytes).unwrap();
    stage.run(&[&SERVE[..], &kept].concat());
    stage.expect("state_directory_is_damaged");
}

#[test]
fn state_directory_is_of_another_cluster() {
    let mut stage = Stage::new(ONE_NODE);
    let kept = ["--state-dir", "state"];
    let server = stage.serve(&kept);
    server.signal(Signal::TERM);
    server.end();
    let spec = ONE_NODE.replace("devnet", "testnet");
    stage.sandbox.put("cluster.yaml", &spec);
    stage.run(&[&SERVE[..], &kept].concat());
    stage.expect("state_directory_is_of_another_cluster");
}

#[test]
fn disk_of_the_server_is_full() {
    let mut stage = Stage::new(ONE_NODE);
    fs::create_dir(stage.sandbox.path().join("state")).unwrap();
    let arguments = [&SERVE[..], &["--state-dir", "state/full"]].concat();
    let mut wrapper = namespace(&["--mount"]);
    let script = "mount -t tmpfs -o size=64k none state && head -c 65536 /dev/zero >state/other; exec \"$@\"";
    wrapper.extend(["sh", "-c", script, "sh"]);
    stage.run_under(&wrapper, &arguments);
    stage.expect("disk_of_the_server_is_full");
}

#[test]
fn disk_of_the_node_is_full() {
    let spec = ONE_NODE.replace("port = {{ node.metadata.port }}", "{{ 'x' * 100000 }}");
    let mut stage = Stage::new(&spec);
    fs::create_dir(stage.sandbox.path().join("node-1")).unwrap();
    let server = stage.serve(&[]);
    stage.run_under(&small_disk("node-1"), &join(&server.url, "node-1"));
    stage.expect("disk_of_the_node_is_full");
}

#[test]
fn output_directory_cannot_be_written() {
    let mut stage = Stage::new(ONE_NODE);
    read_only(&stage, "node-1");
    let server = stage.serve(&[]);
    stage.run_under(&bound_by_permissions(), &join(&server.url, "node-1"));
    stage.expect("output_directory_cannot_be_written");
}

#[test]
fn output_directory_is_a_file() {
    let mut stage = Stage::new(ONE_NODE);
    stage.sandbox.put("node-1", "");
    let server = stage.serve(&[]);
    stage.join(&server.url, &[]);
    stage.expect("output_directory_is_a_file");
}

#[test]
fn threads_are_limited() {
    let mut stage = Stage::new(ONE_NODE);
    let process = with_threads(&stage.sandbox, 54_323, 2, &SERVE);
    stage.end(process, &SERVE);
    stage.expect("threads_are_limited");
}
