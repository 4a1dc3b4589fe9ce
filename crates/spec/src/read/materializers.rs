//! The section `materializers`.

mod exec;
mod paths;
mod template;

use serde_yaml::Value;

use self::{exec::read_exec, paths::Paths, template::read_template};
use super::Reader;
use crate::{
    MaterializerSpec, PrecomputedSpec, artifacts::read_artifacts, files::ARTIFACTS_MAX_BYTES,
    mistake::did_you_mean, raw::RawPrecomputed, source::YamlPath, typed,
};
use cfgsync_model::ArtifactSet;

/// The kinds there are.
const KINDS: [&str; 3] = ["template", "precomputed", "exec"];

/// The materializers that have no mistake.
pub(super) fn read_materializers(
    reader: &mut Reader,
    list: &[Value],
    path: &YamlPath,
) -> Vec<MaterializerSpec> {
    if list.is_empty() && reader.needs_materializers {
        reader.note(path, "without a materializer there is no file for any node");
    }
    let mut paths = Paths::default();
    let mut materializers = Vec::new();
    for (at, value) in list.iter().enumerate() {
        materializers.extend(read_one(reader, value, &path.index(at), &mut paths));
    }
    materializers
}

/// The kind is read first, and decides how the rest is.
fn read_one(
    reader: &mut Reader,
    value: &Value,
    path: &YamlPath,
    paths: &mut Paths,
) -> Option<MaterializerSpec> {
    let Value::Mapping(mapping) = value else {
        let mistake = typed::wrong(&reader.document, path, "a mapping with `kind`", value);
        reader.mistakes.push(mistake);
        return None;
    };
    let mut rest = mapping.clone();
    let kind = match rest.remove("kind") {
        Some(Value::String(kind)) => kind,
        Some(other) => {
            let mistake = typed::wrong(&reader.document, &path.key("kind"), "a string", &other);
            reader.mistakes.push(mistake);
            return None;
        }
        None => {
            let title = format!("missing field `kind` in `{path}`");
            let mistake = reader.document.value(path, title);
            reader.mistakes.push(mistake.help(typed::one_of(&KINDS)));
            return None;
        }
    };
    let rest = Value::Mapping(rest);
    match kind.as_str() {
        "template" => read_template(reader, &rest, path, paths).map(MaterializerSpec::Template),
        "precomputed" => {
            read_precomputed(reader, &rest, path, paths).map(MaterializerSpec::Precomputed)
        }
        "exec" => read_exec(reader, &rest, path).map(MaterializerSpec::Exec),
        unknown => {
            let near = did_you_mean(unknown, KINDS);
            let title = format!("unknown kind of materializer `{unknown}`{near}");
            let mistake = reader.document.value(&path.key("kind"), title);
            reader.mistakes.push(mistake.help(typed::one_of(&KINDS)));
            None
        }
    }
}

fn read_precomputed(
    reader: &mut Reader,
    value: &Value,
    path: &YamlPath,
    paths: &mut Paths,
) -> Option<PrecomputedSpec> {
    let raw: RawPrecomputed = reader.section(value, path)?;
    let place = path.key("artifacts");
    let text = match reader.files.read_text(&raw.artifacts, ARTIFACTS_MAX_BYTES) {
        Ok(text) => text,
        Err(unreadable) => {
            reader.note_unreadable(&place, unreadable);
            return None;
        }
    };
    let file = reader.files.resolve(&raw.artifacts);
    let artifacts = match read_artifacts(&file, text) {
        Ok(artifacts) => artifacts,
        Err(mistakes) => {
            reader.mistakes.extend(mistakes);
            return None;
        }
    };
    for file in artifacts.shared.files() {
        paths.claim(reader, &file.path, &place, true);
    }
    let mut of_nodes: Vec<_> = artifacts
        .nodes
        .values()
        .flat_map(ArtifactSet::files)
        .map(|file| &file.path)
        .collect();
    of_nodes.sort();
    of_nodes.dedup();
    for file in of_nodes {
        paths.claim(reader, file, &place, false);
    }
    Some(PrecomputedSpec {
        file,
        artifacts: artifacts.into(),
        requires_registration: raw.requires_registration.unwrap_or(true),
    })
}
