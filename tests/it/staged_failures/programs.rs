//! Programs that `join` and `serve` cannot start.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use super::stage::{ONE_NODE, Stage};

/// Joins with the file `app`, which has this mode and these bytes, as CMD.
fn join_with(mode: u32, bytes: &[u8]) -> Stage {
    let mut stage = Stage::new(ONE_NODE);
    let path = stage.sandbox.path().join("app");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--", "./app"]);
    stage
}

#[test]
fn program_is_not_in_path() {
    let mut stage = Stage::new(ONE_NODE);
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--", "no-such-app"]);
    stage.run(&["serve", "cluster.yaml", "--", "no-such-app"]);
    stage.expect("program_is_not_in_path");
}

#[test]
fn program_does_not_exist() {
    let mut stage = Stage::new(ONE_NODE);
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--", "./no-such-app"]);
    stage.expect("program_does_not_exist");
}

#[test]
fn program_is_not_executable() {
    join_with(0o644, b"#!/bin/sh\n").expect("program_is_not_executable");
}

#[test]
fn program_has_crlf() {
    join_with(0o755, b"#!/bin/sh\r\nexit 0\r\n").expect("program_has_crlf");
}

#[test]
fn program_is_built_for_another_machine() {
    let mut program = fs::read(crate::sandbox::PROGRAM).unwrap()[..64].to_vec();
    let other: u16 = 258;
    program[18..20].copy_from_slice(&other.to_le_bytes());
    join_with(0o755, &program).expect("program_is_built_for_another_machine");
}

#[test]
fn program_beside_the_server_fails() {
    let mut stage = Stage::new(ONE_NODE);
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let serve = [&serve[..], &["--", "sh", "-c", "cat pipe; exit 3"]].concat();
    let pipe = stage.sandbox.pipe("pipe");
    let mut server = stage.sandbox.start(&serve);
    server.log_until("instance ");
    drop(fs::OpenOptions::new().write(true).open(pipe).unwrap());
    stage.end(server, &serve);
    stage.expect("program_beside_the_server_fails");
}
