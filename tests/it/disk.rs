//! The file writer under crashes, errors and races at each of its steps.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use cfgsync::ArtifactFile;
use cfgsync_client::{
    Target,
    disk::{self, DiskError, Outcome, Owner, Step, Transaction, WrittenFile},
};
use cfgsync_model::{Chunk, Content};
use tempfile::TempDir;

/// Environment variable that tells a child of this test binary at which step to abort and where to write:
/// `STEP:DIRECTORY`.
const CRASH_AT: &str = "CFGSYNC_TEST_CRASH_AT";

fn artifact(name: &str, mode: &str, content: &str) -> ArtifactFile {
    ArtifactFile {
        path: name.parse().unwrap(),
        mode: mode.parse().unwrap(),
        secret: false,
        ownership: None,
        // Two chunks, so that a crash can happen in the middle of the file.
        content: Content::from_chunks([
            Chunk::new(content[..content.len() / 2].to_owned()),
            Chunk::new(content[content.len() / 2..].to_owned()),
        ]),
    }
}

fn target(root: &Path, below: &str) -> Target {
    Target {
        root: root.to_owned(),
        below: below.split('/').map(str::to_owned).collect(),
    }
}

fn write(
    root: &Path,
    files: &[ArtifactFile],
    hook: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<Vec<WrittenFile>, DiskError> {
    write_owned(root, files, None, hook)
}

fn write_owned(
    root: &Path,
    files: &[ArtifactFile],
    owner: Option<Owner>,
    hook: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<Vec<WrittenFile>, DiskError> {
    let targets: Vec<_> = files
        .iter()
        .map(|file| target(root, file.path.name()))
        .collect();
    let plan: Vec<_> = files.iter().zip(&targets).collect();
    Ok(Transaction::stage_with_hook(&plan, owner, hook)?
        .commit()?
        .finish())
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a hook")]
fn no_fault(_: Step) -> io::Result<()> {
    Ok(())
}

/// Returns each entry below `root`, staging files included, with mode and content. Directories end in '/'.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, String)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let mode = stat.permissions().mode() & 0o7777;
            let name = path.strip_prefix(root).unwrap();
            if stat.is_dir() {
                found.insert(name.join(""), (mode, String::new()));
                open.push(path);
            } else if stat.is_symlink() {
                let to = fs::read_link(&path).unwrap();
                found.insert(name.to_owned(), (0, format!("-> {}", to.display())));
            } else {
                found.insert(name.to_owned(), (mode, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Returns the files below `root` without directories and staging files.
fn files(root: &Path) -> BTreeMap<String, String> {
    let named = tree(root).into_iter().filter_map(|(path, (_, content))| {
        let name = path.to_str().unwrap().to_owned();
        let is_file = !name.ends_with('/') && !name.contains(".cfgsync-");
        is_file.then_some((name, content))
    });
    named.collect()
}

fn old() -> Vec<ArtifactFile> {
    vec![
        artifact("a", "0600", "old a"),
        artifact("same", "0644", "same"),
        artifact("d/b", "0644", "old b, and longer than the new one"),
    ]
}

fn new() -> Vec<ArtifactFile> {
    vec![
        artifact("a", "0640", "new a"),
        artifact("same", "0644", "same"),
        artifact("d/b", "0644", "new b"),
        artifact("d/e/c", "0600", "new c"),
    ]
}

fn with_old() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &old(), &mut no_fault).unwrap();
    directory
}

fn steps_of(hook_target: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    write(hook_target, &new(), &mut |step| {
        steps.push(step);
        Ok(())
    })
    .unwrap();
    steps
}

fn outcomes(written: &[WrittenFile]) -> Vec<(&str, Outcome)> {
    written
        .iter()
        .map(|file| (file.artifact.as_str(), file.outcome))
        .collect()
}

#[test]
fn writes_all_files_with_exact_modes_and_no_leftovers() {
    let directory = with_old();
    let written = write(directory.path(), &new(), &mut no_fault).unwrap();
    assert_eq!(
        outcomes(&written),
        [
            ("a", Outcome::Replaced),
            ("same", Outcome::Unchanged),
            ("d/b", Outcome::Replaced),
            ("d/e/c", Outcome::Created),
        ]
    );
    let expected = [
        ("a", 0o640, "new a"),
        ("d/", 0o755, ""),
        ("d/b", 0o644, "new b"),
        ("d/e/", 0o755, ""),
        ("d/e/c", 0o600, "new c"),
        ("same", 0o644, "same"),
    ];
    let expected =
        expected.map(|(path, mode, text)| (PathBuf::from(path), (mode, text.to_owned())));
    assert_eq!(tree(directory.path()), BTreeMap::from(expected));
}

#[test]
fn unchanged_files_are_not_touched() {
    let directory = with_old();
    let before = fs::metadata(directory.path().join("a")).unwrap();
    let mut steps = Vec::new();
    let written = write(directory.path(), &old(), &mut |step| {
        steps.push(step);
        Ok(())
    });
    assert!(
        written
            .unwrap()
            .iter()
            .all(|file| file.outcome == Outcome::Unchanged)
    );
    assert_eq!(steps, []);
    let after = fs::metadata(directory.path().join("a")).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
}

#[test]
fn umask_does_not_change_modes() {
    // The umask applies to the whole process, so a child process sets it.
    let directory = tempfile::tempdir().unwrap();
    let binary = std::env::current_exe().unwrap();
    let script = r#"umask 0777; exec "$0" --exact disk::crashing_child"#;
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(binary)
        .env(
            CRASH_AT,
            format!("{}:{}", usize::MAX, directory.path().display()),
        )
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    let tree = tree(directory.path());
    let modes: Vec<_> = tree.values().map(|(mode, _)| *mode).collect();
    assert_eq!(modes, [0o640, 0o755, 0o644, 0o755, 0o600, 0o644]);
}

/// Not a test by itself: the body of the child process for tests that crash it or change its umask.
#[test]
fn crashing_child() {
    let Ok(order) = std::env::var(CRASH_AT) else {
        return;
    };
    let (abort_at, directory) = order.split_once(':').unwrap();
    let mut left: usize = abort_at.parse().unwrap();
    let written = write(Path::new(directory), &new(), &mut |_| {
        if left == 0 {
            // Like SIGKILL or power loss: no cleanup runs.
            std::process::abort();
        }
        left -= 1;
        Ok(())
    });
    written.unwrap();
}

#[test]
fn after_a_crash_at_any_step_files_are_old_or_new_and_a_retry_converges() {
    let steps = steps_of(with_old().path());
    assert!(steps.len() > 20, "{steps:?}");
    let (old_files, new_files) = (files(with_old().path()), {
        let directory = with_old();
        write(directory.path(), &new(), &mut no_fault).unwrap();
        files(directory.path())
    });
    for (at, step) in steps.iter().enumerate() {
        let directory = with_old();
        let root = directory.path();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "disk::crashing_child"])
            .env(CRASH_AT, format!("{at}:{}", root.display()))
            .output()
            .unwrap()
            .status;
        assert!(!status.success(), "the child survived step {at}, {step:?}");
        let found = files(root);
        for (name, content) in &found {
            let either = [old_files.get(name), new_files.get(name)];
            assert!(
                either.contains(&Some(content)),
                "{name} is neither old nor new after step {at}, {step:?}: {content:?}"
            );
        }
        for name in old_files.keys() {
            assert!(
                found.contains_key(name),
                "{name} is gone after step {at}, {step:?}"
            );
        }
        write(root, &new(), &mut no_fault).unwrap();
        assert_eq!(files(root), new_files, "after step {at}, {step:?}");
        let leftovers: Vec<_> = tree(root)
            .into_keys()
            .filter(|path| path.to_str().unwrap().contains(".cfgsync-"))
            .collect();
        assert_eq!(
            leftovers,
            Vec::<PathBuf>::new(),
            "after step {at}, {step:?}"
        );
    }
}

#[test]
fn error_at_any_step_restores_all_files() {
    let steps = steps_of(with_old().path());
    for (at, step) in steps.iter().enumerate() {
        let directory = with_old();
        let before = tree(directory.path());
        let mut left = at;
        let mut failed = false;
        let written = write(directory.path(), &new(), &mut |_| {
            if left == 0 && !failed {
                failed = true;
                return Err(io::Error::from_raw_os_error(28));
            }
            left = left.saturating_sub(1);
            Ok(())
        });
        // All new files are in place at this step. The next run removes the replaced ones.
        if *step == Step::RemoveOld {
            assert!(written.is_ok());
            continue;
        }
        let error = written.unwrap_err();
        assert!(matches!(error, DiskError::Io { .. }), "{step:?}: {error}");
        assert!(
            error
                .to_string()
                .ends_with("No space left on device (os error 28)"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("free some space"));
        assert_eq!(
            tree(directory.path()),
            before,
            "after an error at step {at}, {step:?}"
        );
    }
}

#[test]
fn files_that_cannot_be_restored_are_named() {
    let directory = with_old();
    let mut broken = false;
    let error = write(directory.path(), &new(), &mut |step| {
        broken |= step == Step::SyncDirectory;
        if broken {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    })
    .unwrap_err();
    let DiskError::RollbackFailed { files, .. } = &error else {
        panic!("{error}");
    };
    let expected = ["d/e/c", "d/b", "a"].map(|name| directory.path().join(name));
    assert_eq!(files[..], expected);
    assert!(error.to_string().contains("cannot restore /"), "{error}");
}

#[test]
fn without_atomic_exchange_the_old_file_is_copied() {
    let unable = |step| match step {
        Step::Exchange => Err(io::Error::from_raw_os_error(22)),
        _ => Ok(()),
    };
    let directory = with_old();
    write(directory.path(), &new(), &mut { unable }).unwrap();
    assert_eq!(files(directory.path())["a"], "new a");
    assert!(!format!("{:?}", tree(directory.path())).contains(".cfgsync-"));

    let directory = with_old();
    symlink("elsewhere", directory.path().join("d/e")).unwrap();
    let before = tree(directory.path());
    let files = [
        artifact("a", "0640", "new a"),
        artifact("d/e", "0644", "new e"),
    ];
    let error = write(directory.path(), &files, &mut |step| match step {
        Step::SyncDirectory => Err(io::Error::from_raw_os_error(5)),
        _ => unable(step),
    });
    assert!(matches!(error, Err(DiskError::Io { .. })), "{error:?}");
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn bind_mounted_file_is_rewritten_in_place_and_restored_on_error() {
    let busy = |step| match step {
        Step::Exchange => Err(io::Error::from_raw_os_error(16)),
        _ => Ok(()),
    };
    let directory = with_old();
    let inode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().ino();
    let (a, b) = (inode("a"), inode("d/b"));
    let before = tree(directory.path());
    let failed = write(directory.path(), &new(), &mut |step| match step {
        Step::SyncDirectory => Err(io::Error::from_raw_os_error(5)),
        _ => busy(step),
    });
    assert!(failed.is_err());
    assert_eq!(tree(directory.path()), before);

    let written = write(directory.path(), &new(), &mut { busy }).unwrap();
    assert_eq!(written[0].outcome, Outcome::Overwritten);
    assert_eq!((inode("a"), inode("d/b")), (a, b));
    let tree = tree(directory.path());
    assert_eq!(tree[Path::new("a")], (0o640, "new a".to_owned()));
    assert_eq!(tree[Path::new("d/b")], (0o644, "new b".to_owned()));
}

/// Regression test: two transactions in one directory exchanged their files one by one, and left a mix.
#[test]
fn directory_has_one_delivery_at_a_time_until_its_locks_end() {
    let directory = with_old();
    let root = directory.path();
    let inner = [
        artifact("a", "0640", "inner"),
        artifact("other", "0644", "inner"),
    ];
    let mut refused = Vec::new();
    let mut try_inner = || match write(root, &inner, &mut no_fault) {
        Err(DiskError::Locked { path, waited }) => {
            assert!(waited.is_zero());
            refused.push(path);
        }
        other => panic!("{other:?}"),
    };
    write(root, &new(), &mut |_| {
        try_inner();
        Ok(())
    })
    .unwrap();
    assert_eq!(refused.len(), steps_of(with_old().path()).len());
    assert_eq!(files(root)["a"], "new a");

    let owned = new();
    let targets: Vec<_> = owned
        .iter()
        .map(|file| target(root, file.path.name()))
        .collect();
    let plan: Vec<_> = owned.iter().zip(&targets).collect();
    let committed = Transaction::stage(&plan, None).unwrap().commit().unwrap();
    let (_, locks) = committed.finish_locked();
    let error = write(root, &inner, &mut no_fault).unwrap_err();
    assert!(error.hint().unwrap().contains("the other `join`"));
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write to {}: another delivery or program has locked the directory",
            root.display()
        )
    );
    drop(locks);
    write(root, &inner, &mut no_fault).unwrap();
    assert_eq!(files(root)["a"], "inner");
    assert!(!format!("{:?}", tree(root)).contains(".cfgsync-"));
}

/// Regression test: a directory with the name of a staging file made every delivery fail.
#[test]
fn removes_own_staging_files_and_keeps_everything_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path(".cfgsync-0123456789abcdef.tmp"), "x").unwrap();
    symlink("x", path(".cfgsync-1123456789abcdef.tmp")).unwrap();
    fs::create_dir(path(".cfgsync-2123456789abcdef.tmp")).unwrap();
    fs::write(path(".cfgsync-2123456789abcdef.tmp").join("mine"), "x").unwrap();
    let _socket =
        std::os::unix::net::UnixListener::bind(path(".cfgsync-3123456789abcdef.tmp")).unwrap();
    fs::write(path(".cfgsync-mine.tmp"), "x").unwrap();
    write(
        directory.path(),
        &[artifact("a", "0644", "a!")],
        &mut no_fault,
    )
    .unwrap();
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            ".cfgsync-2123456789abcdef.tmp",
            ".cfgsync-3123456789abcdef.tmp",
            ".cfgsync-mine.tmp",
            "a"
        ]
    );
}

