//! The kind `template`: renders fragments and shared files once, then each node's files on all cores.
//!
//! The result does not depend on how the nodes are distributed over threads. Files are in the snapshot's order. If
//! several nodes fail, the error of the first node is returned.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Identifier, MaterializedArtifacts,
    RegistrationSnapshot, SnapshotNode,
};
use cfgsync_spec::{
    FileContent, FilePath, FileSpec, MaterializationResult, MaterializeError, Materializer,
    ReadableValues, TemplateSpec,
};
use cfgsync_support::{bounded_file, parallel};
use cfgsync_template::{Expression, Iteration, JinjaError, NodeValue, Origin, RenderContext};

/// The largest file that `source` reads, in bytes.
const SOURCE_MAX_BYTES: u64 = 64 << 20;

/// The largest sum of all files of a render, in bytes. A text that several files share counts once.
const GENERATION_MAX_BYTES: usize = 1 << 30;

/// The largest number of files of a render: a thousand files for each of a thousand nodes.
const GENERATION_FILES_MAX: usize = 1_000_000;

/// The largest number of items of a file's `for`. No node accepts a payload of more files.
const ITEMS_MAX: usize = 100_000;

/// The smallest number of nodes for each thread. Starting a thread for fewer nodes costs more than it saves.
const NODES_PER_THREAD_MIN: usize = 64;

/// Renders files from templates.
#[derive(Debug, Clone)]
pub(super) struct TemplateMaterializer {
    spec: TemplateSpec,
    generation_max_bytes: usize,
    generation_files_max: usize,
}

