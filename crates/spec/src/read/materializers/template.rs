//! Reads a materializer of `kind: template`.

use std::rc::Rc;

use serde_yaml::{Mapping, Value};

use super::{PathClaims, Reader};
use crate::{
    FileContent, FileSpec, FragmentSpec, TemplateSpec,
    files::TEXT_MAX_BYTES,
    mistake::jinja_file,
    raw::{RawFile, RawTemplate},
    source::{Source, YamlPath},
    typed,
};
use cfgsync_model::{ArtifactPath, Mode, Ownership};
use cfgsync_template::{JinjaError, Origin, Scope, Template, Whitespace};

/// The settings with which a template is compiled.
#[derive(Clone, Copy)]
struct Settings<'a> {
    /// The fragments that it can include.
    fragments: &'a [String],
    whitespace: Whitespace,
}

pub(super) fn read_template(
    reader: &mut Reader,
    value: &Value,
    path: &YamlPath,
    paths: &mut PathClaims,
) -> Option<TemplateSpec> {
    let raw: RawTemplate = reader.section(value, path)?;
    let fragments_path = path.key("fragments");
    let mapping = raw.fragments.as_ref();
    let texts = typed::texts(
        &reader.document,
        mapping,
        &fragments_path,
        &mut reader.mistakes,
    );
    // A fragment with a mistake counts as defined, so that its uses are not reported as well.
    let keys = mapping.into_iter().flat_map(Mapping::keys);
    let names: Vec<String> = keys.filter_map(Value::as_str).map(str::to_owned).collect();
    let whitespace = Whitespace {
        trim_blocks: raw.trim_blocks.unwrap_or(false),
        lstrip_blocks: raw.lstrip_blocks.unwrap_or(false),
    };
    let in_fragment = Settings {
        fragments: &[],
        whitespace,
    };
    let mut fragments = Vec::new();
    for (name, text) in texts {
        let path = fragments_path.key(name);
        if let Some(template) = inline_template(reader, text, Scope::Fragment, in_fragment, &path) {
            let name = name.to_owned();
            fragments.push(FragmentSpec { name, template });
        }
    }
    let files_path = path.key("files");
    if raw.files.is_empty() {
        reader.report(&files_path, "the list of files is empty");
    }
    let settings = Settings {
        fragments: &names,
        whitespace,
    };
    let mut files = Vec::new();
    for (at, file) in raw.files.iter().enumerate() {
        files.extend(read_file(
            reader,
            file,
            &files_path.index(at),
            settings,
            paths,
        ));
    }
    Some(TemplateSpec { fragments, files })
}

fn read_file(
    reader: &mut Reader,
    value: &Value,
    path: &YamlPath,
    settings: Settings<'_>,
    paths: &mut PathClaims,
) -> Option<FileSpec> {
    let mistakes_before = reader.mistakes.len();
    let raw: RawFile = reader.section(value, path)?;
    let is_complete = reader.mistakes.len() == mistakes_before;
    let shared = raw.shared.unwrap_or(false);
    let secret = raw.secret.unwrap_or(false);
    let given = raw.mode.as_ref().map(|mode| mode.0);
    let mode = Mode::for_file(given, secret).unwrap_or_else(|error| {
        let mistake = reader.document.value(&path.key("mode"), error.to_string());
        reader
            .mistakes
            .push(mistake.help("remove `mode`, or `secret: true`"));
        Mode::default()
    });
    let name = match ArtifactPath::new(&raw.path) {
        Ok(name) => {
            let every_node = raw.r#where.is_none();
            paths.claim(reader, &name, &path.key("path"), every_node);
            Some(name)
        }
        Err(error) => {
            reader.report(&path.key("path"), error.to_string());
            None
        }
    };
    if shared && raw.r#where.is_some() {
        let mistake = reader
            .document
            .key(
                &path.key("where"),
                "every node gets a shared file, so it cannot have `where`",
            )
            .help("remove `where`, or `shared: true`");
        reader.mistakes.push(mistake);
    }
    let matching = match &raw.r#where {
        Some(text) => Some(reader.expression(text, Scope::Node, &path.key("where"))?),
        None => None,
    };
    let scope = if shared { Scope::Shared } else { Scope::Node };
    let given = [&raw.template, &raw.template_file, &raw.source];
    if !is_complete && given.iter().all(|content| content.is_none()) {
        // The content was probably removed because it has a mistake.
        return None;
    }
    let content = read_content(reader, &raw, path, scope, settings)?;
    Some(FileSpec {
        path: name?,
        mode,
        ownership: Ownership::of(
            raw.owner.map(|owner| owner.0),
            raw.group.map(|group| group.0),
        ),
        secret,
        shared,
        matching,
        content,
    })
}

