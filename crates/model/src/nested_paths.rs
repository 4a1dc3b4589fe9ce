//! Finds a path that is both a file and a directory, such as `a` beside `a/b`: no node could write both below one
//! directory.

use std::collections::HashMap;

use crate::{ArtifactFile, ArtifactPath};

/// The path of one file is a directory in the path of another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} is a file, but {below} needs a directory of that name; rename one of them")]
pub struct NestedPaths {
    /// The path that is a file and a directory.
    pub file: ArtifactPath,
    /// The path of the file below it.
    pub below: ArtifactPath,
}

/// The paths of files that one node receives, none of which is a directory of another.
#[derive(Debug, Default)]
pub struct PathIndex<'a> {
    files: HashMap<&'a str, &'a ArtifactPath>,
    /// Each directory, with a file below it.
    directories: HashMap<&'a str, &'a ArtifactPath>,
}

impl<'a> PathIndex<'a> {
    /// Adds the paths of `files`.
    ///
    /// # Errors
    /// Fails at the first path that is nested with an earlier one.
    pub fn add_all(
        &mut self,
        files: impl IntoIterator<Item = &'a ArtifactFile>,
    ) -> Result<(), NestedPaths> {
        files.into_iter().try_for_each(|file| self.add(&file.path))
    }

    /// Adds a path.
    ///
    /// # Errors
    /// Fails if the path is nested with an earlier one.
    pub fn add(&mut self, path: &'a ArtifactPath) -> Result<(), NestedPaths> {
        self.check(path)?;
        self.files.insert(path.name(), path);
        self.directories
            .extend(path.directories().map(|directory| (directory, path)));
        Ok(())
    }

    /// Fails if `path` is nested with a path of the index.
    ///
    /// # Errors
    /// The two paths.
    pub fn check(&self, path: &ArtifactPath) -> Result<(), NestedPaths> {
        if let Some(below) = self.directories.get(path.name()) {
            return Err(NestedPaths {
                file: path.clone(),
                below: (*below).clone(),
            });
        }
        match path.directories().find_map(|name| self.files.get(name)) {
            Some(file) => Err(NestedPaths {
                file: (*file).clone(),
                below: path.clone(),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_beside_a_file_below_it_is_found_in_either_order() {
        let paths = |names: &[&str]| -> Vec<ArtifactPath> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let check = |names: &[&str]| {
            let paths = paths(names);
            let mut index = PathIndex::default();
            let found = paths.iter().try_for_each(|path| index.add(path));
            found.map_err(|nested| (nested.file.to_string(), nested.below.to_string()))
        };
        for names in [&["a", "/a/b/c"], &["/a/b/c", "a"], &["x", "y"]] {
            let expected = match names[0] {
                "x" => Ok(()),
                _ => Err(("a".to_owned(), "/a/b/c".to_owned())),
            };
            assert_eq!(check(names), expected, "{names:?}");
        }
        assert_eq!(
            check(&["a/b", "a/b/c"]),
            Err(("a/b".to_owned(), "a/b/c".to_owned()))
        );
        assert_eq!(check(&["a/b", "a/c", "ab", "a-/b"]), Ok(()));
    }
}
