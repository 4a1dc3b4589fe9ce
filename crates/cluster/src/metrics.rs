//! The server's metrics, in the OpenMetrics text format.

use std::sync::{Mutex, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of the buckets of the histograms of renders and seals, in seconds.
const RENDER_BUCKETS_SECONDS: [f64; 10] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

/// Upper bounds of the request histogram's buckets, in seconds. A held request may take minutes.
const REQUEST_BUCKETS_SECONDS: [f64; 10] =
    [0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0];

/// All metrics of one server. The fields are handles: set or increment them directly.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The number of registered nodes.
    pub registered: Gauge,
    /// The number of nodes that the spec requires.
    pub needed: Gauge,
    /// The number of requests that are held until there is an answer.
    pub waiting: Gauge,
    /// The number of the served generation, 0 before the first seal.
    pub generation: Gauge,
    /// The number of registered nodes that have not received the served generation.
    pub nodes_behind: Gauge,
    /// The number of registered nodes whose newest report says that they failed with the served generation.
    pub nodes_failed: Gauge,
    /// The number of nodes with a held request of their own.
    pub waiting_nodes: Gauge,
    /// 1 while the cluster or its newest render has failed, otherwise 0.
    pub failed: Gauge,
    /// When the server started, in seconds since 1970.
    pub start_time: Gauge,
    /// The time since the store last heard from its database, in seconds.
    pub store_silent_seconds: Gauge<f64, AtomicU64>,
    /// 1 while this server renders, 0 while another server of the cluster does.
    pub render_turn: Gauge,
    /// 1 if the newest reload of the part succeeded, otherwise 0. Empty before the first reload.
    pub reload_success: Family<PartLabels, Gauge>,
    /// When the part was last reloaded with success, in seconds since 1970.
    pub reload_success_time: Family<PartLabels, Gauge>,
    expiries: ExpiryGauges,
    /// Accepted changes, by kind.
    pub changes: ChangeCounters,
    /// The duration of renders in seconds, including failed ones.
    pub render_seconds: Histogram,
    /// The duration of seals in seconds, including failed ones.
    pub seal_seconds: Histogram,
    /// The number of failed renders.
    pub render_failures: Counter,
    /// Answered requests, by route and status.
    pub requests: Family<RequestLabels, Counter>,
    /// The duration of requests in seconds, including waiting, by route.
    pub request_seconds: Family<RouteLabels, Histogram>,
    /// Refused requests, by reason.
    refusals: Family<RefusalLabels, Counter>,
    /// The number of open event streams.
    pub watchers: Gauge,
    /// The number of keys of values, with the deleted ones whose history is kept.
    pub values: Gauge,
    /// The size of all versions of all values, in bytes of memory.
    pub values_bytes: Gauge,
    /// The number of open connections.
    pub connections: Gauge,
    /// Connections that were closed at once because their address had too many open connections.
    pub connections_refused: Counter,
    /// Failed TLS handshakes, such as clients without TLS and refused certificates.
    pub tls_failures: Counter,
}

/// The times at which credentials of the server expire.
#[derive(Debug, Default)]
pub struct Expiries {
    /// The end of the server's certificate, in seconds since 1970.
    pub certificate: Option<i64>,
    /// The tokens that expire: their names, and the end in seconds since 1970.
    pub tokens: Vec<(String, i64)>,
}

/// The gauges of [`Expiries`]. They change together with the text, so that no text lacks a part of them.
#[derive(Debug, Default)]
struct ExpiryGauges {
    certificate: Family<NoLabels, Gauge>,
    tokens: Family<TokenLabels, Gauge>,
    encoding: Mutex<()>,
}