fn read_content(
    reader: &mut Reader,
    raw: &RawFile,
    path: &YamlPath,
    scope: Scope,
    settings: Settings<'_>,
) -> Option<FileContent> {
    let inherited = settings.whitespace;
    let settings = Settings {
        whitespace: Whitespace {
            trim_blocks: raw.trim_blocks.unwrap_or(inherited.trim_blocks),
            lstrip_blocks: raw.lstrip_blocks.unwrap_or(inherited.lstrip_blocks),
        },
        ..settings
    };
    match (&raw.template, &raw.template_file, &raw.source) {
        (Some(text), None, None) => {
            inline_template(reader, text, scope, settings, &path.key("template"))
                .map(FileContent::Template)
        }
        (None, Some(name), None) => {
            let path = path.key("template_file");
            template_file(reader, name, scope, settings, &path).map(FileContent::Template)
        }
        (None, None, Some(text)) => {
            let in_path = Settings {
                // A path cannot contain fragments.
                fragments: &[],
                ..settings
            };
            Some(FileContent::Source {
                path: inline_template(reader, text, scope, in_path, &path.key("source"))?,
                directory: reader.files.directory().to_owned(),
            })
        }
        (None, None, None) => {
            let title = format!("the file `{}` has no content", raw.path);
            let mistake = reader.document.value(&path.key("path"), title);
            let help = "give one of `template`, `template_file` and `source`";
            reader.mistakes.push(mistake.help(help));
            None
        }
        _ => {
            let title = format!("the file `{}` has more than one content", raw.path);
            let mistake = reader.document.value(&path.key("path"), title);
            let help = "keep one of `template`, `template_file` and `source`";
            reader.mistakes.push(mistake.help(help));
            None
        }
    }
}

fn compile(
    reader: &Reader,
    name: &str,
    text: &str,
    scope: Scope,
    settings: Settings<'_>,
) -> Result<Template, JinjaError> {
    let Settings {
        fragments,
        whitespace,
    } = settings;
    Template::compile_with(name, text, scope, fragments, &reader.declared, whitespace)
}

/// Compiles a template in the spec itself.
fn inline_template(
    reader: &mut Reader,
    text: &str,
    scope: Scope,
    settings: Settings<'_>,
    path: &YamlPath,
) -> Option<Template> {
    let origin = reader.document.origin(path, text);
    let name = path.to_string();
    match compile(reader, &name, text, scope, settings) {
        Ok(template) => Some(template.with_origin(origin)),
        Err(error) => {
            let mistake = reader.document.jinja(path, text, &error);
            reader.mistakes.push(mistake);
            None
        }
    }
}

/// Compiles a template in a file of its own.
fn template_file(
    reader: &mut Reader,
    name: &str,
    scope: Scope,
    settings: Settings<'_>,
    path: &YamlPath,
) -> Option<Template> {
    let text = match reader.files.read_text(name, TEXT_MAX_BYTES) {
        Ok(text) => text,
        Err(unreadable) => {
            reader.report_unreadable(path, unreadable);
            return None;
        }
    };
    let shown = reader.files.resolve(name).display().to_string();
    match compile(reader, &shown, &text, scope, settings) {
        Ok(template) => Some(template.with_origin(Origin::file(shown))),
        Err(error) => {
            let source = Rc::new(Source { name: shown, text });
            reader.mistakes.push(jinja_file(&source, &error));
            None
        }
    }
}