#[test]
fn symlinks_below_the_operators_path_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    symlink(outside.path(), root.join("link")).unwrap();
    let error = write(root, &[artifact("link/a", "0644", "a!")], &mut no_fault).unwrap_err();
    assert!(matches!(error, DiskError::SymbolicLink { .. }), "{error}");
    // A symbolic link at the file's own path is replaced. Its target stays unchanged.
    let secret = outside.path().join("secret");
    fs::write(&secret, "theirs").unwrap();
    symlink(&secret, root.join("a")).unwrap();
    write(root, &[artifact("a", "0644", "ours")], &mut no_fault).unwrap();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "ours");
    assert_eq!(fs::read_to_string(secret).unwrap(), "theirs");
    // The operator's own path may contain symbolic links.
    write(
        &root.join("link"),
        &[artifact("b", "0644", "ours")],
        &mut no_fault,
    )
    .unwrap();
    assert_eq!(files(outside.path())["b"], "ours");
}

#[test]
fn targets_that_cannot_be_written_are_named() {
    let directory = with_old();
    let root = directory.path();
    let message = |name: &str| {
        let error = write(
            root,
            &[artifact("a", "0600", "newer"), artifact(name, "0644", "x!")],
            &mut no_fault,
        );
        let error = error.unwrap_err();
        assert!(error.hint().is_some() || matches!(error, DiskError::Io { .. }));
        error.to_string().replace(root.to_str().unwrap(), "ROOT")
    };
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    assert_eq!(message("d"), "cannot write ROOT/d: it is a directory");
    assert_eq!(
        message("socket"),
        "cannot write ROOT/socket: it is not a regular file"
    );
    assert_eq!(
        message("same/x"),
        "cannot open the directory ROOT/same: Not a directory (os error 20)"
    );
    assert_eq!(
        message(".cfgsync-0123456789abcdef.tmp"),
        "cannot write ROOT/.cfgsync-0123456789abcdef.tmp: this form of name is reserved for temporary files of cfgsync"
    );
    let long = "n".repeat(300);
    assert!(message(&long).ends_with("File name too long (os error 36)"));
    drop(socket);
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "old a");
}

