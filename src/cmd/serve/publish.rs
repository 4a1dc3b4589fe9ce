//! Writes the files that other processes wait for: the port file and the join URL.

use std::{io, net::SocketAddr, path::Path};

use cfgsync_support::replace_file;

/// The mode of these files, before the umask.
const MODE: u32 = 0o666;

/// Writes the ports of the listeners, one per line.
pub(super) fn write_port_file(path: &Path, addresses: &[SocketAddr]) -> io::Result<()> {
    let ports: Vec<String> = addresses
        .iter()
        .map(|address| address.port().to_string())
        .collect();
    write_atomic(path, &(ports.join("\n") + "\n"))
}

/// Writes a file so that a reader sees all of it or nothing. A device, a pipe, or a link to one such as `/dev/stdout` is
/// written in place: a rename would replace it for the whole machine.
pub(super) fn write_atomic(path: &Path, text: &str) -> io::Result<()> {
    let is_special = std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    // A link to an open descriptor, which may be that of a regular file.
    let into_proc = std::fs::read_link(path).is_ok_and(|target| target.starts_with("/proc"));
    if is_special || into_proc {
        return std::fs::write(path, text);
    }
    replace_file::replace(path, text.as_bytes(), MODE)
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
}
