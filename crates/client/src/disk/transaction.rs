//! The phases of a transaction: stage, commit, and then finish or roll back.

use std::{collections::HashMap, fmt, io, path::PathBuf};

use super::{
    DirectoryLocks, DiskError, Owner, WrittenFile,
    install::{install, remove_old, roll_back},
    kind_change::{self, OldDirectory},
    leftovers::is_staging_name,
    owner::Accounts,
    removal::{self, Removal, RemovalRequest},
    stage::{Staged, stage},
    step::Step,
    tree::{Found, Tree},
};
use crate::Target;
use cfgsync_model::{ArtifactFile, Digest};

/// Files that are staged beside their targets. Nothing is replaced yet.
///
/// A transaction that is dropped rolls back.
///
/// ```
/// use cfgsync_client::{Target, disk::Transaction};
/// use cfgsync_model::{ArtifactFile, Digest};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("config.yaml");
/// let file = ArtifactFile::new("config.yaml".parse()?, "replicas: 3\n");
/// let target = Target::from_path(&path).expect("a path with a file name");
///
/// let committed = Transaction::stage(&[(&file, &target)], None)?.commit()?;
/// // The new files are in place. An error from here on can still call `committed.roll_back(error)`.
/// let written = committed.finish();
/// assert_eq!(written[0].path, path);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a transaction that is dropped rolls back"]
pub struct Transaction<'h>(Changes<'h>);

/// Files that are at their targets, while the old ones are kept for a rollback.
///
/// A committed transaction that is dropped rolls back; only [`CommittedTransaction::finish`] makes it permanent.
#[must_use = "a committed transaction that is dropped rolls back"]
pub struct CommittedTransaction<'h> {
    changes: Changes<'h>,
    written: Vec<WrittenFile>,
}

/// The changes of a transaction, with what is needed to undo them.
struct Changes<'h> {
    tree: Tree,
    /// The targets by directory and name, so that two paths to one file are found.
    targets: HashMap<(usize, String), PathBuf>,
    staged: Vec<Staged>,
    removals: Vec<Removal>,
    old_directories: Vec<OldDirectory>,
    /// The node's own choice, which has priority over that of a file.
    owner: Owner,
    accounts: Accounts,
    hook: Box<dyn FnMut(Step) -> io::Result<()> + 'h>,
    /// Whether the changes are permanent or undone, so that dropping them does nothing.
    is_settled: bool,
}

impl Transaction<'static> {
    /// Stages each file beside its target, with its mode and `owner`, or else the owner that the file gives. Without an
    /// owner, a replaced file's owner and group are kept where permitted.
    ///
    /// # Errors
    /// [`DiskError::Locked`] at once if another transaction writes to one of the directories.
    pub fn stage(
        files: &[(&ArtifactFile, &Target)],
        owner: Option<Owner>,
    ) -> Result<Self, DiskError> {
        Self::stage_with_hook(files, owner, |_| Ok(()))
    }

    /// Begins a transaction without files.
    pub(crate) fn begin(owner: Option<Owner>) -> Self {
        Self::begin_with_hook(owner, |_| Ok(()))
    }
}

impl<'h> Transaction<'h> {
    /// Begins a transaction without files, with a hook before each change to the disk.
    pub(crate) fn begin_with_hook(
        owner: Option<Owner>,
        hook: impl FnMut(Step) -> io::Result<()> + 'h,
    ) -> Self {
        Self(Changes::new(owner, Box::new(hook)))
    }

    /// Opens and locks the directories of `target`, which is staged later.
    pub(crate) fn open(&mut self, target: &Target) -> Result<TargetPlace, DiskError> {
        self.0.open(target)
    }

    /// Opens and locks the directories of `target` as far as they exist, so that leftovers in them are removed.
    pub(crate) fn clear_leftovers(&mut self, target: &Target) -> Result<(), DiskError> {
        let changes = &mut self.0;
        changes.tree.find(target, &mut *changes.hook).map(|_| ())
    }

    /// Stages a file at a place that was opened.
    pub(crate) fn add(&mut self, file: &ArtifactFile, place: TargetPlace) -> Result<(), DiskError> {
        self.0.add(file, place)
    }

    /// Removes the file at `target` in this transaction, if it has this length and checksum and no opened place is the
    /// same file.
    pub(crate) fn remove(
        &mut self,
        target: &Target,
        bytes: u64,
        sha256: Digest,
    ) -> Result<RemovalRequest, DiskError> {
        self.0.remove(target, bytes, sha256)
    }

    /// Returns whether the commit would change, create or remove a file.
    pub(crate) fn has_changes(&self) -> bool {
        let Changes {
            staged, removals, ..
        } = &self.0;
        !removals.is_empty() || staged.iter().any(Staged::is_change)
    }

    /// Undoes every change because of `cause`, as [`CommittedTransaction::roll_back`] does.
    pub(crate) fn roll_back(mut self, cause: DiskError) -> DiskError {
        self.0.roll_back(cause)
    }
}