#[test]
fn rejects_two_paths_to_the_same_file() {
    let directory = with_old();
    let root = directory.path();
    symlink(".", root.join("here")).unwrap();
    let (a, b) = (artifact("a", "0644", "aa"), artifact("b", "0644", "bb"));
    let (one, two) = (target(root, "x"), target(&root.join("here"), "x"));
    let error = disk::write(&[(&a, &one), (&b, &two)], None).unwrap_err();
    assert!(matches!(error, DiskError::SameFile { .. }), "{error}");
    assert!(!root.join("x").exists());
}

#[test]
fn unwritable_directory_is_named() {
    // Not even root can create files here.
    let error = write(
        Path::new("/proc/self"),
        &[artifact("x", "0644", "xx")],
        &mut no_fault,
    );
    let message = error.unwrap_err().to_string();
    assert!(
        message.starts_with("cannot write /proc/self/x: "),
        "{message}"
    );
}

#[test]
fn owner_is_set_on_files_and_new_directories() {
    let directory = tempfile::tempdir().unwrap();
    let mine = fs::metadata(directory.path()).unwrap();
    // Only root can set another owner. Other users can only set their own IDs.
    let (uid, gid) = match mine.uid() {
        0 => (12345, 23456),
        uid => (uid, mine.gid()),
    };
    let owner = Some(Owner {
        uid: Some(uid),
        gid: Some(gid),
    });
    write_owned(directory.path(), &new(), owner, &mut no_fault).unwrap();
    for name in ["a", "d", "d/e", "d/e/c"] {
        let stat = fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (uid, gid), "{name}");
    }
    // A later run without an owner keeps it.
    let newer = [artifact("a", "0644", "newer")];
    write(directory.path(), &newer, &mut no_fault).unwrap();
    let stat = fs::metadata(directory.path().join("a")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (uid, gid));
}