/// The counters of accepted changes, looked up once: each registration increments one.
#[derive(Debug)]
pub struct ChangeCounters {
    family: Family<ChangeLabels, Counter>,
    /// Registrations with new facts.
    pub register: Counter,
    /// Identifiers that were released.
    pub release: Counter,
    /// Nodes that were removed or left.
    pub remove: Counter,
    /// Overrides that were set or removed.
    pub overrides: Counter,
    /// Changes of values and aliases.
    pub values: Counter,
    /// Nodes that were banned.
    pub ban: Counter,
    /// Bans that were ended.
    pub unban: Counter,
    /// Values of `once` that are evaluated again.
    pub redraw: Counter,
    /// Phases that nodes reported.
    pub report: Counter,
    /// Retries that operators asked for.
    pub retry: Counter,
    /// Changes of runs.
    pub run: Counter,
    /// Failures that operators declared.
    pub fail: Counter,
    /// Failures that operators reset.
    pub reset: Counter,
}

impl Default for ChangeCounters {
    fn default() -> Self {
        let family = Family::<ChangeLabels, Counter>::default();
        let counter = |kind| family.get_or_create(&ChangeLabels { kind }).clone();
        Self {
            register: counter("register"),
            release: counter("release"),
            remove: counter("remove"),
            overrides: counter("override"),
            values: counter("value"),
            ban: counter("ban"),
            unban: counter("unban"),
            redraw: counter("redraw"),
            report: counter("report"),
            retry: counter("retry"),
            run: counter("run"),
            fail: counter("fail"),
            reset: counter("reset"),
            family: family.clone(),
        }
    }
}

/// The label of [`ChangeCounters`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    kind: &'static str,
}

/// The labels of `requests`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The pattern of the route. It is never the path itself, so that clients cannot create time series.
    pub route: &'static str,
    /// The status code of the response.
    pub status: u16,
}

/// The label of `refusals`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    /// The reason in the response. It is a text of the program, so that clients cannot create time series.
    reason: &'static str,
}

/// The labels of `request_seconds`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// The pattern of the route.
    pub route: &'static str,
}

/// The labels of the reload metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartLabels {
    /// The part that is reloaded, such as `spec`.
    pub part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    name: String,
}