impl TemplateMaterializer {
    /// Returns a materializer of the files in `spec`.
    pub(super) fn new(spec: &TemplateSpec) -> Self {
        Self {
            spec: spec.clone(),
            generation_max_bytes: GENERATION_MAX_BYTES,
            generation_files_max: GENERATION_FILES_MAX,
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

    fn reads(&self) -> ReadableValues {
        let fragments = self.spec.fragments.iter();
        let in_fragments = fragments.map(|fragment| fragment.template.reads_values());
        let in_files = self.spec.files.iter().map(file_reads_values);
        if in_fragments.chain(in_files).any(|reads| reads) {
            ReadableValues::Any
        } else {
            ReadableValues::default()
        }
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        let run = Run {
            sources: Sources::default(),
            size_bytes: AtomicUsize::new(0),
            max_bytes: self.generation_max_bytes,
            files: AtomicUsize::new(0),
            files_max: self.generation_files_max,
        };
        let context = self.render_fragments(RenderContext::new(snapshot))?;
        let shared = self.render_shared(&context, &run)?;
        let nodes = self.render_nodes(snapshot, &context, &shared, &run)?;
        Ok(MaterializationResult::Ready(MaterializedArtifacts {
            nodes,
            shared: shared.files,
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
    ) -> Result<RenderedFiles, MaterializeError> {
        let target = Target {
            node: None,
            shared: &RenderedFiles::default(),
        };
        self.render_files(&target, context, run)
    }

    fn render_nodes(
        &self,
        snapshot: &RegistrationSnapshot,
        context: &RenderContext,
        shared: &RenderedFiles,
        run: &Run,
    ) -> Result<BTreeMap<Identifier, ArtifactSet>, MaterializeError> {
        let rendered = parallel::try_map(&snapshot.nodes, NODES_PER_THREAD_MIN, |at, node| {
            let target = Target {
                node: Some((node, &context.nodes()[at])),
                shared,
            };
            let files = self.render_files(&target, context, run)?.files;
            for chunk in files.files().iter().flat_map(|file| file.content.chunks()) {
                // Hashed on this thread, while the bytes are in its cache. The digest needs the sum later.
                chunk.sha256();
            }
            Ok::<_, MaterializeError>(files)
        })?;
        let identifiers = snapshot.nodes.iter().map(|node| node.identifier.clone());
        Ok(identifiers.zip(rendered).collect())
    }

    /// Renders all files of `target`.
    fn render_files(
        &self,
        target: &Target<'_>,
        context: &RenderContext,
        run: &Run,
    ) -> Result<RenderedFiles, MaterializeError> {
        let specs = self.spec.files.iter().enumerate();
        let specs = specs.filter(|(_, file)| file.shared == target.node.is_none());
        let mut rendered = RenderedFiles::with_capacity(specs.clone().count());
        for (at, spec) in specs {
            let Some(iteration) = &spec.iteration else {
                let source = FileSource { at, item: None };
                self.render_file(source, target, context, &mut rendered, run)?;
                continue;
            };
            let contexts = iteration.contexts(context, target.value(), ITEMS_MAX);
            let contexts = contexts.map_err(|error| {
                let subject = format!("`for` of {} {target}", spec.path);
                template_error(&subject, iteration.origin(), &error)
            })?;
            for context in &contexts {
                let item = context.item();
                let source = FileSource { at, item };
                self.render_file(source, target, context, &mut rendered, run)?;
            }
        }
        Ok(rendered)
    }

    /// Renders one file and adds it to `rendered`, unless its `where` does not match.
    fn render_file(
        &self,
        source: FileSource,
        target: &Target<'_>,
        context: &RenderContext,
        rendered: &mut RenderedFiles,
        run: &Run,
    ) -> Result<(), MaterializeError> {
        let spec = &self.spec.files[source.at];
        let with_item = |path: &dyn fmt::Display| match &source.item {
            Some(item) => format!("{path} {target} ({item})"),
            None => format!("{path} {target}"),
        };
        if let (Some(matching), Some(value)) = (&spec.matching, target.value()) {
            let matches = matching.matches(context, value).map_err(|error| {
                let subject = format!("`where` of {}", with_item(&spec.path));
                template_error(&subject, matching.origin(), &error)
            })?;
            if !matches {
                return Ok(());
            }
        }
        let path = match &spec.path {
            FilePath::Fixed(path) => path.clone(),
            FilePath::Template(template) => {
                let subject = || format!("`path` of {}", with_item(&spec.path));
                let text = template
                    .render_path(context, target.value())
                    .map_err(|error| template_error(&subject(), template.origin(), &error))?;
                ArtifactPath::new(&text).map_err(|error| {
                    let place = place_of(template.origin());
                    MaterializeError::new(format!("{}: {place}{error}", subject()))
                })?
            }
        };
        let earlier = target.shared.source_of(&path);
        if let Some(earlier) = earlier.or_else(|| rendered.source_of(&path)) {
            return Err(self.collision(earlier, &source, &format!("{path} {target}")));
        }
        let subject = || with_item(&path);
        let rendered_content = render_content(spec, &subject, context, target.value(), run)?;
        let artifact = ArtifactFile {
            path: path.clone(),
            mode: spec.mode,
            secret: spec.secret,
            ownership: spec.ownership.clone(),
            content: rendered_content,
        };
        rendered.add(artifact, source);
        Ok(())
    }

    /// Returns the error for two files of the same name in one payload.
    fn collision(
        &self,
        earlier: &FileSource,
        later: &FileSource,
        subject: &str,
    ) -> MaterializeError {
        let specs = [earlier, later].map(|source| &self.spec.files[source.at]);
        let origins = specs.map(|spec| spec.content.origin());
        let place = |origin: &Origin| format!("{}:{}", origin.file, origin.line);
        if earlier.at == later.at {
            let [first, second] = [earlier, later].map(|source| source.item.as_deref());
            let place =
                origins[0].map_or_else(String::new, |origin| format!(" ({})", place(origin)));
            return MaterializeError::new(format!(
                "{subject}: two files have this name{place}: that of {} and that of {}; use a value in `path` that \
                 differs, such as the identifier",
                first.unwrap_or_default(),
                second.unwrap_or_default(),
            ));
        }
        let places = match origins {
            [Some(first), Some(second)] => format!(" ({}, {})", place(first), place(second)),
            _ => String::new(),
        };
        MaterializeError::new(format!(
            "{subject}: two files have this name{places}; rename one, or give them `where`s that exclude each other"
        ))
    }
}

/// The node that gets the files, or all nodes. `Display` gives `for n-1` or `(shared)`.
struct Target<'a> {
    node: Option<(&'a SnapshotNode, &'a NodeValue)>,
    /// The files that the node gets as well.
    shared: &'a RenderedFiles,
}

impl Target<'_> {
    fn value(&self) -> Option<&NodeValue> {
        self.node.map(|(_, value)| value)
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some((node, _)) => write!(f, "for {}", node.identifier),
            None => f.write_str("(shared)"),
        }
    }
}

/// The origin of a rendered file.
#[derive(Debug)]
struct FileSource {
    /// The position of its spec.
    at: usize,
    /// The item of the spec's `for`.
    item: Option<String>,
}

/// Rendered files, and their origins in the same order.
#[derive(Debug, Default)]
struct RenderedFiles {
    files: ArtifactSet,
    sources: Vec<FileSource>,
}

impl RenderedFiles {
    fn with_capacity(files: usize) -> Self {
        Self {
            files: ArtifactSet::with_capacity(files),
            sources: Vec::with_capacity(files),
        }
    }

    /// Adds a file, whose path no other file has.
    fn add(&mut self, file: ArtifactFile, source: FileSource) {
        let is_new = self.files.push(file).is_ok();
        debug_assert!(is_new, "the path is new");
        self.sources.push(source);
    }

    /// Returns the origin of the file with this path.
    fn source_of(&self, path: &ArtifactPath) -> Option<&FileSource> {
        self.files.get(path)?;
        let at = self
            .files
            .files()
            .iter()
            .position(|file| file.path == *path);
        self.sources.get(at?)
    }
}

/// Returns whether a text of `file` reads operators' values.
fn file_reads_values(file: &FileSpec) -> bool {
    let in_path = match &file.path {
        FilePath::Fixed(_) => false,
        FilePath::Template(template) => template.reads_values(),
    };
    let (FileContent::Template(content) | FileContent::Source { path: content, .. }) =
        &file.content;
    let in_list = file.iteration.as_ref().is_some_and(Iteration::reads_values);
    let in_where = file.matching.as_ref().is_some_and(Expression::reads_values);
    in_path || content.reads_values() || in_list || in_where
}

fn render_content(
    file: &FileSpec,
    subject: &impl Fn() -> String,
    context: &RenderContext,
    node: Option<&NodeValue>,
    run: &Run,
) -> Result<Content, MaterializeError> {
    let rendered = match &file.content {
        FileContent::Template(template) => {
            let rendered = if file.secret {
                template.render(&context.with_secret_values(), node)
            } else {
                template.render(context, node)
            };
            rendered.map_err(|error| template_error(&subject(), template.origin(), &error))?
        }
        FileContent::Source { path, directory } => {
            let relative = path.render_path(context, node).map_err(|error| {
                template_error(&format!("`source` of {}", subject()), path.origin(), &error)
            })?;
            run.sources
                .read(&directory.join(&relative))
                .map_err(|problem| {
                    let place = place_of(path.origin());
                    MaterializeError::new(format!("`source` of {}: {place}{problem}", subject()))
                })?
        }
    };
    run.add(&rendered)
        .map_err(|error| MaterializeError::new(format!("{}: {error}", subject())))?;
    Ok(rendered)
}

fn template_error(subject: &str, origin: Option<&Origin>, error: &JinjaError) -> MaterializeError {
    MaterializeError::new(format!("{subject}: {}", error.describe(origin)))
}

/// Returns `FILE:LINE:COLUMN: `, or nothing if the position is not known.
fn place_of(origin: Option<&Origin>) -> String {
    origin.map_or_else(String::new, |origin| {
        format!("{}:{}:{}: ", origin.file, origin.line, origin.column)
    })
}

/// The shared parts of the files of one render.
struct Run {
    sources: Sources,
    /// The sum of the files so far, in bytes.
    size_bytes: AtomicUsize,
    max_bytes: usize,
    /// The number of files so far.
    files: AtomicUsize,
    files_max: usize,
}

impl Run {
    /// Counts a file and adds the size of its `content`. Chunks that something else holds as well are shared and count as
    /// nothing.
    fn add(&self, content: &Content) -> Result<(), String> {
        if self.files.fetch_add(1, Ordering::Relaxed) >= self.files_max {
            let files_max = self.files_max;
            return Err(format!(
                "with this file, the generation exceeds {files_max} files; a file with `for` is made for each node and \
                 each item: put the items into one file, or make the file `shared`"
            ));
        }
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