#[test]
fn file_may_give_its_own_owner_and_the_node_has_priority() {
    use cfgsync_model::{Account, Ownership};

    let directory = tempfile::tempdir().unwrap();
    let mine = fs::metadata(directory.path()).unwrap();
    let is_root = mine.uid() == 0;
    let (uid, gid) = if is_root {
        (12345, 23456)
    } else {
        (mine.uid(), mine.gid())
    };
    let account = |number: u32| Some(Account::new(&number.to_string()).unwrap());
    let with = |name, owner, group| ArtifactFile {
        ownership: Ownership::of(owner, group),
        ..artifact(name, "0644", "content")
    };
    let owned = [
        with("both", account(uid), account(gid)),
        with("group", None, account(gid)),
        with("none", None, None),
    ];
    let owner_of = |name: &str| {
        let stat = fs::metadata(directory.path().join(name)).unwrap();
        (stat.uid(), stat.gid())
    };
    write(directory.path(), &owned, &mut no_fault).unwrap();
    assert_eq!(owner_of("both"), (uid, gid));
    assert_eq!(owner_of("group"), (mine.uid(), gid));
    assert_eq!(owner_of("none"), (mine.uid(), mine.gid()));
    let again = write(directory.path(), &owned, &mut no_fault).unwrap();
    assert!(again.iter().all(|file| file.outcome == Outcome::Unchanged));

    let of_node = Owner {
        uid: Some(if is_root { 11111 } else { uid }),
        gid: None,
    };
    write_owned(directory.path(), &owned, Some(of_node), &mut no_fault).unwrap();
    assert_eq!(owner_of("both"), (of_node.uid.unwrap(), gid));

    let unknown = [with(
        "both",
        Some(Account::new("no-such-user").unwrap()),
        None,
    )];
    let error = write(directory.path(), &unknown, &mut no_fault).unwrap_err();
    assert_eq!(
        error
            .to_string()
            .replace(directory.path().to_str().unwrap(), "DIR"),
        "cannot change the owner of DIR/both: /etc/passwd has no user no-such-user"
    );
    assert!(error.hint().unwrap().contains("--owner USER:GROUP"));
}

