//! The kind `template`: renders fragments and shared files once, then each node's files on all cores.
//!
//! The result does not depend on how the nodes are distributed over threads. Files are in the snapshot's order. If
//! several nodes fail, the error of the first node is returned.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use cfgsync_model::{
    ArtifactFile, ArtifactSet, Chunk, Content, Identifier, MaterializedArtifacts,
    RegistrationSnapshot, SnapshotNode,
};
use cfgsync_spec::{
    FileContent, FileSpec, MaterializationResult, MaterializeError, Materializer, TemplateSpec,
};
use cfgsync_support::{bounded_file, parallel};
use cfgsync_template::{JinjaError, NodeValue, Origin, RenderContext};

/// The largest file that `source` reads, in bytes.
const SOURCE_MAX_BYTES: u64 = 64 << 20;

/// The largest sum of all files of a render, in bytes. A text that several files share counts once.
const GENERATION_MAX_BYTES: usize = 1 << 30;

/// The smallest number of nodes for each thread. Starting a thread for fewer nodes costs more than it saves.
const NODES_PER_THREAD_MIN: usize = 64;

/// Renders files from templates.
#[derive(Debug, Clone)]
pub(super) struct TemplateMaterializer {
    spec: TemplateSpec,
    generation_max_bytes: usize,
}

impl TemplateMaterializer {
    /// Returns a materializer of the files in `spec`.
    pub(super) fn new(spec: &TemplateSpec) -> Self {
        Self {
            spec: spec.clone(),
            generation_max_bytes: GENERATION_MAX_BYTES,
        }
    }
}

