//! Recognises the settings file of the existing protocol's server, and translates it into a spec.

use serde_yaml::Value;

/// The settings of `cfgsync-server`, in one of its formats:
///
/// - `{port, source: {kind, artifacts_path}}`, or with `bundle_path`
/// - `{port, bundle_path, serving_mode}`
pub(super) struct ServerSettings {
    port: Option<u64>,
    artifacts: String,
    /// Whether a node must register before it gets its files.
    requires_registration: bool,
}

impl ServerSettings {
    /// Returns the settings if `value` is such a file.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let source = value.get("source").unwrap_or(value);
        let path = |name| source.get(name).and_then(Value::as_str);
        let artifacts = path("artifacts_path").or_else(|| path("bundle_path"))?;
        let kind = path("kind").or_else(|| path("serving_mode"));
        Some(Self {
            port: value.get("port").and_then(Value::as_u64),
            artifacts: artifacts.to_owned(),
            requires_registration: kind.is_some_and(|kind| kind.starts_with("registration")),
        })
    }

    /// Returns the text of the spec that does the same.
    pub(super) fn as_spec(&self) -> String {
        let Self {
            artifacts,
            requires_registration,
            ..
        } = self;
        let artifacts = serde_json::Value::from(artifacts.as_str());
        format!(
            "the same as a spec, which goes into a file of its own:\n\ncfgsync: 1\ncluster: devnet\nmaterializers:\n  \
             - kind: precomputed\n    artifacts: {artifacts}\n    requires_registration: {requires_registration}\n"
        )
    }

    /// Returns the command that serves it as the existing server does.
    pub(super) fn as_command(&self) -> String {
        let port = self.port.unwrap_or(4400);
        format!(
            "start it with `cfgsync serve SPEC --listen 0.0.0.0:{port} --allow-anonymous`; the page \"Moving over\" of the \
             documentation has the differences"
        )
    }
}