/// Regression test: new directories below a setgid directory lost the bit, so their files got another group.
#[test]
fn setgid_directory_passes_on_its_bit_and_group() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("shared");
    fs::create_dir(&root).unwrap();
    let mine = fs::metadata(&root).unwrap();
    let gid = if mine.uid() == 0 { 23456 } else { mine.gid() };
    std::os::unix::fs::chown(&root, None, Some(gid)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o2775)).unwrap();
    write(&root, &new(), &mut no_fault).unwrap();
    for (name, mode) in [
        ("d", 0o2755),
        ("d/e", 0o2755),
        ("a", 0o640),
        ("d/e/c", 0o600),
    ] {
        let stat = fs::metadata(root.join(name)).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.gid()), (mode, gid), "{name}");
    }
}

fn secret(name: &str, content: &str) -> ArtifactFile {
    artifact(name, "0600", content).into_secret()
}

#[test]
fn refused_mode_is_an_error_for_secrets_only() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let refuse = |step| match step {
        Step::Mode => Err(io::Error::from_raw_os_error(1)),
        _ => Ok(()),
    };
    write(root, &[artifact("open", "0644", "x!")], &mut { refuse }).unwrap();
    assert_eq!(tree(root)[Path::new("open")], (0o600, "x!".to_owned()));
    let both = [artifact("open", "0644", "newer"), secret("key", "k!")];
    let error = write(root, &both, &mut { refuse }).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot change the mode of {}: Operation not permitted (os error 1)",
            root.join("key").display()
        )
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("a file system that keeps modes")
    );
    assert_eq!(
        files(root),
        BTreeMap::from([("open".to_owned(), "x!".to_owned())])
    );
}

