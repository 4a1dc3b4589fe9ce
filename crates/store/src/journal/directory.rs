//! The real disk: a directory that one server locks, and that other users cannot read.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use rustix::{
    fs::{FallocateFlags, fallocate, fdatasync, statfs},
    io::Errno,
};

use super::disk::{Disk, DiskFile, FileIdentity};
use crate::directory_error::DirectoryError;

/// The directory of sealed generations.
pub(super) const GENERATIONS: &str = "generations";

const LOCK: &str = "lock";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The permission bits of group and others.
const OTHERS_MASK: u32 = 0o077;
/// The filesystems that keep the inode number of a file for as long as the file exists, by the number that `statfs`
/// returns. Others, such as overlayfs, NFS, FUSE and 9p, may assign new numbers at each mount.
const STABLE_INODES: [i128; 7] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // btrfs
    0x2fc1_2fc1, // ZFS
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x0102_1994, // tmpfs
];
/// The size of one write of zeros, in bytes, on a filesystem that cannot reserve space.
const ZEROS_WRITE_BYTES: usize = 64 << 10;

/// A state directory. A directory that is open for writing stays locked until this is dropped.
pub(super) struct Directory {
    path: PathBuf,
    locks: Option<Locks>,
}

/// Two locks. The lock file names the process, but an operator may remove it as stale. The directory itself cannot be
/// locked on every filesystem.
struct Locks {
    file: File,
    directory: File,
}

impl Directory {
    /// Opens `path` for writing, creates it if it does not exist, and locks it.
    pub(super) fn open_locked(path: &Path) -> Result<Self, DirectoryError> {
        let failed = |action| {
            let path = path.to_owned();
            move |error| DirectoryError::Io {
                action,
                path,
                error,
            }
        };
        let mut builder = DirBuilder::new();
        builder.mode(DIRECTORY_MODE).recursive(true);
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let created: Vec<&Path> = path.ancestors().take_while(missing).collect();
        builder.create(path).map_err(failed("create"))?;
        restrict_access(path)?;
        let locks = lock(path)?;
        builder
            .create(path.join(GENERATIONS))
            .map_err(failed("create directories in"))?;
        let directory = Self {
            path: path.to_owned(),
            locks: Some(locks),
        };
        directory.sync_directory("").map_err(failed("sync"))?;
        // The directory entries of the new directories must be durable as well.
        for created in created {
            File::open(created.join(".."))
                .and_then(|parent| parent.sync_all())
                .map_err(failed("sync the directory of"))?;
        }
        Ok(directory)
    }

    /// Opens `path` for reading, also while a server has locked it.
    pub(super) fn open_unlocked(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            locks: None,
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(Locks { file, directory }) = &self.locks {
            // Closing is not enough: a child that was forked in the meantime holds copies of both until it executes a
            // program.
            let _ = file.unlock();
            let _ = directory.unlock();
        }
    }
}

/// Removes the permissions of group and others, if the directory is empty or ours.
fn restrict_access(path: &Path) -> Result<(), DirectoryError> {
    let failed = |error| DirectoryError::Io {
        action: "read the mode of",
        path: path.to_owned(),
        error,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & OTHERS_MASK == 0 {
        return Ok(());
    }
    let is_empty = fs::read_dir(path).map_err(failed)?.next().is_none();
    let is_ours = is_empty || path.join(LOCK).exists();
    let restrict = || fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE));
    // Restricting a directory that other programs use would break them.
    if is_ours && restrict().is_ok() {
        return Ok(());
    }
    Err(DirectoryError::Exposed {
        directory: path.to_owned(),
        mode,
    })
}

fn lock(path: &Path) -> Result<Locks, DirectoryError> {
    let lock_path = path.join(LOCK);
    let failed = |error: io::Error| DirectoryError::Io {
        action: "lock",
        path: lock_path.clone(),
        error,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&lock_path)
        .map_err(failed)?;
    let directory = File::open(path).map_err(failed)?;
    let locked = file.try_lock().and_then(|()| match directory.try_lock() {
        // A network filesystem may lock only files that are open for writing, which a directory cannot be.
        Err(TryLockError::Error(_)) => Ok(()),
        locked => locked,
    });
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The other server may not have written its process id yet.
            let _ = file.read_to_string(&mut text);
            return Err(DirectoryError::InUse {
                directory: path.to_owned(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(Locks { file, directory })
}

impl Disk for Directory {
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            return self.path.clone();
        }
        self.path.join(name)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(directory))? {
            let entry = entry?;
            if let (true, Ok(name)) = (
                entry.file_type()?.is_file(),
                entry.file_name().into_string(),
            ) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        Ok(Box::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = options.mode(FILE_MODE).open(self.path(name))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        File::open(self.path(directory))?.sync_all()
    }

    fn identity(&self, name: &str) -> Option<FileIdentity> {
        let path = self.path(name);
        // The type of the field differs between architectures. The low 32 bits hold the number on all of them.
        let filesystem = i128::from(statfs(&path).ok()?.f_type) & 0xffff_ffff;
        let file = fs::metadata(&path).ok()?;
        let created = file.created().ok();
        let created = created.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        STABLE_INODES.contains(&filesystem).then(|| FileIdentity {
            inode: file.ino(),
            created_nanoseconds: created.and_then(|at| at.as_nanos().try_into().ok()),
        })
    }
}

impl DiskFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn allocate(&mut self, from: u64, to: u64) -> io::Result<()> {
        if from == to {
            return Ok(());
        }
        loop {
            match fallocate(&*self, FallocateFlags::empty(), from, to - from) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                // posix_fallocate does the same on filesystems that cannot reserve space.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return write_zeros(self, from, to),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        fdatasync(&*self)?;
        // The data in a removed file is lost when the file is closed.
        if self.metadata()?.nlink() == 0 {
            return Err(io::Error::other("the file was removed"));
        }
        Ok(())
    }
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_WRITE_BYTES];
    let mut at = from;
    while at < to {
        let length =
            usize::try_from(to - at).map_or(ZEROS_WRITE_BYTES, |left| left.min(ZEROS_WRITE_BYTES));
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