impl Materializer for TemplateMaterializer {
    fn name(&self) -> String {
        "template".to_owned()
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        let run = Run {
            sources: Sources::default(),
            size_bytes: AtomicUsize::new(0),
            max_bytes: self.generation_max_bytes,
        };
        let context = self.render_fragments(RenderContext::new(snapshot))?;
        let shared = self.render_shared(&context, &run)?;
        let nodes = self.render_nodes(snapshot, &context, &shared, &run)?;
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
                template_error(
                    &format!("fragment {}", fragment.name),
                    fragment.template.origin(),
                    &error,
                )
            })?;
            // A fragment cannot include another, so it is one chunk, or none if it is empty.
            let chunk = rendered.chunks().first().cloned();
            let chunk = chunk.unwrap_or_else(|| Chunk::new(rendered.to_bytes()));
            fragments.insert(fragment.name.clone(), chunk);
        }
        Ok(context.with_fragments(fragments))
    }

    fn render_shared(
        &self,
        context: &RenderContext,
        run: &Run,
    ) -> Result<ArtifactSet, MaterializeError> {
        let mut shared = ArtifactSet::default();
        for file in self.spec.files.iter().filter(|file| file.shared) {
            let subject = || format!("{} (shared)", file.path);
            let artifact = render_file(file, &subject, context, None, run)?;
            shared
                .push(artifact)
                .map_err(|_| self.collision(file, &subject()))?;
        }
        Ok(shared)
    }

    fn render_nodes(
        &self,
        snapshot: &RegistrationSnapshot,
        context: &RenderContext,
        shared: &ArtifactSet,
        run: &Run,
    ) -> Result<BTreeMap<Identifier, ArtifactSet>, MaterializeError> {
        let rendered = parallel::try_map(&snapshot.nodes, NODES_PER_THREAD_MIN, |at, node| {
            self.render_node(node, context, &context.nodes()[at], shared, run)
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
        run: &Run,
    ) -> Result<ArtifactSet, MaterializeError> {
        let own = self.spec.files.iter().filter(|file| !file.shared);
        let mut files = ArtifactSet::with_capacity(own.clone().count());
        for file in own {
            if let Some(matching) = &file.matching {
                let matches = matching.matches(context, value).map_err(|error| {
                    let subject = format!("`where` of {} for {}", file.path, node.identifier);
                    template_error(&subject, matching.origin(), &error)
                })?;
                if !matches {
                    continue;
                }
            }
            let subject = || format!("{} for {}", file.path, node.identifier);
            if shared.get(&file.path).is_some() || files.get(&file.path).is_some() {
                return Err(self.collision(file, &subject()));
            }
            let artifact = render_file(file, &subject, context, Some(value), run)?;
            for chunk in artifact.content.chunks() {
                // Hashed on this thread, while the bytes are in its cache. The digest needs the sum later.
                chunk.sha256();
            }
            files
                .push(artifact)
                .map_err(|_| self.collision(file, &subject()))?;
        }
        Ok(files)
    }

    /// Returns the error for `file` and another file of the same name in one payload.
    fn collision(&self, file: &FileSpec, subject: &str) -> MaterializeError {
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
        MaterializeError::new(format!(
            "{subject}: two files have this name{places}; rename one, or give them `where`s that exclude each other"
        ))
    }
}

fn render_file(
    file: &FileSpec,
    subject: &impl Fn() -> String,
    context: &RenderContext,
    node: Option<&NodeValue>,
    run: &Run,
) -> Result<ArtifactFile, MaterializeError> {
    let rendered = match &file.content {
        FileContent::Template(template) => template
            .render(context, node)
            .map_err(|error| template_error(&subject(), template.origin(), &error))?,
        FileContent::Source { path, directory } => {
            let relative = path.render_path(context, node).map_err(|error| {
                template_error(&format!("`source` of {}", subject()), path.origin(), &error)
            })?;
            run.sources
                .read(&directory.join(&relative))
                .map_err(|problem| {
                    let place = path.origin().map_or_else(String::new, |origin| {
                        format!("{}:{}:{}: ", origin.file, origin.line, origin.column)
                    });
                    MaterializeError::new(format!("`source` of {}: {place}{problem}", subject()))
                })?
        }
    };
    run.add(&rendered)
        .map_err(|error| MaterializeError::new(format!("{}: {error}", subject())))?;
    Ok(ArtifactFile {
        path: file.path.clone(),
        mode: file.mode,
        secret: file.secret,
        ownership: file.ownership.clone(),
        content: rendered,
    })
}

fn template_error(subject: &str, origin: Option<&Origin>, error: &JinjaError) -> MaterializeError {
    MaterializeError::new(format!("{subject}: {}", error.describe(origin)))
}

/// What the files of one render share.
struct Run {
    sources: Sources,
    /// The sum of the files so far, in bytes.
    size_bytes: AtomicUsize,
    max_bytes: usize,
}

impl Run {
    /// Adds the size of `content`. Chunks that something else holds as well are shared and count as nothing.
    fn add(&self, content: &Content) -> Result<(), String> {
        let own = content.chunks().iter();
        let own = own.filter(|chunk| Arc::strong_count(chunk) == 1);
        let own_bytes: usize = own.map(|chunk| chunk.bytes().len()).sum();
        let before = self.size_bytes.fetch_add(own_bytes, Ordering::Relaxed);
        if before + own_bytes <= self.max_bytes {
            return Ok(());
        }
        let max_mib = self.max_bytes >> 20;
        Err(format!(
            "with this file, the generation exceeds {max_mib} MiB; put what all nodes share into a fragment or a \
             shared file, or limit the nodes' metadata in the spec"
        ))
    }
}

/// The files that were read in this render. Each is read once, so that all nodes get the same bytes.
#[derive(Default)]
struct Sources(Mutex<BTreeMap<PathBuf, Content>>);

impl Sources {
    fn read(&self, path: &Path) -> Result<Content, String> {
        let contents = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = contents().get(path) {
            return Ok(content.clone());
        }
        // The lock is not held here: reading can take long, and other threads read other files.
        let bytes = bounded_file::read_regular(path, SOURCE_MAX_BYTES)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let content = Content::whole(bytes);
        Ok(contents().entry(path.to_owned()).or_insert(content).clone())
    }
}

#[cfg(test)]
mod tests;
