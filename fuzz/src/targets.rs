//! The fuzz targets: one for each parser of external input. A target panics if a guarantee is broken.
//!
//! To add a target, write a function, list it in `TARGETS`, and add a file in `fuzz_targets/` and seeds in `corpus/`.

// The integration tests include this file by path, so the submodule needs an explicit path too.
#[path = "state_directory.rs"]
pub(crate) mod state_directory;

use std::path::{Component, Path};

use cfgsync::{ArtifactFile, ArtifactSet, Identifier, NodeRegistration, OutputMap};
use cfgsync_access::Tokens;
use cfgsync_client::{Placement, ServerUrl};
use cfgsync_model::{ArtifactPath, Mode};
use cfgsync_spec::Spec;
use cfgsync_store::{DirectoryConfig, DirectoryContents, EventBounds, Relocation};
use cfgsync_template::{Expression, NodeValue, Origin, RenderContext, Scope, Template};
use cfgsync_wire::{self, ErrorBody, ReceivedPayload, Signature, SigningKey, VerifyKey};
use serde_json::json;

/// A target: must not panic for any input.
pub type Target = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("spec", spec),
    ("wire", wire),
    ("paths", paths),
    ("templates", templates),
    ("expressions", expressions),
    ("keys", keys),
    ("tokens", tokens),
    ("journal", journal),
];

/// Maximum length in bytes of a template or an expression. Longer ones are skipped.
const JINJA_MAX_BYTES: usize = 2_000;
/// A secret value that no message may contain.
const PLANTED: &str = "pl4nted-s3cret-value";

