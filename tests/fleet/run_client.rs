//! A process that claims runs, renews its lease, and ends them.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::{
    history::{Effect, History, Lease, Observation},
    http::HttpClient,
    node_client::effect_of,
};

/// The number of failures after which a run is given up: more than there are.
const TRIES: u64 = 10_000;

/// A runner for one node.
pub(crate) struct RunClient {
    pub(crate) node: String,
    pub(crate) http: HttpClient,
    pub(crate) history: History,
}

impl RunClient {
    /// Runs until `until`.
    pub(crate) async fn run(mut self, until: Instant) {
        let mut run = 0;
        while Instant::now() < until {
            let name = format!("run-{run}");
            if self.try_run(&name).await {
                run += 1;
            }
            let pause = 50 + self.http.random.below(200);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Claims the run and ends it. Returns whether it has succeeded, here or elsewhere.
    async fn try_run(&mut self, run: &str) -> bool {
        let claim = [self.http.random.next(), self.http.random.next()];
        let claim = format!("{:016x}{:016x}", claim[0], claim[1]);
        let body = json!({ "identifier": self.node, "claim": claim, "tries": TRIES });
        let path = |what: &str| format!("/v1/run-once/{run}/{what}");
        let mut renewed = Instant::now();
        let Some(answer) = self.http.send("POST", &path("claim"), &[], &body).await else {
            return false;
        };
        if answer.status != 200 {
            assert!(matches!(answer.status, 404 | 425 | 503), "{answer:?}");
            return false;
        }
        let answer = answer.json();
        let Some(fence) = answer["fence"]
            .as_u64()
            .filter(|_| answer["state"] == "run")
        else {
            assert_eq!(answer["state"], "done");
            return true;
        };
        let claimed = Instant::now();
        let body = json!({ "identifier": self.node, "fence": fence });
        for _ in 0..self.http.random.below(3) {
            sleep(Duration::from_millis(100)).await;
            let sent = Instant::now();
            let answer = self.http.send("POST", &path("renew"), &[], &body).await;
            if answer.is_some_and(|answer| answer.status == 200) {
                renewed = sent;
            }
        }
        let ended = Instant::now();
        self.history.add(Observation::Claimed {
            run: run.to_owned(),
            fence,
            lease: Lease {
                claimed,
                renewed,
                ended,
            },
        });
        match self.http.random.below(4) {
            // It dies.
            0 => return false,
            1 => {
                let _ = self.http.send("POST", &path("failed"), &[], &body).await;
                return false;
            }
            _ => {}
        }
        let answer = self.http.send("POST", &path("done"), &[], &body).await;
        let result = effect_of(answer.as_ref());
        self.history.add(Observation::Ended {
            run: run.to_owned(),
            fence,
            result,
        });
        matches!(result, Effect::Done { .. })
    }
}
