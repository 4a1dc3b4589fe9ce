//! Records for the tests of the formats.

use cfgsync_model::{
    GenerationChanges, GenerationNumber, Identifier, InputChange, Instance, Progress,
};
use cfgsync_support::clock::Timestamp;
use cfgsync_wire::{
    RecordBody, RecordMoment, RecordNode, RecordNodeState, RecordOutcome, RecordPhase,
    RecordRender, RecordWait,
};

/// Text that a machine could send to break out of its place.
pub(super) const FOREIGN: &str = "exit 1: \u{1b}[2J]]></failure><script>&\"'\n\u{202e}end";

/// Returns a time so many milliseconds after noon.
pub(super) fn at(millis: i64) -> Timestamp {
    let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    Timestamp::from_millisecond(noon.as_millisecond() + millis).unwrap()
}

fn wait(from: i64, to: i64, registered: usize, missing: &[&str]) -> RecordWait {
    let progress = Progress {
        registered,
        needed: registered + missing.len(),
        missing: missing.iter().map(|name| name.parse().unwrap()).collect(),
        missing_count: missing.len(),
        unmet: vec![],
    };
    RecordWait {
        at: at(from),
        seconds: Some((to - from) as f64 / 1000.0),
        message: progress.to_string(),
        progress,
    }
}

fn phase(name: &str, millis: i64, reason: Option<&str>) -> RecordPhase {
    RecordPhase {
        phase: name.parse().unwrap(),
        at: Some(at(millis)),
        reason: reason.map(str::to_owned),
    }
}

fn node(name: &str, registered: i64, delivered: i64) -> RecordNode {
    RecordNode {
        identifier: Identifier::new(name).unwrap(),
        state: RecordNodeState::Delivered,
        registered_at: Some(at(registered)),
        delivered_at: Some(at(delivered)),
        seconds: Some((delivered - registered) as f64 / 1000.0),
        failure: None,
        phases: vec![],
    }
}

/// A cluster of five nodes, of which one has failed.
pub(super) fn small() -> RecordBody {
    let named =
        |number: u32, registered, delivered| node(&format!("node-{number}"), registered, delivered);
    let mut nodes = vec![
        RecordNode {
            state: RecordNodeState::Failed,
            failure: Some(FOREIGN.to_owned()),
            phases: vec![
                phase("started", 3400, None),
                phase("failed", 5100, Some(FOREIGN)),
            ],
            ..named(3, 400, 2630)
        },
        RecordNode {
            state: RecordNodeState::Undelivered,
            delivered_at: None,
            seconds: Some(3.9),
            failure: Some("the files are sealed, and the node has not received them".to_owned()),
            ..named(5, 2300, 0)
        },
        named(1, 0, 2620),
        named(2, 150, 2640),
        named(4, 1800, 2700),
    ];
    for (node, healthy) in nodes.iter_mut().skip(2).zip([4100, 4400, 6200]) {
        node.phases = vec![
            phase("started", 3300, None),
            phase("healthy", healthy, None),
        ];
    }
    RecordBody {
        cluster: "devnet".to_owned(),
        instance: Instance::from_bytes([7; 16]),
        generation: Some(GenerationNumber(2)),
        outcome: RecordOutcome::Sealed,
        message: "generation 2 sealed after 2.600 s: 1 failed, 1 undelivered, 3 delivered"
            .to_owned(),
        complete: true,
        made_at: at(9000),
        began_at: Some(at(0)),
        sealed_at: Some(at(2600)),
        ended_at: at(6200),
        render: Some(RecordRender {
            started_at: Some(at(2340)),
            seconds: Some(0.2512),
            files: 11,
            bytes: 2345,
        }),
        failure: None,
        changes: Some(GenerationChanges {
            changes: vec![
                InputChange::NodeJoined {
                    identifier: "node-5".parse().unwrap(),
                },
                InputChange::ValueSet {
                    namespace: "production".parse().unwrap(),
                    key: "app/timeout".parse().unwrap(),
                    version: 4,
                    is_secret: false,
                },
            ],
            more: 0,
            is_partial: false,
        }),
        missing_more: 0,
        waits: vec![
            wait(0, 150, 1, &["node-2", "node-3", "node-4", "node-5"]),
            wait(150, 400, 2, &["node-3", "node-4", "node-5"]),
            wait(400, 1800, 3, &["node-4", "node-5"]),
            wait(1800, 2300, 4, &["node-5"]),
        ],
        moments: vec![RecordMoment {
            at: Some(at(2600)),
            kind: "generation_sealed".to_owned(),
            message: "generation 2 was sealed".to_owned(),
        }],
        nodes,
    }
}

