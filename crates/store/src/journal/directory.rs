//! The real disk: one directory, held by one server, closed to others.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, fallocate, fdatasync, flock},
    io::Errno,
};

use super::{
    disk::{Disk, DiskFile},
    error::JournalError,
};

/// The directory of sealed generations.
pub(super) const GENERATIONS: &str = "generations";

const LOCK: &str = "lock";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const OF_OTHERS: u32 = 0o077;
/// Zeros are written so many at a time where the filesystem cannot reserve space.
const ZEROS_BYTES: usize = 64 << 10;

/// A state directory. Whoever opened it to write holds it until this is dropped.
pub(super) struct Directory {
    path: PathBuf,
    held: Option<Held>,
}

/// Both are locked: the file says who has the directory and may be removed by whoever takes it for stale; the
/// directory itself cannot be locked on every filesystem.
struct Held {
    file: File,
    directory: File,
}

impl Directory {
    /// Opens `path` to write, makes it if need be, and holds it.
    pub(super) fn hold(path: &Path) -> Result<Self, JournalError> {
        let failed = |action| {
            let path = path.to_owned();
            move |error| JournalError::Io {
                action,
                path,
                error,
            }
        };
        let mut builder = DirBuilder::new();
        builder.mode(DIRECTORY_MODE).recursive(true);
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made: Vec<&Path> = path.ancestors().take_while(missing).collect();
        builder.create(path).map_err(failed("create"))?;
        close_to_others(path)?;
        let held = lock(path)?;
        builder
            .create(path.join(GENERATIONS))
            .map_err(failed("create directories in"))?;
        let directory = Self {
            path: path.to_owned(),
            held: Some(held),
        };
        directory.sync_directory("").map_err(failed("sync"))?;
        // Its own name must last as well, and those of the directories that it lies in.
        for made in made {
            File::open(made.join(".."))
                .and_then(|parent| parent.sync_all())
                .map_err(failed("sync the directory of"))?;
        }
        Ok(directory)
    }

    /// Opens `path` to read, also while a server holds it.
    pub(super) fn look(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            held: None,
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(Held { file, directory }) = &self.held {
            // Closing would do, but for a child that was forked meanwhile and has a copy until it executes.
            let _ = flock(file, FlockOperation::Unlock);
            let _ = flock(directory, FlockOperation::Unlock);
        }
    }
}

fn close_to_others(path: &Path) -> Result<(), JournalError> {
    let failed = |error| JournalError::Io {
        action: "look at",
        path: path.to_owned(),
        error,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & OF_OTHERS == 0 {
        return Ok(());
    }
    let is_empty = fs::read_dir(path).map_err(failed)?.next().is_none();
    let is_ours = is_empty || path.join(LOCK).exists();
    let closed = || fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE));
    // Closing a directory that others use would break more than it protects.
    match is_ours && closed().is_ok() {
        true => Ok(()),
        false => Err(JournalError::Exposed {
            directory: path.to_owned(),
            mode,
        }),
    }
}

fn lock(path: &Path) -> Result<Held, JournalError> {
    let file = path.join(LOCK);
    let failed = |error: io::Error| JournalError::Io {
        action: "lock",
        path: file.clone(),
        error,
    };
    let mut held = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&file)
        .map_err(failed)?;
    let directory = File::open(path).map_err(failed)?;
    let lock = |what: &File| flock(what, FlockOperation::NonBlockingLockExclusive);
    let locked = lock(&held).and_then(|()| match lock(&directory) {
        // Over a network a lock may need a file that is open to write, which no directory is.
        Err(error) if error != Errno::WOULDBLOCK => Ok(()),
        locked => locked,
    });
    match locked {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Whoever holds it may be about to write its number.
            let _ = held.read_to_string(&mut text);
            return Err(JournalError::InUse {
                directory: path.to_owned(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(error) => return Err(failed(error.into())),
    }
    held.set_len(0)
        .and_then(|()| writeln!(held, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(Held {
        file: held,
        directory,
    })
}

impl Disk for Directory {
    fn path(&self, name: &str) -> PathBuf {
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
                // As posix_fallocate does it where the filesystem cannot.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return write_zeros(self, from, to),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        fdatasync(&*self)?;
        // What nobody will find again was not written down.
        match self.metadata()?.nlink() {
            0 => Err(io::Error::other("somebody has removed it")),
            _ => Ok(()),
        }
    }
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