#[test]
fn ignored_mode_is_an_error_for_secrets_only() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    // As on a file system whose files all have one mode.
    let mut ignore = |step| {
        if step == Step::Sync {
            for entry in fs::read_dir(root).unwrap() {
                let all = fs::Permissions::from_mode(0o666);
                fs::set_permissions(entry.unwrap().path(), all).unwrap();
            }
        }
        Ok(())
    };
    write(root, &[artifact("open", "0644", "x!")], &mut ignore).unwrap();
    assert_eq!(tree(root)[Path::new("open")], (0o666, "x!".to_owned()));
    let error = write(root, &[secret("key", "k!")], &mut ignore).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "/key: the file system keeps the mode 0666, with which other users could read the secret"
        ),
        "{error}"
    );
    assert_eq!(files(root).len(), 1);
}

/// Returns an ACL of mode 0640 with read permission for the user 1234, as the kernel encodes it.
fn acl(mask: u8) -> Vec<u8> {
    let anyone = u32::MAX;
    let entries = [
        (1, 6, anyone),
        (2, 4, 1234),
        (4, 0, anyone),
        (16, mask, anyone),
        (32, 0, anyone),
    ];
    let mut value = vec![2, 0, 0, 0];
    for (tag, permissions, id) in entries {
        value.extend([tag, 0, permissions, 0]);
        value.extend(id.to_le_bytes());
    }
    value
}

/// Regression test: a delivery took away the ACL with which an operator had let a user read a file.
#[test]
fn acl_and_attributes_of_a_replaced_file_are_kept() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};

    const ACL: &str = "system.posix_acl_access";
    let set = |path: &Path| {
        setxattr(path, "user.note", b"mine", XattrFlags::empty())?;
        setxattr(path, ACL, &acl(4), XattrFlags::empty())
    };
    let get = |path: &Path, name| {
        let mut value = [0; 100];
        let length = getxattr(path, name, &mut value).unwrap();
        value[..length].to_vec()
    };
    let can_exchange = |_| Ok(());
    let cannot = |step| match step {
        Step::Exchange => Err(io::Error::from_raw_os_error(22)),
        _ => Ok(()),
    };
    let is_mounted = |step| match step {
        Step::Exchange => Err(io::Error::from_raw_os_error(16)),
        _ => Ok(()),
    };
    let hooks: [fn(Step) -> io::Result<()>; 3] = [can_exchange, cannot, is_mounted];
    for hook in hooks {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(directory.path(), &[secret("key", "old")], &mut no_fault).unwrap();
        if set(&path).is_err() {
            // This file system has none.
            return;
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let fails_later = write(directory.path(), &[secret("key", "new")], &mut |step| {
            hook(step)?;
            match step {
                Step::SyncDirectory => Err(io::Error::from_raw_os_error(5)),
                _ => Ok(()),
            }
        });
        assert!(fails_later.is_err());
        assert_eq!(
            (get(&path, ACL), get(&path, "user.note")),
            (acl(4), b"mine".to_vec())
        );
        write(directory.path(), &[secret("key", "new")], &mut { hook }).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            (get(&path, ACL), get(&path, "user.note")),
            (acl(4), b"mine".to_vec())
        );

        // The mode of the ACL's owner and group entries is right, so nothing is written.
        let again = write(directory.path(), &[secret("key", "new")], &mut no_fault).unwrap();
        assert_eq!(outcomes(&again), [("key", Outcome::Unchanged)]);
    }
}

/// A directory `d` that can be swapped for a symbolic link to a directory outside of the root.
struct SwappedDirectory {
    _directory: TempDir,
    root: PathBuf,
    outside: PathBuf,
}

impl SwappedDirectory {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (
            directory.path().join("root"),
            directory.path().join("outside"),
        );
        fs::create_dir_all(root.join("d/sub")).unwrap();
        fs::create_dir_all(outside.join("sub")).unwrap();
        symlink("../outside", root.join("aside")).unwrap();
        Self {
            _directory: directory,
            root,
            outside,
        }
    }

    /// Swaps directory and link atomically. A second call swaps them back.
    fn swap(&self) {
        use rustix::fs::{CWD, RenameFlags, renameat_with};

        let (here, aside) = (self.root.join("d"), self.root.join("aside"));
        renameat_with(CWD, here, CWD, aside, RenameFlags::EXCHANGE).unwrap();
    }

    /// Returns the files that were written outside of the root.
    fn written_outside(&self) -> Vec<String> {
        let found = tree(&self.outside).into_keys();
        let found = found.map(|path| path.display().to_string());
        found.filter(|path| path != "sub/").collect()
    }
}

