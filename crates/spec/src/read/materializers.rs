//! Reads the section `materializers`.

mod exec;
mod paths;
mod template;

use serde_yaml::Value;

use self::{exec::read_exec, paths::PathClaims, template::read_template};
use super::Reader;
use crate::{
    MaterializerSpec, PrecomputedSpec,
    artifacts::{ReadArtifacts, read_artifacts},
    files::ARTIFACTS_MAX_BYTES,
    raw::RawPrecomputed,
    source::YamlPath,
    typed,
};
use cfgsync_model::ArtifactSet;
use cfgsync_support::nearest::did_you_mean_suffix;

/// The kinds that `kind` accepts.
const KINDS: [&str; 3] = ["template", "precomputed", "exec"];

/// Returns the materializers without a mistake.
pub(super) fn read_materializers(
    reader: &mut Reader,
    list: &[Value],
    path: &YamlPath,
) -> Vec<MaterializerSpec> {
    if list.is_empty() && reader.needs_materializers {
        reader.report(
            path,
            "the spec has no materializer, so no node would get a file",
        );
    }
    let mut paths = PathClaims::default();
    let mut materializers = Vec::new();
    for (at, value) in list.iter().enumerate() {
        materializers.extend(read_one(reader, value, &path.index(at), &mut paths));
    }
    materializers
}

/// Reads one materializer. Its kind decides which fields it has.
fn read_one(
    reader: &mut Reader,
    value: &Value,
    path: &YamlPath,
    paths: &mut PathClaims,
) -> Option<MaterializerSpec> {
    let Value::Mapping(mapping) = value else {
        let mistake = typed::wrong_type(&reader.document, path, "a mapping with `kind`", value);
        reader.mistakes.push(mistake);
        return None;
    };
    let mut rest = mapping.clone();
    let kind = match rest.remove("kind") {
        Some(Value::String(kind)) => kind,
        Some(other) => {
            let mistake =
                typed::wrong_type(&reader.document, &path.key("kind"), "a string", &other);
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
            let near = did_you_mean_suffix(unknown, KINDS);
            let title = format!("unknown materializer kind `{unknown}`{near}");
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
    paths: &mut PathClaims,
) -> Option<PrecomputedSpec> {
    let raw: RawPrecomputed = reader.section(value, path)?;
    let artifacts_path = path.key("artifacts");
    let text = match reader.files.read_text(&raw.artifacts, ARTIFACTS_MAX_BYTES) {
        Ok(text) => text,
        Err(unreadable) => {
            reader.report_unreadable(&artifacts_path, unreadable);
            return None;
        }
    };
    let file = reader.files.resolve(&raw.artifacts);
    let ReadArtifacts {
        artifacts,
        warnings,
    } = match read_artifacts(&file, text) {
        Ok(read) => read,
        Err(mistakes) => {
            reader.mistakes.extend(mistakes);
            return None;
        }
    };
    reader.warnings.extend(warnings);
    for file in artifacts.shared.files() {
        paths.claim(reader, &file.path, &artifacts_path, true);
    }
    let mut node_paths: Vec<_> = artifacts
        .nodes
        .values()
        .flat_map(ArtifactSet::files)
        .map(|file| &file.path)
        .collect();
    node_paths.sort();
    node_paths.dedup();
    for file in node_paths {
        paths.claim(reader, file, &artifacts_path, false);
    }
    Some(PrecomputedSpec {
        file,
        artifacts: artifacts.into(),
        requires_registration: raw.requires_registration.unwrap_or(true),
    })
}