/// The labels of a metric that may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("cfgsync"),
            registered: Gauge::default(),
            needed: Gauge::default(),
            waiting: Gauge::default(),
            generation: Gauge::default(),
            nodes_behind: Gauge::default(),
            nodes_failed: Gauge::default(),
            waiting_nodes: Gauge::default(),
            failed: Gauge::default(),
            start_time: Gauge::default(),
            store_silent_seconds: Gauge::default(),
            render_turn: Gauge::default(),
            reload_success: Family::default(),
            reload_success_time: Family::default(),
            expiries: ExpiryGauges::default(),
            changes: ChangeCounters::default(),
            render_seconds: Histogram::new(RENDER_BUCKETS_SECONDS),
            seal_seconds: Histogram::new(RENDER_BUCKETS_SECONDS),
            render_failures: Counter::default(),
            requests: Family::default(),
            refusals: Family::default(),
            request_seconds: Family::new_with_constructor(|| {
                Histogram::new(REQUEST_BUCKETS_SECONDS)
            }),
            watchers: Gauge::default(),
            values: Gauge::default(),
            values_bytes: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            tls_failures: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        self.register_gauges();
        let registry = &mut self.registry;
        let build = Family::<BuildLabels, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&BuildLabels { version }).set(1);
        registry.register("build_info", "Always 1, with the version as a label", build);
        registry.register(
            "reload_success",
            "1 if the newest reload of the part succeeded, otherwise 0",
            self.reload_success.clone(),
        );
        registry.register(
            "reload_success_timestamp_seconds",
            "When the part was last reloaded with success, in seconds since 1970",
            self.reload_success_time.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate of the server expires, in seconds since 1970",
            self.expiries.certificate.clone(),
        );
        registry.register(
            "token_expiry_timestamp_seconds",
            "When a token expires, in seconds since 1970",
            self.expiries.tokens.clone(),
        );
        registry.register(
            "store_silent_seconds",
            "Time since the store last heard from its database, 0 without one",
            self.store_silent_seconds.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed at once because their address had too many open connections",
            self.connections_refused.clone(),
        );
        registry.register(
            "tls_failures",
            "Failed TLS handshakes",
            self.tls_failures.clone(),
        );
        registry.register(
            "changes",
            "Accepted changes, by kind",
            self.changes.family.clone(),
        );
        registry.register(
            "render_seconds",
            "Duration of renders",
            self.render_seconds.clone(),
        );
        registry.register(
            "seal_seconds",
            "Duration of seals, with the writes of the state directory",
            self.seal_seconds.clone(),
        );
        registry.register(
            "render_failures",
            "Failed renders",
            self.render_failures.clone(),
        );
        registry.register(
            "requests",
            "Answered requests, by route and status",
            self.requests.clone(),
        );
        registry.register(
            "refusals",
            "Refused requests, by the reason in the response",
            self.refusals.clone(),
        );
        registry.register(
            "request_seconds",
            "Duration of requests, including waiting",
            self.request_seconds.clone(),
        );
    }

    /// Registers the gauges without labels.
    fn register_gauges(&mut self) {
        let registry = &mut self.registry;
        let mut gauge = |name, help, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("registered", "Nodes that are registered", &self.registered);
        gauge("needed", "Nodes that the spec requires", &self.needed);
        gauge(
            "waiting",
            "Requests that are held until there is an answer",
            &self.waiting,
        );
        gauge(
            "generation",
            "Number of the served generation, 0 before the first seal",
            &self.generation,
        );
        gauge(
            "nodes_behind",
            "Registered nodes that have not received the served generation",
            &self.nodes_behind,
        );
        gauge(
            "nodes_failed",
            "Registered nodes whose newest report says that they failed with the served generation",
            &self.nodes_failed,
        );
        gauge(
            "failed",
            "1 while the cluster or its newest render has failed, otherwise 0",
            &self.failed,
        );
        gauge(
            "waiting_nodes",
            "Nodes with a request that is held until there is an answer",
            &self.waiting_nodes,
        );
        gauge(
            "start_time_seconds",
            "When the server started, in seconds since 1970",
            &self.start_time,
        );
        gauge(
            "render_turn",
            "1 while this server renders, 0 while another server of the cluster does",
            &self.render_turn,
        );
        gauge("watchers", "Open event streams", &self.watchers);
        gauge(
            "values",
            "Keys of values, with the deleted ones whose history is kept",
            &self.values,
        );
        gauge(
            "values_bytes",
            "Memory of all versions of all values",
            &self.values_bytes,
        );
        gauge("connections", "Open connections", &self.connections);
    }

    /// Counts a request that was refused for `reason`.
    pub fn count_refusal(&self, reason: &'static str) {
        let labels = RefusalLabels { reason };
        self.refusals.get_or_create(&labels).inc();
    }

    /// Returns all metrics in the OpenMetrics text format.
    pub fn to_text(&self, expiries: &Expiries) -> String {
        let gauges = &self.expiries;
        let _encoding = gauges
            .encoding
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        gauges.certificate.clear();
        if let Some(end) = expiries.certificate {
            gauges.certificate.get_or_create(&NoLabels {}).set(end);
        }
        gauges.tokens.clear();
        for (name, end) in &expiries.tokens {
            let labels = TokenLabels { name: name.clone() };
            gauges.tokens.get_or_create(&labels).set(*end);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_those_of_the_newest_text() {
        let metrics = Metrics::default();
        let first = metrics.to_text(&Expiries {
            certificate: Some(7),
            tokens: vec![("ops".to_owned(), 8)],
        });
        for line in [
            "cfgsync_certificate_expiry_timestamp_seconds{} 7\n",
            "cfgsync_token_expiry_timestamp_seconds{name=\"ops\"} 8\n",
        ] {
            assert!(first.contains(line), "{line} in {first}");
        }
        let next = metrics.to_text(&Expiries::default());
        assert!(
            !next.contains("certificate_expiry_timestamp_seconds{}"),
            "{next}"
        );
        assert!(!next.contains("name=\"ops\""), "{next}");
    }
}
