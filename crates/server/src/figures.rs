//! Counts requests by route and status without looking a label up more than once, and what is going on now.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper::StatusCode;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

use super::route::Route;
use cfgsync_cluster::metrics::{Metrics, RequestLabels, RouteLabels};

/// The statuses that routes answer.
const STATUSES: [u16; 18] = [
    200, 202, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 425, 429, 500, 501, 503, 504,
];

/// The handles, made when they are first needed so that /metrics lists only what happened.
pub(super) struct Figures {
    metrics: Arc<Metrics>,
    requests: [[OnceLock<Counter>; STATUSES.len()]; Route::COUNT],
    seconds: [OnceLock<Histogram>; Route::COUNT],
}

/// Counts one in `gauge` while it lives.
pub(super) struct Present<'a>(&'a Gauge);

impl<'a> Present<'a> {
    pub(super) fn in_gauge(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Figures {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            requests: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
            seconds: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// Counts one request.
    pub(super) fn count(&self, route: Route, status: StatusCode, took: Duration) {
        let status = status.as_u16();
        let find = || {
            let route = route.pattern();
            let labels = RequestLabels { route, status };
            self.metrics.requests.get_or_create(&labels).clone()
        };
        match STATUSES.iter().position(|&known| known == status) {
            Some(at) => {
                self.requests[route as usize][at].get_or_init(find).inc();
            }
            None => {
                find().inc();
            }
        }
        self.seconds[route as usize]
            .get_or_init(|| {
                let route = route.pattern();
                let labels = RouteLabels { route };
                self.metrics.request_seconds.get_or_create(&labels).clone()
            })
            .observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_under_their_route_and_status() {
        let metrics = Arc::new(Metrics::default());
        let figures = Figures::new(Arc::clone(&metrics));
        for status in [200, 200, 418] {
            let status = StatusCode::from_u16(status).unwrap();
            figures.count(Route::Node, status, Duration::from_millis(2));
        }
        let text = metrics.to_text();
        for line in [
            "cfgsync_requests_total{route=\"/node\",status=\"200\"} 2",
            "cfgsync_requests_total{route=\"/node\",status=\"418\"} 1",
            "cfgsync_request_seconds_count{route=\"/node\"} 3",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("/register"), "{text}");
    }
}