/// An attempt that did not reach a generation: one node of three is missing.
pub(super) fn failed() -> RecordBody {
    let reason = "no complete set within 5s: 2/3, missing node-3";
    let small = small();
    let waiting = |number: u32, registered: i64| RecordNode {
        state: RecordNodeState::Waiting,
        delivered_at: None,
        seconds: Some((5000 - registered) as f64 / 1000.0),
        failure: Some(format!("the node waits for its files: {reason}")),
        ..node(&format!("node-{number}"), registered, 0)
    };
    RecordBody {
        generation: None,
        outcome: RecordOutcome::Failed,
        message: format!("failed: {reason}"),
        sealed_at: None,
        render: None,
        changes: None,
        ended_at: at(5000),
        complete: false,
        missing_more: 2,
        waits: vec![
            wait(0, 700, 1, &["node-2", "node-3"]),
            wait(700, 5000, 2, &["node-3"]),
        ],
        moments: vec![RecordMoment {
            at: Some(at(5000)),
            kind: "failed".to_owned(),
            message: format!("failed: {reason}"),
        }],
        nodes: vec![
            RecordNode {
                state: RecordNodeState::Missing,
                registered_at: None,
                delivered_at: None,
                seconds: Some(5.0),
                failure: Some(format!("the node has not registered; {reason}")),
                ..node("node-3", 0, 0)
            },
            waiting(1, 0),
            waiting(2, 700),
        ],
        ..small
    }
}

/// A cluster of so many nodes, of which a few are slow or failed.
pub(super) fn large(count: usize) -> RecordBody {
    let many = i64::try_from(count).unwrap();
    let mut nodes: Vec<RecordNode> = (0..many)
        .map(|at| {
            let spread = (at * 7919 % many) * 8000 / many;
            let delivered = 8300 + (at * 104_729 % many) * 900 / many;
            let mut node = node(&format!("worker-{at}"), spread, delivered);
            node.phases = vec![phase("started", delivered + 300, None)];
            node
        })
        .collect();
    for (node, millis) in nodes.iter_mut().zip([11_000, 11_400, 9_900]) {
        node.state = RecordNodeState::Failed;
        node.failure = Some("probe: connection refused".to_owned());
        node.phases.push(phase("failed", millis, None));
    }
    nodes.sort_by(|one, other| {
        let by_time = other.seconds.unwrap().total_cmp(&one.seconds.unwrap());
        one.state.cmp(&other.state).then(by_time)
    });
    let good = count - 3;
    RecordBody {
        message: format!("generation 1 sealed after 8.200 s: 3 failed, {good} delivered"),
        generation: Some(GenerationNumber(1)),
        sealed_at: Some(at(8200)),
        ended_at: at(11_400),
        render: Some(RecordRender {
            started_at: Some(at(8010)),
            seconds: Some(0.19),
            files: 2 * count,
            bytes: 812 * count,
        }),
        changes: None,
        moments: vec![],
        waits: (0..8)
            .map(|second: i64| {
                let registered = count * usize::try_from(second).unwrap() / 8;
                let mut wait = wait(second * 1000, second * 1000 + 1000, registered, &[]);
                wait.message = format!("{registered}/{count}");
                wait
            })
            .collect(),
        nodes,
        ..small()
    }
}
