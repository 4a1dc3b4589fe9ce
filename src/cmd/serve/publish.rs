//! Writes the files that other processes wait for: the port file and the join URL.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use cfgsync_support::replace_file;

/// The mode of these files, before the umask.
const MODE: u32 = 0o666;

/// The port file of a running server. It is removed when this value is dropped, because the ports are closed then.
#[must_use = "dropping the value removes the file"]
pub(super) struct PortFile {
    path: PathBuf,
    text: String,
}

impl PortFile {
    /// Writes the ports of the listeners, one per line.
    pub(super) fn write(path: &Path, addresses: &[SocketAddr]) -> io::Result<Self> {
        let ports: Vec<String> = addresses
            .iter()
            .map(|address| address.port().to_string())
            .collect();
        let text = ports.join("\n") + "\n";
        write_atomic(path, &text)?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    /// Removes the file of an earlier server, whose ports are closed. Fails if the file cannot be written later.
    pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
        check(path)?;
        if is_written_in_place(path) {
            return Ok(());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

impl Drop for PortFile {
    fn drop(&mut self) {
        // Another server may have written its ports meanwhile.
        let is_ours = std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text);
        if is_ours
            && !is_written_in_place(&self.path)
            && let Err(error) = Self::remove_stale(&self.path)
        {
            let path = self.path.display();
            tracing::warn!("cannot remove the port file {path}: {error}");
        }
    }
}

/// Writes a file so that a reader sees all of it or nothing. A device, a pipe, or a link to one such as `/dev/stdout` is
/// written in place: a rename would replace it for the whole machine.
pub(super) fn write_atomic(path: &Path, text: &str) -> io::Result<()> {
    if is_written_in_place(path) {
        return std::fs::write(path, text);
    }
    replace_file::replace(path, text.as_bytes(), MODE)
}

/// Fails if `path` leads to a socket or a named pipe, which would have to wait for another process. A pipe that is open
/// already, such as `/dev/stdout`, is accepted.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let is_open = ["/dev", "/proc"].iter().any(|at| path.starts_with(at));
    let is_refused = std::fs::metadata(path).is_ok_and(|found| {
        let kind = found.file_type();
        kind.is_fifo() || kind.is_socket()
    });
    if is_refused && !is_open && !leads_into_proc(path) {
        return Err(io::Error::other(
            "it is a named pipe or a socket; choose the path of a file",
        ));
    }
    Ok(())
}

fn is_written_in_place(path: &Path) -> bool {
    let is_special = std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    is_special || leads_into_proc(path)
}

/// Returns whether `path` is a link to an open descriptor, which may be that of a regular file.
fn leads_into_proc(path: &Path) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target.starts_with("/proc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_to_a_device_is_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (link, file) = (place.path().join("stdout"), place.path().join("port"));
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        write_atomic(&link, "4400\n").unwrap();
        assert!(link.is_symlink(), "the link was replaced");
        write_atomic(&file, "4400\n").unwrap();
        write_atomic(&file, "4401\n").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "4401\n");
        let left = std::fs::read_dir(place.path()).unwrap().count();
        assert_eq!(left, 2, "a staged file was left");
        // An earlier version staged the file under a predictable name, and followed a link with that name.
        let planted = place.path().join(format!(".port.{}", std::process::id()));
        std::os::unix::fs::symlink(place.path().join("victim"), &planted).unwrap();
        write_atomic(&file, "4402\n").unwrap();
        assert!(planted.is_symlink() && !place.path().join("victim").exists());
    }

    #[test]
    fn port_file_is_removed_at_the_end_unless_another_server_has_written_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("port");
        let of = |port: u16| PortFile::write(&path, &[([127, 0, 0, 1], port).into()]).unwrap();
        let first = of(4400);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4400\n");
        let second = of(4401);
        drop(first);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4401\n");
        drop(second);
        assert!(!path.exists());
        PortFile::remove_stale(&path).unwrap();

        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        drop(of(4402));
        PortFile::remove_stale(&path).unwrap();
        assert!(path.is_symlink());
    }
}
