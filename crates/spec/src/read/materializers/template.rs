//! Reads a materializer of `kind: template`.

use std::rc::Rc;

use serde_yaml::{Mapping, Value};

use super::{PathClaims, Reader};
use crate::{
    FileContent, FilePath, FileSpec, FragmentSpec, TemplateSpec,
    files::TEXT_MAX_BYTES,
    mistake::jinja_file,
    raw::{RawFile, RawTemplate},
    source::{Source, YamlPath},
    typed,
};
use cfgsync_model::{ArtifactPath, Mode, Ownership};
use cfgsync_template::{
    Declarations, Expression, Iteration, JinjaError, Origin, Scope, Template, Whitespace,
};

/// The settings with which a template is compiled.
#[derive(Clone, Copy)]
struct Settings<'a> {
    /// The fragments that it can include.
    fragments: &'a [String],
    /// The declarations of the spec, and the variable of the file's `for`.
    declared: &'a Declarations,
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
    let declared = reader.declared.clone();
    let in_fragment = Settings {
        fragments: &[],
        declared: &declared,
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
        declared: &declared,
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
    let scope = if shared { Scope::Shared } else { Scope::Node };
    let iteration = match &raw.r#for {
        Some(text) => Some(iteration(reader, text, scope, settings, &path.key("for"))?),
        None => None,
    };
    let declared = match &iteration {
        Some(iteration) => settings.declared.clone().with_item(iteration.variable()),
        None => settings.declared.clone(),
    };
    let settings = Settings {
        declared: &declared,
        ..settings
    };
    let name = read_path(reader, &raw, path, scope, settings, iteration.as_ref());
    if let Some(FilePath::Fixed(name)) = &name {
        let every_node = raw.r#where.is_none();
        paths.claim(reader, name, &path.key("path"), every_node);
    }
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
        Some(text) => Some(condition(reader, text, settings, &path.key("where"))?),
        None => None,
    };
    let given = [&raw.template, &raw.template_file, &raw.source];
    if !is_complete && given.iter().all(|content| content.is_none()) {
        // The content was probably removed because it has a mistake.
        return None;
    }
    let content = read_content(reader, &raw, path, scope, settings)?;
    Some(FileSpec {
        path: name?,
        iteration,
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

/// Reads `path`. A text without the delimiters of a template is the path itself.
fn read_path(
    reader: &mut Reader,
    raw: &RawFile,
    path: &YamlPath,
    scope: Scope,
    settings: Settings<'_>,
    iteration: Option<&Iteration>,
) -> Option<FilePath> {
    let path = path.key("path");
    let text = &raw.path;
    let is_template = ["{{", "{%", "{#"].iter().any(|open| text.contains(open));
    let read = if is_template {
        let in_path = Settings {
            // A path cannot contain fragments.
            fragments: &[],
            ..settings
        };
        FilePath::Template(inline_template(reader, text, scope, in_path, &path)?)
    } else {
        match ArtifactPath::new(text) {
            Ok(name) => FilePath::Fixed(name),
            Err(error) => {
                reader.report(&path, error.to_string());
                return None;
            }
        }
    };
    let Some(variable) = iteration.map(Iteration::variable) else {
        return Some(read);
    };
    match read {
        FilePath::Template(template) if template.uses_variable(variable) => {
            Some(FilePath::Template(template))
        }
        _ => {
            let title = format!("every item of `for` would give the same path `{text}`");
            let mistake = reader.document.value(&path, title);
            let help = format!(
                "use `{variable}` in the path, such as `path: \"peers/{{{{ {variable}.identifier }}}}.conf\"`"
            );
            reader.mistakes.push(mistake.help(help));
            None
        }
    }
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
    name: &str,
    text: &str,
    scope: Scope,
    settings: Settings<'_>,
) -> Result<Template, JinjaError> {
    let Settings {
        fragments,
        declared,
        whitespace,
    } = settings;
    Template::compile_with(name, text, scope, fragments, declared, whitespace)
}

/// Compiles the `where` of a file.
fn condition(
    reader: &mut Reader,
    text: &str,
    settings: Settings<'_>,
    path: &YamlPath,
) -> Option<Expression> {
    let compiled = Expression::compile_with(text, Scope::Node, settings.declared);
    let origin = reader.document.origin(path, text);
    let compiled = compiled.map(|expression| expression.with_origin(origin));
    reader.check(compiled, text, path)
}

/// Compiles the `for` of a file.
fn iteration(
    reader: &mut Reader,
    text: &str,
    scope: Scope,
    settings: Settings<'_>,
    path: &YamlPath,
) -> Option<Iteration> {
    let compiled = Iteration::compile(text, scope, settings.declared);
    let origin = reader.document.origin(path, text);
    let compiled = compiled.map(|iteration| iteration.with_origin(origin));
    reader.check(compiled, text, path)
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
    let compiled = compile(&name, text, scope, settings);
    let compiled = compiled.map(|template| template.with_origin(origin));
    reader.check(compiled, text, path)
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
    match compile(&shown, &text, scope, settings) {
        Ok(template) => Some(template.with_origin(Origin::file(shown))),
        Err(error) => {
            let source = Rc::new(Source { name: shown, text });
            reader.mistakes.push(jinja_file(&source, &error));
            None
        }
    }
}
