//! A disk in memory for tests. Any operation can fail, and a crash keeps an arbitrary part of the unsynced data.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use super::disk::{Disk, DiskFile, FileIdentity};

pub(super) const SECTOR_BYTES: usize = 512;

/// The way in which an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The machine stops before the operation.
    StopBefore,
    /// The machine stops during the operation, which takes effect completely, in part, or not at all.
    StopDuring,
    /// The operation fails. A write takes effect in part.
    FailOnce,
    /// This operation and the following ones fail, this many together, as on a full disk.
    FailFor(u64),
}

/// A pseudo-random generator (SplitMix64). The same seed gives the same numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// An unsynced change of a file.
#[derive(Clone)]
enum FileChange {
    Write(usize, Vec<u8>),
    SetLength(usize),
}

/// The content of a file. Zeros at the end count in `length` only and are not in `bytes`.
#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    length: usize,
}

#[derive(Clone, Default)]
struct Inode {
    /// The content that a read returns.
    current: Contents,
    /// The content that certainly survives a crash.
    durable: Contents,
    unsynced: Vec<FileChange>,
}

impl Inode {
    /// Returns a file with these contents, which survive a crash.
    fn durable(contents: Contents) -> Self {
        Self {
            current: contents.clone(),
            durable: contents,
            unsynced: vec![],
        }
    }
}

/// An unsynced change of a directory.
#[derive(Clone)]
enum NameChange {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
}

#[derive(Default)]
struct DiskState {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
    next_inode: u64,
    /// The number of operations that were requested.
    operations: u64,
    /// The number of the first operation that fails, and the fault.
    fault: Option<(u64, Fault)>,
    is_off: bool,
    syncs_fail: bool,
}

/// A simulated disk. Clones are handles of the same disk.
#[derive(Clone, Default)]
pub(super) struct SimulatedDisk(Arc<Mutex<DiskState>>);

struct OpenFile {
    disk: SimulatedDisk,
    inode: u64,
}

/// The way in which an operation is carried out.
enum Execution {
    Complete,
    /// The operation takes effect completely, and then the machine stops.
    CompleteAndStop,
    /// The operation takes effect in part, if possible, and returns an error.
    Fail,
}

impl SimulatedDisk {
    /// Returns a disk that holds these files durably.
    pub(super) fn with_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut state = DiskState::default();
        for ((name, bytes), inode) in files.into_iter().zip(0..) {
            let contents = Contents {
                length: bytes.len(),
                bytes,
            };
            state.inodes.insert(inode, Inode::durable(contents));
            state.names.insert(name, inode);
            state.next_inode = inode + 1;
        }
        state.durable_names = state.names.clone();
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap()
    }

    /// Returns the disk after a crash of the machine: an arbitrary part of the unsynced data survives.
    pub(super) fn after_crash(&self, random: &mut Random) -> Self {
        let state = self.lock();
        let mut names = state.durable_names.clone();
        for change in &state.unsynced_names {
            if random.flip() {
                apply_name_change(&mut names, change);
            }
        }
        let inodes = state.inodes.iter().map(|(number, inode)| {
            let contents = surviving_contents(inode, random);
            (*number, Inode::durable(contents))
        });
        Self(Arc::new(Mutex::new(DiskState {
            inodes: inodes.collect(),
            durable_names: names.clone(),
            names,
            next_inode: state.next_inode,
            ..DiskState::default()
        })))
    }

    /// Returns the disk after a kill of its server. All written data can be read, but unsynced data need not survive the
    /// next crash.
    pub(super) fn after_kill(&self) -> Self {
        let state = self.lock();
        Self(Arc::new(Mutex::new(DiskState {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            unsynced_names: state.unsynced_names.clone(),
            next_inode: state.next_inode,
            ..DiskState::default()
        })))
    }

    /// Calls `action` while no operation can complete.
    pub(super) fn while_blocked(&self, action: impl FnOnce()) {
        let _blocked = self.lock();
        action();
    }

    /// Makes every later sync fail.
    pub(super) fn fail_syncs(&self) {
        self.lock().syncs_fail = true;
    }

    /// Makes the operation with this number fail with `fault`.
    pub(super) fn set_fault(&self, fault: Option<(u64, Fault)>) {
        self.lock().fault = fault;
    }

    /// The number of operations that were requested.
    pub(super) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Removes a file durably, as another program could.
    pub(super) fn lose(&self, name: &str) {
        let mut state = self.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// Adds a file, as another program could.
    pub(super) fn restore(&self, name: &str, bytes: &[u8]) {
        self.create(name).unwrap();
        self.overwrite(name, bytes);
    }

    /// Replaces the content of a file durably, as another program could.
    pub(super) fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let inode = state.names[name];
        let contents = Contents {
            bytes: bytes.to_vec(),
            length: bytes.len(),
        };
        state.inodes.insert(inode, Inode::durable(contents));
    }
}

fn apply_name_change(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
    }
}

/// Returns the content of a file after a crash: each sector of each unsynced write survives or not, in any order.
fn surviving_contents(inode: &Inode, random: &mut Random) -> Contents {
    let mut contents = inode.durable.clone();
    let mut pieces: Vec<FileChange> = Vec::new();
    for change in &inode.unsynced {
        match change {
            FileChange::SetLength(_) => pieces.push(change.clone()),
            FileChange::Write(at, data) => {
                let mut at = *at;
                let mut rest = &data[..];
                while !rest.is_empty() {
                    let length = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
                    pieces.push(FileChange::Write(at, rest[..length].to_vec()));
                    (at, rest) = (at + length, &rest[length..]);
                }
            }
        }
    }
    let is_in_order = random.flip();
    while !pieces.is_empty() {
        let at = if is_in_order {
            0
        } else {
            usize::try_from(random.next() % pieces.len() as u64).unwrap()
        };
        let piece = pieces.remove(at);
        if random.flip() {
            contents.apply(&piece);
        }
    }
    contents
}

