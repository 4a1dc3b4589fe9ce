//! `kind: template`.

use std::rc::Rc;

use serde_yaml::{Mapping, Value};

use super::{Paths, Reader};
use crate::{
    FileContent, FileSpec, FragmentSpec, TemplateSpec,
    files::TEXT_MAX_BYTES,
    mistake::jinja_file,
    raw::{RawFile, RawTemplate},
    source::{Source, YamlPath},
    typed,
};
use cfgsync_model::{ArtifactPath, Mode};
use cfgsync_template::{Origin, Scope, Template};

pub(super) fn read_template(
    reader: &mut Reader,
    value: &Value,
    path: &YamlPath,
    paths: &mut Paths,
) -> Option<TemplateSpec> {
    let raw: RawTemplate = reader.section(value, path)?;
    let place = path.key("fragments");
    let mapping = raw.fragments.as_ref();
    let texts = typed::texts(&reader.document, mapping, &place, &mut reader.mistakes);
    // A fragment with a mistake is known by name: asking for it is no second mistake.
    let keys = mapping.into_iter().flat_map(Mapping::keys);
    let names: Vec<String> = keys.filter_map(Value::as_str).map(str::to_owned).collect();
    let mut fragments = Vec::new();
    for (name, text) in texts {
        let place = place.key(name);
        if let Some(template) = inline(reader, text, Scope::Fragment, &[], &place) {
            let name = name.to_owned();
            fragments.push(FragmentSpec { name, template });
        }
    }
    let place = path.key("files");
    if raw.files.is_empty() {
        reader.note(&place, "an empty list of files makes no file");
    }
    let mut files = Vec::new();
    for (at, file) in raw.files.iter().enumerate() {
        files.extend(read_file(reader, file, &place.index(at), &names, paths));
    }
    Some(TemplateSpec { fragments, files })
}

fn read_file(
    reader: &mut Reader,
    value: &Value,
    path: &YamlPath,
    fragments: &[String],
    paths: &mut Paths,
) -> Option<FileSpec> {
    let mistakes_before = reader.mistakes.len();
    let raw: RawFile = reader.section(value, path)?;
    let is_whole = reader.mistakes.len() == mistakes_before;
    let shared = raw.shared.unwrap_or(false);
    let secret = raw.secret.unwrap_or(false);
    let given = raw.mode.as_ref().map(|mode| mode.0);
    let mode = Mode::for_file(given, secret).unwrap_or_else(|error| {
        let mistake = reader.document.value(&path.key("mode"), error.to_string());
        reader
            .mistakes
            .push(mistake.help("leave out `mode`, or `secret: true`"));
        Mode::default()
    });
    let name = match ArtifactPath::new(&raw.path) {
        Ok(name) => {
            let every_node = raw.r#where.is_none();
            paths.claim(reader, &name, &path.key("path"), every_node);
            Some(name)
        }
        Err(error) => {
            reader.note(&path.key("path"), error.to_string());
            None
        }
    };
    if shared && raw.r#where.is_some() {
        let mistake = reader
            .document
            .key(&path.key("where"), "a shared file goes to every node")
            .help("leave out `where`, or `shared: true`");
        reader.mistakes.push(mistake);
    }
    let matching = match &raw.r#where {
        Some(text) => Some(reader.expression(text, Scope::Node, &path.key("where"))?),
        None => None,
    };
    let scope = if shared { Scope::Shared } else { Scope::Node };
    let given = [&raw.template, &raw.template_file, &raw.source];
    if !is_whole && given.iter().all(|content| content.is_none()) {
        // It may have been left out with its mistake.
        return None;
    }
    let content = read_content(reader, &raw, path, scope, fragments)?;
    Some(FileSpec {
        path: name?,
        mode,
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
    fragments: &[String],
) -> Option<FileContent> {
    match (&raw.template, &raw.template_file, &raw.source) {
        (Some(text), None, None) => {
            inline(reader, text, scope, fragments, &path.key("template")).map(FileContent::Template)
        }
        (None, Some(name), None) => {
            let place = path.key("template_file");
            template_file(reader, name, scope, fragments, &place).map(FileContent::Template)
        }
        (None, None, Some(text)) => {
            // A path holds no fragments.
            Some(FileContent::Source {
                path: inline(reader, text, scope, &[], &path.key("source"))?,
                directory: reader.files.directory().to_owned(),
            })
        }
        (None, None, None) => {
            let title = format!("nothing says what stands in `{}`", raw.path);
            let mistake = reader.document.value(&path.key("path"), title);
            let help = "give one of `template`, `template_file` and `source`";
            reader.mistakes.push(mistake.help(help));
            None
        }
        _ => {
            let title = format!("more than one thing says what stands in `{}`", raw.path);
            let mistake = reader.document.value(&path.key("path"), title);
            let help = "keep one of `template`, `template_file` and `source`";
            reader.mistakes.push(mistake.help(help));
            None
        }
    }
}

/// A template in the spec itself.
fn inline(
    reader: &mut Reader,
    text: &str,
    scope: Scope,
    fragments: &[String],
    path: &YamlPath,
) -> Option<Template> {
    let origin = reader.document.origin(path, text);
    match Template::compile_with(&path.to_string(), text, scope, fragments, &reader.declared) {
        Ok(template) => Some(template.with_origin(origin)),
        Err(error) => {
            let mistake = reader.document.jinja(path, text, &error);
            reader.mistakes.push(mistake);
            None
        }
    }
}

/// A template in a file of its own.
fn template_file(
    reader: &mut Reader,
    name: &str,
    scope: Scope,
    fragments: &[String],
    path: &YamlPath,
) -> Option<Template> {
    let text = match reader.files.read_text(name, TEXT_MAX_BYTES) {
        Ok(text) => text,
        Err(unreadable) => {
            reader.note_unreadable(path, unreadable);
            return None;
        }
    };
    let shown = reader.files.resolve(name).display().to_string();
    match Template::compile_with(&shown, &text, scope, fragments, &reader.declared) {
        Ok(template) => Some(template.with_origin(Origin::file(shown))),
        Err(error) => {
            let source = Rc::new(Source { name: shown, text });
            reader.mistakes.push(jinja_file(&source, &error));
            None
        }
    }
}
