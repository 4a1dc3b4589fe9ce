//! Reads the answer of a program: `{"status":"not_ready","message"?}` or
//! `{"status":"ready","nodes":{ID:[{path,content|content_base64,mode?,secret?}]},"shared":[…]}`.

use std::{fmt, marker::PhantomData};

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use cfgsync_model::{
    Account, ArtifactFile, ArtifactPath, ArtifactSet, Identifier, MaterializedArtifacts, Mode,
    Ownership, RegistrationSnapshot,
};
use cfgsync_spec::{Mapped, MaterializationResult};
use cfgsync_support::nearest::did_you_mean_suffix;

/// The part of an answer that is not JSON that a message shows, in bytes.
const SHOWN_BYTES: usize = 60;
/// The longest `message` of a `not_ready`, in characters. Every node that waits receives it.
const MESSAGE_MAX_CHARS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAnswer {
    status: Status,
    message: Option<String>,
    nodes: Option<Entries<Vec<Mapped<RawFile>>>>,
    shared: Option<Vec<Mapped<RawFile>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    NotReady,
    Ready,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: ArtifactPath,
    content: Option<String>,
    content_base64: Option<String>,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
    #[serde(default)]
    secret: bool,
}

/// Reads what a program printed for `snapshot`. With `secret`, all its files are secret. With `hides_output`, neither
/// messages nor errors contain what it printed.
pub(super) fn read_answer(
    printed: &[u8],
    snapshot: &RegistrationSnapshot,
    secret: bool,
    hides_output: bool,
) -> Result<MaterializationResult, String> {
    if printed.iter().all(u8::is_ascii_whitespace) {
        return Err("printed nothing; expected a JSON object with `status`".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(printed);
    let Mapped(answer): Mapped<RawAnswer> = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| parse_error(&error, printed, hides_output))?;
    deserializer
        .end()
        .map_err(|error| format!("printed more than one JSON document: {error}"))?;
    match answer.status {
        Status::NotReady => {
            if answer.nodes.is_some() || answer.shared.is_some() {
                return Err(
                    "answered `not_ready` and returned files; only `ready` has files".to_owned(),
                );
            }
            let message = answer
                .message
                .unwrap_or_else(|| "no reason given".to_owned());
            let message = if hides_output {
                "the message is not shown because the program knows secrets".to_owned()
            } else {
                message.chars().take(MESSAGE_MAX_CHARS).collect()
            };
            Ok(MaterializationResult::NotReady { message })
        }
        Status::Ready => read_files(answer, snapshot, secret).map(MaterializationResult::Ready),
    }
}

fn read_files(
    answer: RawAnswer,
    snapshot: &RegistrationSnapshot,
    secret: bool,
) -> Result<MaterializedArtifacts, String> {
    if answer.message.is_some() {
        return Err("answered `ready` with a `message`; only `not_ready` has a message".to_owned());
    }
    let mut artifacts = MaterializedArtifacts::default();
    for (name, files) in answer.nodes.map_or_else(Vec::new, |nodes| nodes.0) {
        let Some(node) = snapshot.node(&name) else {
            let names = snapshot.nodes.iter().map(|node| node.identifier.as_str());
            let near = did_you_mean_suffix(&name, names);
            return Err(format!(
                "returned files for {name:?}, which is not a node of this snapshot{near}"
            ));
        };
        let identifier: &Identifier = &node.identifier;
        let files = artifact_set(files, &format!("nodes.{name}"), secret)?;
        if artifacts.nodes.insert(identifier.clone(), files).is_some() {
            return Err(format!("returned files for node {name} twice"));
        }
    }
    artifacts.shared = artifact_set(answer.shared.unwrap_or_default(), "shared", secret)?;
    Ok(artifacts)
}

/// Returns the files of `owner`, a path in the answer that messages name.
fn artifact_set(
    files: Vec<Mapped<RawFile>>,
    owner: &str,
    secret: bool,
) -> Result<ArtifactSet, String> {
    let mut set = ArtifactSet::default();
    for (at, Mapped(file)) in files.into_iter().enumerate() {
        let place = format!("{owner}[{at}]");
        let content = match (file.content, file.content_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => BASE64
                .decode(text.as_bytes())
                .map_err(|error| format!("{place}.content_base64 is not base64: {error}"))?,
            (None, None) => {
                return Err(format!(
                    "{place} has neither `content` nor `content_base64`"
                ));
            }
            (Some(_), Some(_)) => {
                return Err(format!("{place} has both `content` and `content_base64`"));
            }
        };
        let secret = secret || file.secret;
        let mode = Mode::for_file(file.mode, secret);
        let file = ArtifactFile {
            mode: mode.map_err(|error| format!("{place}.mode: {error}"))?,
            secret,
            ownership: Ownership::of(file.owner, file.group),
            ..ArtifactFile::new(file.path, content)
        };
        set.push(file)
            .map_err(|error| format!("{place}: {error}"))?;
    }
    Ok(set)
}

fn parse_error(
    error: &serde_path_to_error::Error<serde_json::Error>,
    printed: &[u8],
    hides_output: bool,
) -> String {
    let path = error.path().to_string();
    let inner = error.inner();
    if hides_output {
        let (line, column) = (inner.line(), inner.column());
        return format!(
            "invalid answer at line {line}, column {column}; the text is not shown because the program knows \
             secrets"
        );
    }
    let field = path.rsplit('.').next().unwrap_or_default();
    if inner.is_data() && matches!(field, "content" | "content_base64") {
        let (line, column) = (inner.line(), inner.column());
        // The error's own message would show the value, which may be secret.
        return format!(
            "invalid answer at {path}: expected a string at line {line} column {column}"
        );
    }
    if inner.is_data() {
        return match path.as_str() {
            "." => format!("invalid answer: {inner}"),
            path => format!("invalid answer at {path}: {inner}"),
        };
    }
    let shown = &printed[..printed.len().min(SHOWN_BYTES)];
    let more = if shown.len() < printed.len() {
        "…"
    } else {
        ""
    };
    format!(
        "printed text that is not JSON: {inner}; it begins with \"{}\"{more}",
        shown.escape_ascii()
    )
}

/// The entries of a JSON object in their order. Unlike a map, it keeps entries with the same key, so that the caller
/// can reject duplicates.
struct Entries<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a list of files for each node")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}
