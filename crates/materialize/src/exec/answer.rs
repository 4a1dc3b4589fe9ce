//! What a program answers: `{"status":"not_ready","message"?}` or
//! `{"status":"ready","nodes":{ID:[{path,content|content_base64,mode?,secret?}]},"shared":[…]}`.

use std::{fmt, marker::PhantomData};

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::MaterializationResult;
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Identifier, MaterializedArtifacts, Mode,
    RegistrationSnapshot,
};
use cfgsync_spec::{Mapped, did_you_mean};

/// How much of an answer that is not JSON a message shows, in bytes.
const SHOWN_BYTES: usize = 60;
/// Longest `message` of a `not_ready`, in characters: waiting nodes carry it.
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
    #[serde(default)]
    secret: bool,
}

/// Reads what a program printed for `snapshot`, or says what is wrong with it. With `secret`, all its files are,
/// and nothing of what it printed is said.
pub(super) fn read_answer(
    printed: &[u8],
    snapshot: &RegistrationSnapshot,
    secret: bool,
) -> Result<MaterializationResult, String> {
    if printed.iter().all(u8::is_ascii_whitespace) {
        return Err("printed nothing; expected a JSON document with a `status`".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(printed);
    let Mapped(answer): Mapped<RawAnswer> = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| not_understood(&error, printed, secret))?;
    deserializer
        .end()
        .map_err(|error| format!("printed more than one JSON document: {error}"))?;
    match answer.status {
        Status::NotReady => {
            if answer.nodes.is_some() || answer.shared.is_some() {
                return Err("answered not_ready and files at once".to_owned());
            }
            let message = answer
                .message
                .unwrap_or_else(|| "no reason given".to_owned());
            let message = match secret {
                true => "what it says is not shown, for it is secret".to_owned(),
                false => message.chars().take(MESSAGE_MAX_CHARS).collect(),
            };
            Ok(MaterializationResult::NotReady { message })
        }
        Status::Ready => ready(answer, snapshot, secret).map(MaterializationResult::Ready),
    }
}

fn ready(
    answer: RawAnswer,
    snapshot: &RegistrationSnapshot,
    secret: bool,
) -> Result<MaterializedArtifacts, String> {
    if answer.message.is_some() {
        return Err("answered ready with a `message`, which only not_ready has".to_owned());
    }
    let mut artifacts = MaterializedArtifacts::default();
    for (name, files) in answer.nodes.map_or_else(Vec::new, |nodes| nodes.0) {
        let Some(node) = snapshot.node(&name) else {
            let names = snapshot.nodes.iter().map(|node| node.identifier.as_str());
            let near = did_you_mean(&name, names);
            return Err(format!(
                "made files for {name:?}, which is no node of this set{near}"
            ));
        };
        let identifier: &Identifier = &node.identifier;
        let files = set(files, &format!("nodes.{name}"), secret)?;
        if artifacts.nodes.insert(identifier.clone(), files).is_some() {
            return Err(format!("answered for node {name} twice"));
        }
    }
    artifacts.shared = set(answer.shared.unwrap_or_default(), "shared", secret)?;
    Ok(artifacts)
}

fn set(files: Vec<Mapped<RawFile>>, owner: &str, secret: bool) -> Result<ArtifactSet, String> {
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
            ..ArtifactFile::new(file.path, content)
        };
        set.push(file)
            .map_err(|error| format!("{place}: {error}"))?;
    }
    Ok(set)
}

fn not_understood(
    error: &serde_path_to_error::Error<serde_json::Error>,
    printed: &[u8],
    secret: bool,
) -> String {
    let path = error.path().to_string();
    let told = error.inner();
    if secret {
        let (line, column) = (told.line(), told.column());
        return format!(
            "its answer has a mistake at line {line}, column {column}; what stands there is not shown, for it \
             is secret"
        );
    }
    let field = path.rsplit('.').next().unwrap_or_default();
    if told.is_data() && matches!(field, "content" | "content_base64") {
        let (line, column) = (told.line(), told.column());
        // What stands there may be a secret.
        return format!(
            "its answer has a mistake at {path}: expected a string at line {line} column {column}"
        );
    }
    if told.is_data() {
        return match path.as_str() {
            "." => format!("its answer has a mistake: {told}"),
            path => format!("its answer has a mistake at {path}: {told}"),
        };
    }
    let shown = &printed[..printed.len().min(SHOWN_BYTES)];
    let more = if shown.len() < printed.len() {
        "…"
    } else {
        ""
    };
    format!(
        "printed what is not JSON: {told}; it begins with \"{}\"{more}",
        shown.escape_ascii()
    )
}

/// The entries of a JSON object in their order, those under the same key included.
struct Entries<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Listing<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Listing<T> {
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
        deserializer.deserialize_map(Listing(PhantomData))
    }
}
