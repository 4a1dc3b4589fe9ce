//! A node that registers, fetches its files, reports phases and is removed, again and again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    history::{Effect, Fetched, History, Observation},
    http::{Answer, HttpClient},
};

/// A node with its own client.
pub(crate) struct NodeClient {
    pub(crate) name: String,
    /// Makes its addresses its own.
    pub(crate) number: u64,
    pub(crate) http: HttpClient,
    pub(crate) history: History,
}

/// The newest acknowledged state.
#[derive(Default)]
struct Known {
    registered: Option<String>,
    removal: Option<(u64, u64)>,
}

impl NodeClient {
    /// Runs until `until`.
    pub(crate) async fn run(mut self, until: Instant) {
        let mut known = Known::default();
        let mut count = 0;
        while Instant::now() < until {
            count += 1;
            match self.http.random.below(10) {
                0 => self.remove(&mut known).await,
                1..5 => self.register(&mut known, count).await,
                _ => self.fetch(&known).await,
            }
            let pause = 20 + self.http.random.below(80);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn register(&mut self, known: &mut Known, count: u64) {
        let ip = format!("10.{}.{}.{}", self.number, count / 250, count % 250 + 1);
        let body = json!({ "identifier": self.name, "ip": ip });
        let answer = self.http.send("POST", "/register", &[], &body).await;
        let result = effect_of(answer.as_ref());
        assert_ne!(result, Effect::Refused, "{answer:?}");
        if let Effect::Done { .. } = result {
            *known = Known {
                registered: Some(ip.clone()),
                removal: None,
            };
        }
        self.history.add(Observation::Registered {
            node: self.name.clone(),
            ip,
            result,
        });
    }

    async fn remove(&mut self, known: &mut Known) {
        let seen = self.http.seen;
        let path = format!("/v1/nodes/{}", self.name);
        let leaves = self.http.random.below(2) == 0;
        let answer = if leaves {
            let body = json!({ "identifier": self.name });
            self.http.send("POST", "/v1/leave", &[], &body).await
        } else {
            self.http.send("DELETE", &path, &[], &Value::Null).await
        };
        match effect_of(answer.as_ref()) {
            Effect::Done { by } => {
                *known = Known {
                    registered: None,
                    removal: Some((seen, by)),
                };
                self.history.add(Observation::Removed {
                    node: self.name.clone(),
                    seen,
                    until: by,
                });
            }
            // It may take effect at any time.
            Effect::Unknown => *known = Known::default(),
            Effect::Refused => {
                let status = answer.map(|answer| answer.status);
                assert!(matches!(status, Some(404 | 409)), "{status:?}");
            }
        }
    }

    async fn fetch(&mut self, known: &Known) {
        let path = format!("/v1/nodes/{}/payload", self.name);
        let headers = [("prefer", "wait=1")];
        let Some(answer) = self.http.send("GET", &path, &headers, &Value::Null).await else {
            return;
        };
        if answer.status != 200 {
            assert!(matches!(answer.status, 425 | 503), "{answer:?}");
            return;
        }
        let payload = answer.json();
        let file = |name: &str| {
            let files = payload["files"].as_array().unwrap();
            let file = files.iter().find(|file| file["path"] == name).unwrap();
            file["content"].as_str().unwrap().to_owned()
        };
        let generation = payload["generation"].as_u64().unwrap();
        self.history.add(Observation::Fetched(Fetched {
            node: self.name.clone(),
            generation,
            digest: payload["digest"].as_str().unwrap().to_owned(),
            own: file("own"),
            shared: file("shared"),
            registered: known.registered.clone(),
            removal: known.removal,
        }));
        self.report(generation).await;
    }

    async fn report(&mut self, generation: u64) {
        let path = format!("/v1/nodes/{}/phases/healthy", self.name);
        let body = json!({ "generation": generation });
        let answer = self.http.send("PUT", &path, &[], &body).await;
        match effect_of(answer.as_ref()) {
            Effect::Done { .. } => self.history.add(Observation::Reported {
                node: self.name.clone(),
                generation,
            }),
            Effect::Unknown => {}
            Effect::Refused => {
                // The node may have been removed, but the generation is sealed.
                let reason = answer.unwrap().json()["reason"].clone();
                assert_eq!(reason, "unregistered");
            }
        }
    }
}

/// Returns what is known about the effect of a request after its answer.
pub(crate) fn effect_of(answer: Option<&Answer>) -> Effect {
    match answer {
        Some(answer) if answer.status < 300 => Effect::Done {
            by: answer.revision,
        },
        Some(answer) if answer.status < 500 => Effect::Refused,
        _ => Effect::Unknown,
    }
}
