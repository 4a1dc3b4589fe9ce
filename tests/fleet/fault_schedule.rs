//! Faults of etcd, of the servers and of the links between them, in an order that depends on the seed alone.

use std::time::{Duration, Instant};

use tokio::{task::block_in_place, time::sleep};

use crate::{
    proxy::Link,
    random::Random,
    servers::{SERVERS, Servers},
};

/// A fault, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    kind: FaultKind,
    /// A member of etcd or a server.
    target: usize,
    length: Duration,
}

#[derive(Debug, Clone, Copy)]
enum FaultKind {
    KillLeader,
    KillMember,
    PauseMember,
    StopEtcd,
    PauseServer,
    KillServer,
    CutFromEtcd,
    SilenceToEtcd,
    CutClients,
    SilenceClients,
    Compact,
    RevokeRole,
}

use FaultKind::{
    Compact, CutClients, CutFromEtcd, KillLeader, KillMember, KillServer, PauseMember, PauseServer,
    RevokeRole, SilenceClients, SilenceToEtcd, StopEtcd,
};

/// The faults of one run, one after the other.
pub(crate) fn schedule(seed: u64, run: Duration) -> Vec<Fault> {
    let mut random = Random(seed);
    let mut faults = vec![];
    // Long faults in some runs only, because they lengthen the run.
    match seed % 8 {
        3 => faults.push(Fault::new(PauseServer, &mut random, 11_000..11_001)),
        6 => faults.push(Fault::new(StopEtcd, &mut random, 10_000..10_001)),
        _ => {}
    }
    let mut total = Duration::ZERO;
    while total < run {
        let kinds = [
            KillLeader,
            KillMember,
            PauseMember,
            PauseServer,
            KillServer,
            KillServer,
            CutFromEtcd,
            SilenceToEtcd,
            CutClients,
            SilenceClients,
            Compact,
            RevokeRole,
        ];
        let kind = kinds[usize::try_from(random.below(kinds.len() as u64)).unwrap()];
        let fault = Fault::new(kind, &mut random, 100..2_000);
        total += fault.length + PAUSE;
        faults.push(fault);
    }
    faults
}

/// Returns how long the faults take.
pub(crate) fn length(faults: &[Fault]) -> Duration {
    faults.iter().map(|fault| fault.length + PAUSE).sum()
}

/// The time between faults.
const PAUSE: Duration = Duration::from_millis(300);

impl Fault {
    fn new(kind: FaultKind, random: &mut Random, milliseconds: std::ops::Range<u64>) -> Self {
        let spread = milliseconds.end - milliseconds.start;
        Self {
            kind,
            target: usize::try_from(random.below(SERVERS as u64)).unwrap(),
            length: Duration::from_millis(milliseconds.start + random.below(spread)),
        }
    }

    /// Whether leases may be told late, or be lost.
    fn disturbs_leases(self) -> bool {
        !matches!(self.kind, Compact | CutClients | SilenceClients)
    }
}

/// Makes the faults and ends them. Returns the times at which leases may have been told late.
pub(crate) async fn make(servers: &mut Servers, faults: &[Fault]) -> Vec<(Instant, Instant)> {
    let mut disturbed = vec![];
    for fault in faults {
        sleep(PAUSE).await;
        let begun = Instant::now();
        make_one(servers, *fault).await;
        if fault.disturbs_leases() {
            disturbed.push((begun, Instant::now()));
        }
    }
    disturbed
}

async fn make_one(servers: &mut Servers, fault: Fault) {
    let etcd = &mut servers.etcd;
    let server = &mut servers.servers[fault.target];
    let length = fault.length;
    match fault.kind {
        KillLeader | KillMember => {
            let leader = || block_in_place(|| etcd.leader());
            let is_leader = matches!(fault.kind, KillLeader);
            let member = is_leader.then(leader).flatten().unwrap_or(fault.target);
            etcd.kill_member(member);
            sleep(length).await;
            etcd.start_member(member);
        }
        PauseMember => {
            etcd.signal_member(fault.target, "-STOP");
            sleep(length).await;
            etcd.signal_member(fault.target, "-CONT");
        }
        StopEtcd => {
            for member in 0..3 {
                etcd.kill_member(member);
            }
            sleep(length).await;
            for member in 0..3 {
                etcd.start_member(member);
            }
        }
        PauseServer => {
            server.signal("-STOP");
            sleep(length).await;
            server.signal("-CONT");
        }
        KillServer => {
            server.kill();
            sleep(length).await;
            server.start_again();
        }
        CutFromEtcd | SilenceToEtcd => {
            let link = match fault.kind {
                CutFromEtcd => Link::Cut,
                _ => Link::Silent,
            };
            server.set_link_to_etcd(link);
            sleep(length).await;
            server.set_link_to_etcd(Link::Up);
        }
        CutClients | SilenceClients => {
            let link = match fault.kind {
                CutClients => Link::Cut,
                _ => Link::Silent,
            };
            server.from_clients.set(link);
            sleep(length).await;
            server.from_clients.set(Link::Up);
        }
        Compact => block_in_place(|| etcd.compact()),
        RevokeRole => {
            block_in_place(|| etcd.revoke_role());
            sleep(length.min(Duration::from_millis(700))).await;
            // A member that has just been paused may refuse it.
            while !block_in_place(|| etcd.grant_role()) {
                sleep(PAUSE).await;
            }
        }
    }
}