/// The place of a target whose directories are open.
#[derive(Debug)]
pub(crate) struct TargetPlace {
    directory: usize,
    name: String,
    path: PathBuf,
}

impl<'h> Transaction<'h> {
    /// Stages files as [`Transaction::stage`] does, with a hook before each change to the disk, for tests. An error of
    /// the hook counts as an error of the change.
    #[doc(hidden)]
    pub fn stage_with_hook(
        files: &[(&ArtifactFile, &Target)],
        owner: Option<Owner>,
        hook: impl FnMut(Step) -> io::Result<()> + 'h,
    ) -> Result<Self, DiskError> {
        let mut changes = Changes::new(owner, Box::new(hook));
        match changes.stage_all(files) {
            Ok(()) => Ok(Self(changes)),
            Err(cause) => Err(changes.roll_back(cause)),
        }
    }

    /// Moves every staged file to its target and syncs the directories. After an error, all targets are restored.
    pub fn commit(self) -> Result<CommittedTransaction<'h>, DiskError> {
        let Self(mut changes) = self;
        let installed = install(
            &mut changes.tree,
            &mut changes.staged,
            &mut changes.removals,
            &mut changes.old_directories,
            &mut *changes.hook,
        );
        match installed {
            Ok(()) => {
                let written = changes.staged.iter().map(Staged::written).collect();
                Ok(CommittedTransaction { changes, written })
            }
            Err(cause) => Err(changes.roll_back(cause)),
        }
    }
}

impl CommittedTransaction<'_> {
    /// Returns what was written, in the order of the files.
    pub fn written(&self) -> &[WrittenFile] {
        &self.written
    }

    /// Removes the old files. There is no rollback from here on.
    pub fn finish(self) -> Vec<WrittenFile> {
        self.finish_locked().0
    }

    /// Removes the old files as [`CommittedTransaction::finish`] does, and keeps the directories locked.
    pub fn finish_locked(mut self) -> (Vec<WrittenFile>, DirectoryLocks) {
        let changes = &mut self.changes;
        changes.is_settled = true;
        remove_old(&changes.tree, &changes.staged, &mut *changes.hook);
        removal::delete(&changes.tree, &changes.removals, &mut *changes.hook);
        kind_change::delete(&changes.tree, &changes.old_directories, &mut *changes.hook);
        let tree = std::mem::replace(&mut changes.tree, Tree::new(None));
        (self.written, tree.into_locks())
    }

    /// Restores the old files because of `cause`. Returns `cause`, or [`DiskError::RollbackFailed`] with it if a file
    /// could not be restored.
    pub fn roll_back(mut self, cause: DiskError) -> DiskError {
        self.changes.roll_back(cause)
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.0.staged.iter().map(|file| &file.path);
        f.debug_tuple("Transaction")
            .field(&paths.collect::<Vec<_>>())
            .finish()
    }
}

impl fmt::Debug for CommittedTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommittedTransaction")
            .field(&self.written)
            .finish()
    }
}

impl<'h> Changes<'h> {
    fn new(owner: Option<Owner>, hook: Box<dyn FnMut(Step) -> io::Result<()> + 'h>) -> Self {
        Self {
            tree: Tree::new(owner),
            targets: HashMap::new(),
            staged: Vec::new(),
            removals: Vec::new(),
            old_directories: Vec::new(),
            owner: owner.unwrap_or_default(),
            accounts: Accounts::new(),
            hook,
            is_settled: false,
        }
    }

    fn stage_all(&mut self, files: &[(&ArtifactFile, &Target)]) -> Result<(), DiskError> {
        for (file, target) in files {
            let place = self.open(target)?;
            self.add(file, place)?;
        }
        Ok(())
    }

    fn open(&mut self, target: &Target) -> Result<TargetPlace, DiskError> {
        let path = target.path();
        if target.below.iter().any(|part| is_staging_name(part)) {
            return Err(DiskError::Reserved { path });
        }
        let (directory, name) = self.tree.open(target, &mut *self.hook)?;
        // Two paths may lead to one directory, by `..` or a symbolic link in the operator's part.
        let at = (directory, name.clone());
        if let Some(first) = self.targets.insert(at, path.clone()) {
            let second = path;
            return Err(DiskError::SameFile { first, second });
        }
        Ok(TargetPlace {
            directory,
            name,
            path,
        })
    }

    fn add(&mut self, file: &ArtifactFile, place: TargetPlace) -> Result<(), DiskError> {
        let TargetPlace {
            directory,
            name,
            path,
        } = place;
        let owner = match file.ownership.as_deref() {
            Some(ownership) => self.accounts.complete(self.owner, ownership),
            None => Ok(self.owner),
        };
        let owner = owner.map_err(|problem| DiskError::UnknownAccount {
            path: path.clone(),
            problem,
        })?;
        let parent = &self.tree.at(directory).fd;
        let replaces_directory = kind_change::is_emptied(&self.tree, &self.removals, parent, &name);
        if replaces_directory {
            self.old_directories.push(OldDirectory {
                directory,
                name: name.clone(),
                path: path.clone(),
                aside: None,
            });
        }
        stage(
            file,
            replaces_directory,
            directory,
            name,
            path,
            owner,
            &mut self.tree,
            &mut self.staged,
            &mut *self.hook,
        )
    }