/// Parses a spec, or formats its error message.
pub fn spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // An absent directory, so that files named in a spec do not exist.
    let directory = Path::new("/nonexistent");
    match Spec::parse(text, "cluster.yaml", directory) {
        Ok(spec) => {
            let again =
                Spec::parse(text, "cluster.yaml", directory).expect("the spec was parsed before");
            assert_eq!(spec.digest, again.digest);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Parses the body of a request or response. The first byte selects the kind.
pub fn wire(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    match *choice {
        b's' => {
            if let Ok(set) = cfgsync_wire::read_set(body) {
                let written = set.to_json().to_string();
                assert_eq!(cfgsync_wire::read_set(written.as_bytes()), Ok(set));
            }
            return;
        }
        b'i' => {
            if let Ok(import) = cfgsync_wire::read_import(body) {
                let written = serde_json::to_vec(&import).expect("map keys are strings");
                assert_eq!(cfgsync_wire::read_import(&written), Ok(import));
            }
            return;
        }
        _ => {}
    }
    match choice % 8 {
        0 => drop(cfgsync_wire::read_registration(body).map_err(|error| error.to_string())),
        1 => drop(cfgsync_wire::read_identifier(body).map_err(|error| error.to_string())),
        2 => drop(cfgsync_wire::read_leave(body).map_err(|error| error.to_string())),
        3 => drop(cfgsync_wire::read_fail(body).map_err(|error| error.to_string())),
        4 => {
            if let Ok((_, files)) = cfgsync_wire::read_replacement(body) {
                stays_below(&files);
            }
        }
        5 => {
            if let Ok(error) = serde_json::from_slice::<ErrorBody>(body) {
                let again: ErrorBody =
                    serde_json::from_slice(&error.to_json()).expect("the error was serialized");
                assert_eq!(error, again);
            }
        }
        _ => match ReceivedPayload::decode(body) {
            Ok(payload) => stays_below(&payload.files),
            Err(error) => assert!(!error.to_string().is_empty()),
        },
    }
}

/// Checks that all files are placed below the operator's directory, whatever their names.
fn stays_below(files: &ArtifactSet) {
    let outputs = OutputMap::new().under("out").expect("a directory");
    // Names that would be both a file and a directory are rejected.
    let Ok(placed) = outputs.place(files) else {
        return;
    };
    for placed in placed {
        let Placement::File(target) = placed.placement else {
            panic!("only files are routed");
        };
        is_below(&target.below);
        assert_eq!(target.root, Path::new("out"));
        assert!(!placed.file.secret || placed.file.mode.is_private());
    }
}

fn is_below(parts: &[String]) {
    assert!(!parts.is_empty());
    for part in parts {
        let mut components = Path::new(part).components();
        let first = components.next();
        assert!(matches!(first, Some(Component::Normal(name)) if name == part.as_str()));
        assert_eq!(components.next(), None);
        assert!(!part.contains(['/', '\0']));
    }
}

/// Parses names, routes and addresses, one for each line. Artifact names come first, routes after an empty line.
pub fn paths(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut outputs = OutputMap::new();
    let mut files = ArtifactSet::default();
    let mut is_route = false;
    for line in text.lines().take(100) {
        is_route |= line.is_empty();
        if is_route {
            if let Ok(routed) = outputs.clone().parse_route(line) {
                outputs = routed;
            }
        } else if let Ok(path) = ArtifactPath::new(line) {
            assert_eq!(path.as_str(), line);
            is_below(
                &path
                    .name()
                    .split('/')
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            );
            let _ = files.push(ArtifactFile::new(path, "x"));
        }
        if let Ok(identifier) = line.parse::<Identifier>() {
            assert!(!identifier.as_str().contains(['/', '%']) && identifier.as_str().len() <= 253);
        }
        if let Ok(url) = line.parse::<ServerUrl>() {
            let again: ServerUrl = url.to_string().parse().expect("a printed URL must parse");
            assert_eq!(url, again);
        }
        if let Ok(mode) = line.parse::<Mode>() {
            assert!(mode.bits() <= 0o777);
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }
    let Ok(placed) = outputs.place(&files) else {
        return;
    };
    for placed in placed {
        if let Placement::File(target) = placed.placement {
            is_below(&target.below);
        }
    }
}

fn context() -> RenderContext {
    let values = json!({"planted": PLANTED, "number": 7, "list": [1, "b", null, {"c": true}]});
    let once = json!({"cookie": PLANTED});
    let node = |identifier: &str, metadata| {
        let identifier = identifier.parse().expect("an identifier");
        let registration = NodeRegistration::without_metadata(identifier, [10, 0, 0, 1].into());
        NodeValue::without_seat(&registration, &metadata)
    };
    let nodes = vec![
        node("n-1", json!({"port": 9000, "planted": PLANTED})),
        node("n-2", json!({"zone": "b"})),
    ];
    let object = |value: serde_json::Value| value.as_object().expect("an object").clone();
    RenderContext::with_nodes("devnet", &object(values), &object(once), nodes)
}

/// Returns the input as template text, or `None` to skip it. Memory of intermediate values has no limit, so inputs
/// that could grow a text in a loop are skipped.
fn jinja(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    let growing = ["~", "set", "*", "macro", "import"];
    let is_small = text.len() <= JINJA_MAX_BYTES && !text.contains(PLANTED);
    (is_small && !growing.iter().any(|word| text.contains(word))).then_some(text)
}

/// Compiles a template and renders it for a node and as a shared file. No message may contain a value.
pub fn templates(data: &[u8]) {
    let Some(text) = jinja(data) else {
        return;
    };
    let context = context();
    for scope in [Scope::Node, Scope::Shared] {
        let origin = Origin::file("template");
        let node = matches!(scope, Scope::Node).then(|| &context.nodes()[0]);
        let compiled = Template::compile("template", text, scope, &["peers".to_owned()]);
        let message = match compiled {
            Ok(template) => match template.render(&context, node) {
                Ok(_) => continue,
                Err(error) => error.describe(Some(&origin)),
            },
            Err(error) => error.describe(Some(&origin)),
        };
        assert!(!message.contains(PLANTED), "{message}");
    }
}

/// Compiles an expression and evaluates it for a node and for the cluster. No message may contain a value.
pub fn expressions(data: &[u8]) {
    let Some(text) = jinja(data) else {
        return;
    };
    let context = context();
    for scope in [Scope::Node, Scope::When] {
        let evaluated = Expression::compile(text, scope).and_then(|expression| match scope {
            Scope::Node => expression.matches(&context, &context.nodes()[0]),
            _ => expression.holds(&context),
        });
        if let Err(error) = evaluated {
            let message = error.describe(None);
            assert!(!message.contains(PLANTED), "{message}");
        }
    }
}

/// Parses key files and signatures.
pub fn keys(data: &[u8]) {
    if let Ok(key) = SigningKey::from_pem(data) {
        let public = key.verify_key();
        assert_eq!(VerifyKey::from_pem(public.to_pem().as_bytes()), Ok(public));
    }
    if let Ok(key) = VerifyKey::from_pem(data) {
        assert_eq!(VerifyKey::from_pem(key.to_pem().as_bytes()), Ok(key));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(signature) = text.parse::<Signature>()
    {
        assert_eq!(signature.to_string(), text);
    }
}

/// Parses a token file.
pub fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Tokens::parse(text, "tokens") {
        Ok(tokens) => assert!(tokens.count() <= text.lines().count()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads a state directory. The first byte says what the rest is: the log, the snapshot, or the bodies of frames from
/// which all files are built. The contents must be the same after a server opened the directory.
pub fn journal(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let files = match choice % 3 {
        0 => vec![("log".to_owned(), bytes.to_vec())],
        1 => vec![("snapshot".to_owned(), bytes.to_vec())],
        _ => state_directory::files(bytes),
    };
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = temporary.path().join("state");
    // A lock file, as a server leaves it behind.
    std::fs::create_dir_all(directory.join("generations"))
        .expect("space in the temporary directory");
    std::fs::write(directory.join("lock"), "").expect("space in the temporary directory");
    for (name, bytes) in files {
        std::fs::write(directory.join(name), bytes).expect("space in the temporary directory");
    }
    let contents = match DirectoryContents::read(&directory) {
        Ok(contents) => contents,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    drop(contents.verify());
    let config = DirectoryConfig {
        directory,
        cluster: contents.cluster.clone(),
        history: 1,
        relocation: Relocation::Unstated,
        event_bounds: EventBounds::default(),
    };
    drop(config.open().expect("the directory was read before"));
    let again = DirectoryContents::read(&config.directory).expect("a server opened the directory");
    assert!(!again.is_torn && again.lost_tail.is_none());
    if contents.lost_tail.is_some() {
        return assert_ne!(again.instance, contents.instance);
    }
    assert_eq!(
        format!("{:?}", again.state),
        format!("{:?}", contents.state)
    );
}