impl Contents {
    fn apply(&mut self, change: &FileChange) {
        match change {
            FileChange::SetLength(length) => {
                self.bytes.truncate(*length);
                self.length = *length;
            }
            FileChange::Write(at, data) => {
                let end = at + data.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[*at..end].copy_from_slice(data);
                self.length = self.length.max(end);
            }
        }
    }

    fn to_vec(&self) -> Vec<u8> {
        let mut all = self.bytes.clone();
        all.resize(self.length, 0);
        all
    }
}

fn machine_is_off() -> io::Error {
    io::Error::other("the machine is off")
}

fn disk_is_full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl DiskState {
    /// Counts one operation and decides how it is carried out.
    fn begin_operation(&mut self) -> io::Result<Execution> {
        if self.is_off {
            return Err(machine_is_off());
        }
        let number = self.operations;
        self.operations += 1;
        let Some((at, fault)) = self.fault else {
            return Ok(Execution::Complete);
        };
        match fault {
            Fault::StopBefore if number == at => {
                self.is_off = true;
                Err(machine_is_off())
            }
            Fault::StopDuring if number == at => Ok(Execution::CompleteAndStop),
            Fault::FailOnce if number == at => Ok(Execution::Fail),
            Fault::FailFor(count) if (at..at + count).contains(&number) => Ok(Execution::Fail),
            _ => Ok(Execution::Complete),
        }
    }

    /// Carries out an operation that cannot take effect in part.
    fn operation(&mut self, action: impl FnOnce(&mut Self)) -> io::Result<()> {
        match self.begin_operation()? {
            Execution::Complete => {
                action(self);
                Ok(())
            }
            Execution::CompleteAndStop => {
                action(self);
                self.is_off = true;
                Err(machine_is_off())
            }
            Execution::Fail => Err(disk_is_full()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        apply_name_change(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    fn change_file(&mut self, inode: u64, change: FileChange) {
        let file = self.inodes.get_mut(&inode).unwrap();
        file.current.apply(&change);
        file.unsynced.push(change);
    }
}

fn directory_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

impl Disk for SimulatedDisk {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let state = self.lock();
        let inode = state.names.get(name);
        Ok(inode.map(|inode| state.inodes[inode].current.to_vec()))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let state = self.lock();
        let names = state.names.keys().filter(|n| directory_of(n) == directory);
        let names = names.map(|name| name.rsplit('/').next().unwrap().to_owned());
        Ok(names.collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.lock().names[name];
        Ok(Box::new(OpenFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let inode = state.next_inode;
        state.operation(|state| {
            state.next_inode += 1;
            state.inodes.insert(inode, Inode::default());
            state.change_name(NameChange::Link(name.to_owned(), inode));
        })?;
        drop(state);
        Ok(Box::new(OpenFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        self.lock().operation(|state| state.change_name(change))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.operation(|state| state.change_name(NameChange::Unlink(name.to_owned())))
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        self.lock().operation(|state| {
            let is_here = |change: &NameChange| {
                let (NameChange::Link(name, _)
                | NameChange::Rename(_, name)
                | NameChange::Unlink(name)) = change;
                directory_of(name) == directory
            };
            let changes = state.unsynced_names.drain(..);
            let (here, elsewhere): (Vec<_>, Vec<_>) = changes.partition(is_here);
            state.unsynced_names = elsewhere;
            for change in here {
                apply_name_change(&mut state.durable_names, &change);
            }
        })
    }

    fn identity(&self, name: &str) -> Option<FileIdentity> {
        let inode = *self.lock().names.get(name)?;
        Some(FileIdentity {
            inode,
            created_nanoseconds: None,
        })
    }
}

impl OpenFile {
    fn change(&self, change: FileChange) -> io::Result<()> {
        let inode = self.inode;
        let mut state = self.disk.lock();
        match (state.begin_operation()?, change) {
            (Execution::Complete, change) => {
                state.change_file(inode, change);
                Ok(())
            }
            (Execution::CompleteAndStop, change) => {
                state.change_file(inode, change);
                state.is_off = true;
                Err(machine_is_off())
            }
            (Execution::Fail, FileChange::Write(at, data)) => {
                // A failed write leaves half of the data, or all of it.
                let length = if state.operations.is_multiple_of(2) {
                    data.len()
                } else {
                    data.len() / 2
                };
                state.change_file(inode, FileChange::Write(at, data[..length].to_vec()));
                Err(disk_is_full())
            }
            (Execution::Fail, FileChange::SetLength(_)) => Err(disk_is_full()),
        }
    }
}

impl DiskFile for OpenFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.change(FileChange::Write(offset, bytes.to_vec()))
    }

    fn allocate(&mut self, from: u64, to: u64) -> io::Result<()> {
        if from == to {
            return Ok(());
        }
        self.change(FileChange::SetLength(usize::try_from(to).unwrap()))
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.change(FileChange::SetLength(usize::try_from(length).unwrap()))
    }

    fn sync(&mut self) -> io::Result<()> {
        let inode = self.inode;
        let mut state = self.disk.lock();
        if state.syncs_fail {
            return Err(io::Error::other("a broken disk"));
        }
        state.operation(|state| {
            let file = state.inodes.get_mut(&inode).unwrap();
            file.durable = file.current.clone();
            file.unsynced.clear();
        })
    }
}