    fn remove(
        &mut self,
        target: &Target,
        bytes: u64,
        sha256: Digest,
    ) -> Result<RemovalRequest, DiskError> {
        let path = target.path();
        let place = match self.tree.find(target, &mut *self.hook)? {
            Found::Place(directory, name) => (directory, name),
            Found::Missing => return Ok(RemovalRequest::Absent),
            // Only a look, for the warning: nothing is changed behind a link.
            Found::Link(_) if path.symlink_metadata().is_err() => {
                return Ok(RemovalRequest::Absent);
            }
            Found::Link(link) => return Ok(RemovalRequest::BehindLink(link)),
        };
        // The transaction writes the file, or other files into a directory of this name.
        if self.targets.contains_key(&place) || self.tree.is_open(&path) {
            return Ok(RemovalRequest::Absent);
        }
        removal::request(
            &mut self.tree,
            &mut self.removals,
            place,
            path,
            bytes,
            sha256,
        )
    }

    fn roll_back(&mut self, cause: DiskError) -> DiskError {
        self.is_settled = true;
        roll_back(
            &self.tree,
            &self.staged,
            &self.removals,
            &self.old_directories,
            cause,
            &mut *self.hook,
        )
    }
}

impl Drop for Changes<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            let cancelled = DiskError::Cancelled;
            let outcome = self.roll_back(cancelled);
            if let DiskError::RollbackFailed { .. } = outcome {
                tracing::error!("{outcome}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn stage_new(directory: &Path) -> Transaction<'static> {
        let files = ["old", "d/new"].map(|name| {
            let file = ArtifactFile::new(name.parse().unwrap(), "new");
            let below = name.split('/').map(str::to_owned).collect();
            let root = directory.to_owned();
            (file, Target { root, below })
        });
        let files = files.each_ref().map(|(file, target)| (file, target));
        Transaction::stage(&files, None).unwrap()
    }

    /// Returns a directory with one old file.
    fn with_old() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("old"), "old").unwrap();
        directory
    }

    fn is_restored(directory: &Path) -> bool {
        let entries = fs::read_dir(directory).unwrap().count();
        entries == 1 && fs::read_to_string(directory.join("old")).unwrap() == "old"
    }

    #[test]
    fn staging_replaces_nothing_and_dropping_it_rolls_back() {
        let directory = with_old();
        let transaction = stage_new(directory.path());
        let content = fs::read_to_string(directory.path().join("old")).unwrap();
        assert_eq!(content, "old");
        drop(transaction);
        assert!(is_restored(directory.path()));
    }

    #[test]
    fn removed_file_is_restored_until_the_transaction_is_finished() {
        let directory = with_old();
        let path = directory.path();
        let target = Target::from_path(&path.join("old")).unwrap();
        let remove = |content: &str| {
            let mut transaction = Transaction::begin(None);
            let sha256 = Digest::of(content.as_bytes());
            let request = transaction.remove(&target, content.len() as u64, sha256);
            (request.unwrap(), transaction)
        };
        let (request, transaction) = remove("new");
        assert_eq!(request, RemovalRequest::Changed);
        transaction.commit().unwrap().finish();
        assert!(is_restored(path));

        let (request, transaction) = remove("old");
        assert_eq!(request, RemovalRequest::Accepted);
        let committed = transaction.commit().unwrap();
        assert!(!path.join("old").exists());
        drop(committed);
        assert!(is_restored(path));

        remove("old").1.commit().unwrap().finish();
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
        let (request, _) = remove("old");
        assert_eq!(request, RemovalRequest::Absent);
    }

    #[test]
    fn commit_can_be_rolled_back_until_it_is_finished() {
        let directory = with_old();
        let path = directory.path();
        let committed = stage_new(path).commit().unwrap();
        assert_eq!(fs::read_to_string(path.join("old")).unwrap(), "new");
        assert_eq!(fs::read_to_string(path.join("d/new")).unwrap(), "new");
        let cause = DiskError::IsDirectory { path: path.into() };
        let error = committed.roll_back(cause);
        assert!(matches!(error, DiskError::IsDirectory { .. }), "{error}");
        assert!(is_restored(path));

        drop(stage_new(path).commit().unwrap());
        assert!(is_restored(path));

        let written = stage_new(path).commit().unwrap().finish();
        assert_eq!(written.len(), 2);
        assert_eq!(fs::read_to_string(path.join("old")).unwrap(), "new");
        assert_eq!(fs::read_dir(path).unwrap().count(), 2);
    }
}
