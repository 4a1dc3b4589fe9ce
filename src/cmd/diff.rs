//! Unified diffs of artifacts, as `diff -u` writes them.

use cfgsync::ArtifactFile;
use cfgsync_model::{Digest, Mode};
use similar::TextDiff;

/// The directory for shared files, next to the directories of nodes. No identifier begins with `_`.
pub(crate) const SHARED: &str = "_shared";
/// The name of a missing file in a diff.
const NOTHING: &str = "/dev/null";

/// Returns the difference between two versions of a file, with a line for a changed mode. Empty if they are equal.
pub(crate) fn unified(
    old_name: &str,
    old: Option<&ArtifactFile>,
    new_name: &str,
    new: Option<&ArtifactFile>,
) -> String {
    let mut text = String::new();
    if let (Some(old), Some(new)) = (old, new)
        && old.mode != new.mode
    {
        text.push_str(&format!(
            "mode of {new_name}: {} → {}\n",
            old.mode, new.mode
        ));
    }
    let bytes = |file: Option<&ArtifactFile>| file.map(|file| file.content.to_bytes());
    let (old, new) = (bytes(old), bytes(new));
    text.push_str(&unified_bytes(
        old_name,
        old.as_deref(),
        new_name,
        new.as_deref(),
    ));
    text
}

/// Like [`unified_bytes`] for secret content: shows the lengths and checksums only.
pub(crate) fn checksums(
    old_name: &str,
    old: Option<&[u8]>,
    new_name: &str,
    new: Option<&[u8]>,
) -> String {
    if old == new {
        return String::new();
    }
    let described = |bytes: Option<&[u8]>| {
        bytes.map(|bytes| Described {
            bytes: bytes.len(),
            sha256: Digest::of(bytes),
            mode: None,
        })
    };
    described_diff(old_name, described(old), new_name, described(new))
}

/// The properties of a secret file that may be shown.
pub(crate) struct Described {
    /// The length of the content.
    pub(crate) bytes: usize,
    /// The checksum of the content.
    pub(crate) sha256: Digest,
    /// The mode, if modes are compared.
    pub(crate) mode: Option<Mode>,
}

/// Returns the difference between two versions of a file, of which at least one is secret.
pub(crate) fn described_diff(
    old_name: &str,
    old: Option<Described>,
    new_name: &str,
    new: Option<Described>,
) -> String {
    let name = |name, file: &Option<Described>| match file {
        Some(_) => name,
        None => NOTHING,
    };
    let mut text = format!(
        "--- {}\n+++ {}\n",
        name(old_name, &old).to_owned(),
        name(new_name, &new)
    );
    for (sign, file) in [('-', old), ('+', new)] {
        let Some(file) = file else { continue };
        let mode = file
            .mode
            .map_or_else(String::new, |mode| format!("mode {mode}, "));
        let (bytes, sha256) = (file.bytes, file.sha256);
        text.push_str(&format!(
            "{sign}secret: {mode}{bytes} bytes, sha256 {sha256}\n"
        ));
    }
    text
}

/// Returns the unified diff of two contents, of which `None` is a missing file. Empty if they are equal.
pub(crate) fn unified_bytes(
    old_name: &str,
    old: Option<&[u8]>,
    new_name: &str,
    new: Option<&[u8]>,
) -> String {
    if old == new {
        return String::new();
    }
    let old_name = if old.is_some() { old_name } else { NOTHING };
    let new_name = if new.is_some() { new_name } else { NOTHING };
    let text =
        |bytes: Option<&[u8]>| std::str::from_utf8(bytes.unwrap_or_default()).map(str::to_owned);
    let (Ok(before), Ok(after)) = (text(old), text(new)) else {
        return format!("Binary files {old_name} and {new_name} differ\n");
    };
    if before == after {
        // One is an empty file, the other is missing: there are no lines to show.
        return format!("--- {old_name}\n+++ {new_name}\n");
    }
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    diff.unified_diff().header(old_name, new_name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diff_has_the_format_of_diff_u() {
        let of = |old: Option<&str>, new: Option<&str>| {
            unified_bytes("a", old.map(str::as_bytes), "b", new.map(str::as_bytes))
        };
        assert_eq!(of(Some("x\n"), Some("x\n")), "");
        assert_eq!(
            of(Some("x\n"), Some("y\n")),
            "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n"
        );
        assert_eq!(
            of(None, Some("y\n")),
            "--- /dev/null\n+++ b\n@@ -0,0 +1 @@\n+y\n"
        );
        assert_eq!(of(None, Some("")), "--- /dev/null\n+++ b\n");
        assert_eq!(
            unified_bytes("a", Some(&[0xff]), "b", Some(b"")),
            "Binary files a and b differ\n"
        );
    }
}
