//! `kind: template`: renders the shared files once, then each node's own files on all cores.
//!
//! The result does not depend on how the work is split: nodes are in the snapshot's order, and the first node that
//! fails gives the error.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{MaterializationResult, MaterializeError, Materializer};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Content, Identifier, MaterializedArtifacts, RegistrationSnapshot,
    SnapshotNode,
};
use cfgsync_spec::{FileContent, FileSpec, TemplateSpec};
use cfgsync_support::parallel;
use cfgsync_template::{JinjaError, NodeValue, Origin, RenderContext};

/// Largest file that `source` reads, in bytes.
const SOURCE_MAX_BYTES: u64 = 64 << 20;

/// For fewer nodes than this, a second thread costs more than it saves.
const NODES_PER_THREAD_MIN: usize = 64;

/// Files from templates.
#[derive(Debug, Clone)]
pub struct TemplateMaterializer {
    spec: TemplateSpec,
}

impl TemplateMaterializer {
    /// A materializer for what `spec` says.
    pub fn new(spec: &TemplateSpec) -> Self {
        Self { spec: spec.clone() }
    }
}

impl Materializer for TemplateMaterializer {
    fn name(&self) -> String {
        "template".to_owned()
    }

    fn repeats(&self) -> bool {
        true
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        let sources = Sources::default();
        let context = self.render_fragments(RenderContext::new(snapshot))?;
        let shared = self.render_shared(&context, &sources)?;
        let nodes = self.render_nodes(snapshot, &context, &shared, &sources)?;
        Ok(MaterializationResult::Ready(MaterializedArtifacts {
            nodes,
            shared,
        }))
    }
}

impl TemplateMaterializer {
    fn render_fragments(&self, context: RenderContext) -> Result<RenderContext, MaterializeError> {
        let mut fragments = BTreeMap::new();
        for fragment in &self.spec.fragments {
            let rendered = fragment.template.render(&context, None).map_err(|error| {
                failure(
                    &format!("fragment {}", fragment.name),
                    fragment.template.origin(),
                    &error,
                )
            })?;
            // A fragment includes no other, so it is one chunk; an empty one has none.
            let chunk = rendered.chunks().first().cloned();
            let chunk = chunk.unwrap_or_else(|| cfgsync_model::Chunk::new(rendered.to_bytes()));
            fragments.insert(fragment.name.clone(), chunk);
        }
        Ok(context.with_fragments(fragments))
    }

    fn render_shared(
        &self,
        context: &RenderContext,
        sources: &Sources,
    ) -> Result<ArtifactSet, MaterializeError> {
        let mut shared = ArtifactSet::default();
        for file in self.spec.files.iter().filter(|file| file.shared) {
            let what = || format!("{} (shared)", file.path);
            let artifact = render_file(file, &what, context, None, sources)?;
            shared
                .push(artifact)
                .map_err(|_| self.collision(file, &what()))?;
        }
        Ok(shared)
    }

    fn render_nodes(
        &self,
        snapshot: &RegistrationSnapshot,
        context: &RenderContext,
        shared: &ArtifactSet,
        sources: &Sources,
    ) -> Result<BTreeMap<Identifier, ArtifactSet>, MaterializeError> {
        let rendered = parallel::try_map(&snapshot.nodes, NODES_PER_THREAD_MIN, |at, node| {
            self.render_node(node, context, &context.nodes()[at], shared, sources)
        })?;
        let identifiers = snapshot.nodes.iter().map(|node| node.identifier.clone());
        Ok(identifiers.zip(rendered).collect())
    }

    fn render_node(
        &self,
        node: &SnapshotNode,
        context: &RenderContext,
        value: &NodeValue,
        shared: &ArtifactSet,
        sources: &Sources,
    ) -> Result<ArtifactSet, MaterializeError> {
        let own = self.spec.files.iter().filter(|file| !file.shared);
        let mut files = ArtifactSet::with_capacity(own.clone().count());
        for file in own {
            if let Some(matching) = &file.matching {
                let matches = matching.matches(context, value).map_err(|error| {
                    let what = format!("`where` of {} for {}", file.path, node.identifier);
                    failure(&what, matching.origin(), &error)
                })?;
                if !matches {
                    continue;
                }
            }
            let what = || format!("{} for {}", file.path, node.identifier);
            if shared.get(&file.path).is_some() || files.get(&file.path).is_some() {
                return Err(self.collision(file, &what()));
            }
            let artifact = render_file(file, &what, context, Some(value), sources)?;
            for chunk in artifact.content.chunks() {
                // Hashed here, on this thread, while the bytes are in its cache. The digest needs the sum later.
                chunk.sha256();
            }
            files
                .push(artifact)
                .map_err(|_| self.collision(file, &what()))?;
        }
        Ok(files)
    }

    /// Two files of one name meet in one payload: `file` and another one.
    fn collision(&self, file: &FileSpec, what: &str) -> MaterializeError {
        let places: Vec<String> = self
            .spec
            .files
            .iter()
            .filter(|other| other.path == file.path)
            .filter_map(|other| other.content.origin())
            .map(|origin| format!("{}:{}", origin.file, origin.line))
            .collect();
        let places = if places.len() > 1 {
            format!(" ({})", places.join(", "))
        } else {
            String::new()
        };
        MaterializeError(format!(
            "{what}: two files have this name{places}; give them other names, or `where`s that exclude each \
             other"
        ))
    }
}

fn render_file(
    file: &FileSpec,
    what: &impl Fn() -> String,
    context: &RenderContext,
    node: Option<&NodeValue>,
    sources: &Sources,
) -> Result<ArtifactFile, MaterializeError> {
    let made = match &file.content {
        FileContent::Template(template) => template
            .render(context, node)
            .map_err(|error| failure(&what(), template.origin(), &error))?,
        FileContent::Source { path, directory } => {
            let relative = path.render_path(context, node).map_err(|error| {
                failure(&format!("`source` of {}", what()), path.origin(), &error)
            })?;
            sources
                .read(&directory.join(&relative))
                .map_err(|problem| {
                    let place = path.origin().map_or_else(String::new, |origin| {
                        format!("{}:{}:{}: ", origin.file, origin.line, origin.column)
                    });
                    MaterializeError(format!("`source` of {}: {place}{problem}", what()))
                })?
        }
    };
    Ok(ArtifactFile {
        path: file.path.clone(),
        mode: file.mode,
        secret: file.secret,
        content: made,
    })
}

fn failure(what: &str, origin: Option<&Origin>, error: &JinjaError) -> MaterializeError {
    MaterializeError(format!("{what}: {}", error.describe(origin)))
}

/// The files that were read in this render: each is read once and shared by all that name it, so that all
/// see the same bytes.
#[derive(Default)]
struct Sources(Mutex<BTreeMap<PathBuf, Content>>);

impl Sources {
    fn read(&self, path: &Path) -> Result<Content, String> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = known().get(path) {
            return Ok(content.clone());
        }
        let content = Content::whole(read_bounded(path)?);
        Ok(known().entry(path.to_owned()).or_insert(content).clone())
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(said)?.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(SOURCE_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(said)?;
    if bytes.len() as u64 > SOURCE_MAX_BYTES {
        return Err(format!(
            "{} is larger than {} MiB",
            path.display(),
            SOURCE_MAX_BYTES >> 20
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
