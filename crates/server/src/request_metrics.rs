//! Counts requests by route and status, looking up each metric's labels once.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper::StatusCode;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

use super::path::RouteTable;
use cfgsync_cluster::metrics::{Metrics, RequestLabels, RouteLabels};

/// The statuses that routes answer with. Others are counted too, with a slower lookup.
const STATUSES: [u16; 18] = [
    200, 202, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 425, 429, 500, 501, 503, 504,
];

/// The label of requests whose path no route has.
const UNKNOWN_ROUTE: &str = "unknown";

/// The metrics of all routes, created on first use, so that `/metrics` lists only what has happened.
pub(super) struct RequestMetrics {
    metrics: Arc<Metrics>,
    /// One for each route, and one for unknown paths.
    routes: Vec<RouteMetrics>,
}

struct RouteMetrics {
    /// The pattern of the route.
    label: &'static str,
    requests: [OnceLock<Counter>; STATUSES.len()],
    seconds: OnceLock<Histogram>,
}

/// Counts one in a gauge while it lives.
pub(super) struct GaugeGuard(Gauge);

impl GaugeGuard {
    pub(super) fn increment(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl RequestMetrics {
    /// Returns the metrics of the routes of `table`.
    pub(super) fn new(metrics: Arc<Metrics>, table: &RouteTable) -> Self {
        let labels = table.routes().iter().map(|route| route.pattern);
        let labels = labels.chain([UNKNOWN_ROUTE]);
        let routes = labels.map(|label| RouteMetrics {
            label,
            requests: Default::default(),
            seconds: OnceLock::new(),
        });
        Self {
            metrics,
            routes: routes.collect(),
        }
    }

    /// Counts one request. `index` is the route's in the table, or the number of routes if no route has the path.
    pub(super) fn count(&self, index: usize, status: StatusCode, took: Duration) {
        let of_route = &self.routes[index];
        let route = of_route.label;
        let status = status.as_u16();
        let lookup = || {
            let labels = RequestLabels { route, status };
            self.metrics.requests.get_or_create(&labels).clone()
        };
        match STATUSES.iter().position(|&known| known == status) {
            Some(at) => of_route.requests[at].get_or_init(lookup).inc(),
            None => lookup().inc(),
        };
        let seconds = of_route.seconds.get_or_init(|| {
            let labels = RouteLabels { route };
            self.metrics.request_seconds.get_or_create(&labels).clone()
        });
        seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ROUTES;
    use cfgsync_cluster::metrics::Expiries;

    #[test]
    fn requests_are_counted_under_their_route_and_status() {
        let metrics = Arc::new(Metrics::default());
        let requests = RequestMetrics::new(Arc::clone(&metrics), &ROUTES);
        for (path, status) in [("/node", 200), ("/node", 200), ("/node", 418), ("/x", 404)] {
            let status = StatusCode::from_u16(status).unwrap();
            requests.count(ROUTES.find(path).index, status, Duration::from_millis(2));
        }
        let text = metrics.to_text(&Expiries::default());
        for line in [
            "cfgsync_requests_total{route=\"/node\",status=\"200\"} 2",
            "cfgsync_requests_total{route=\"/node\",status=\"418\"} 1",
            "cfgsync_requests_total{route=\"unknown\",status=\"404\"} 1",
            "cfgsync_request_seconds_count{route=\"/node\"} 3",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("/register"), "{text}");
    }
}
