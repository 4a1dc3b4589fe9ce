//! Tells which parts of a spec need a durable store.

use super::{
    IdentityMode, Spec,
    types::{FileContent, FilePath, MaterializerSpec},
};
use cfgsync_template::{Iteration, Template};

impl Spec {
    /// Returns what this spec uses and a server without a durable store loses at a restart, such as `seats`. Each item
    /// completes the sentence "this spec uses …".
    pub fn state_lost_on_restart(&self) -> Vec<&'static str> {
        let mut used = vec![];
        if !self.once.is_empty() {
            used.push("values of `once`");
        }
        if self.templates().any(mentions_seat) {
            used.push("seats");
        }
        if self.identity == IdentityMode::FirstUse {
            used.push("the owners of identifiers (`identity: first-use`)");
        }
        used
    }

    /// Returns the source texts of fragments, and of the templates and lists of files.
    fn templates(&self) -> impl Iterator<Item = &str> {
        let templates = self.materializers.iter().filter_map(|one| match one {
            MaterializerSpec::Template(template) => Some(template),
            MaterializerSpec::Precomputed(_)
            | MaterializerSpec::Exec(_)
            | MaterializerSpec::Embedded(_) => None,
        });
        templates.flat_map(|spec| {
            let fragments = spec.fragments.iter().map(|fragment| &fragment.template);
            let contents = spec.files.iter().map(|file| match &file.content {
                FileContent::Template(template) => template,
                FileContent::Source { path, .. } => path,
            });
            let paths = spec.files.iter().filter_map(|file| match &file.path {
                FilePath::Template(template) => Some(template),
                FilePath::Fixed(_) => None,
            });
            let lists = spec.files.iter().filter_map(|file| file.iteration.as_ref());
            let templates = fragments.chain(contents).chain(paths).map(Template::source);
            templates.chain(lists.map(Iteration::list))
        })
    }
}

/// Returns whether `text` contains the word `seat`. A false positive only costs a warning.
fn mentions_seat(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == "seat")
}
