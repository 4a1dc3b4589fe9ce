//! What of a spec must outlive a server to mean anything.

use super::{
    IdentityMode, Spec,
    types::{FileContent, MaterializerSpec},
};
use cfgsync_template::Template;

impl Spec {
    /// What a server without a durable store gives anew after a restart, and this spec uses; in words.
    pub fn remembered(&self) -> Vec<&'static str> {
        let mut used = vec![];
        if !self.once.is_empty() {
            used.push("values of `once`");
        }
        if self.texts().any(names_seats) {
            used.push("seats");
        }
        if self.identity == IdentityMode::FirstUse {
            used.push("the owners of names (`identity: first-use`)");
        }
        used
    }

    /// The texts of templates and fragments.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let templates = self.materializers.iter().filter_map(|one| match one {
            MaterializerSpec::Template(template) => Some(template),
            MaterializerSpec::Precomputed(_) | MaterializerSpec::Exec(_) => None,
        });
        templates.flat_map(|spec| {
            let fragments = spec.fragments.iter().map(|fragment| &fragment.template);
            let files = spec.files.iter().map(|file| match &file.content {
                FileContent::Template(template) => template,
                FileContent::Source { path, .. } => path,
            });
            fragments.chain(files).map(Template::source)
        })
    }
}

/// Whether `seat` stands in `text` as a word. One that is no more than prose costs a warning.
fn names_seats(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == "seat")
}