fn below_d() -> Vec<ArtifactFile> {
    vec![
        artifact("d/a", "0600", "first"),
        artifact("d/sub/b", "0600", "second"),
        artifact("d/made/c", "0600", "third"),
    ]
}

#[test]
fn directory_swapped_for_a_symlink_at_any_step_writes_nothing_outside() {
    let steps = {
        let swapped = SwappedDirectory::new();
        let mut steps = 0;
        write(&swapped.root, &below_d(), &mut |_| {
            steps += 1;
            Ok(())
        })
        .unwrap();
        steps
    };
    assert!(steps > 15, "{steps} steps");
    for at in 0..steps {
        let swapped = SwappedDirectory::new();
        let mut step = 0;
        let outcome = write(&swapped.root, &below_d(), &mut |_| {
            if step == at {
                swapped.swap();
            }
            step += 1;
            Ok(())
        });
        assert_eq!(swapped.written_outside(), [""; 0], "step {at}: {outcome:?}");
        // The writer either detected the swap and restored all files, or all files are in the moved directory.
        let aside = files(&swapped.root.join("aside"));
        match outcome {
            Ok(_) => assert_eq!(aside.len(), 3, "step {at}: {aside:?}"),
            Err(DiskError::SymbolicLink { .. }) => {
                assert_eq!(aside.len(), 0, "step {at}: {aside:?}");
            }
            Err(other) => panic!("step {at}: {other}"),
        }
    }
}

#[test]
fn directory_swapped_continuously_writes_nothing_outside() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let swapped = SwappedDirectory::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swapped.swap();
            }
        });
        let (mut written, mut refused) = (0, 0);
        for round in 0..2_000 {
            let files = [artifact("d/sub/a", "0600", &format!("round {round}"))];
            match write(&swapped.root, &files, &mut no_fault) {
                Ok(_) => written += 1,
                Err(_) => refused += 1,
            }
            if round >= 300 && written > 20 && refused > 20 {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(written > 0, "{written} written, {refused} refused");
    });
    assert_eq!(swapped.written_outside(), [""; 0]);
}

#[test]
fn checksums_do_not_follow_symlinks() {
    use disk::Checksum;

    let swapped = SwappedDirectory::new();
    write(&swapped.root, &below_d(), &mut no_fault).unwrap();
    let of = |below: &str, bytes| disk::checksum(&target(&swapped.root, below), bytes).unwrap();
    assert_eq!(
        of("d/a", 5),
        Checksum::Sha256(cfgsync_model::Digest::of(b"first"))
    );
    assert_eq!(of("d/a", 4), Checksum::OtherLength);
    for absent in ["d/none", "none/a", "d/a/b", "d/sub"] {
        assert_eq!(of(absent, 5), Checksum::Absent, "{absent}");
    }
    swapped.swap();
    fs::write(swapped.outside.join("a"), "first").unwrap();
    assert_eq!(of("d/a", 5), Checksum::Absent);
    symlink("aside/a", swapped.root.join("link")).unwrap();
    assert_eq!(of("link", 5), Checksum::Absent);
    // The operator's own part of the path may be a symbolic link.
    let own = disk::checksum(&target(&swapped.root.join("d"), "a"), 5).unwrap();
    assert_eq!(own, Checksum::Sha256(cfgsync_model::Digest::of(b"first")));
}

/// Regression test: `--out X=/dev/stdout` as root replaced /dev/stdout by a regular file.
#[test]
fn symlink_to_a_device_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (name, to) in [("null", "/dev/null"), ("stdout", "/proc/self/fd/1")] {
        symlink(to, root.join(name)).unwrap();
        let error = write(root, &[artifact(name, "0644", "new")], &mut no_fault).unwrap_err();
        assert!(matches!(error, DiskError::NotAFile { .. }), "{error}");
        assert_eq!(fs::read_link(root.join(name)).unwrap(), Path::new(to));
    }
    symlink("nowhere", root.join("file")).unwrap();
    write(root, &[artifact("file", "0644", "new")], &mut no_fault).unwrap();
    assert_eq!(files(root)["file"], "new");
}
