//! Whole servers that share a cluster on a real etcd.
//!
//! The cases of a store that watches etcd, and their tests. `it` is `crates/etcd/tests/it`, and `fleet` is this target.
//!
//! | case | test |
//! | --- | --- |
//! | S5-01 unreachable, wrong password, wrong authority, not etcd | `it/start.rs` |
//! | S5-02 malformed record at start | `it/start.rs`: `wrong_records_are_refused_with_their_key` |
//! | S5-03 a change at one server is served at another | `fleet/outages.rs`: `change_at_one_server_is_served_at_the_others` |
//! | S5-04 malformed record while running | `it/faults.rs`: `entry_that_is_not_valid_has_no_effect_on_others` |
//! | S5-05 deletion clears | `fleet/randomized.rs`: removals of nodes |
//! | S5-06, S5-07 changes between list and watch, and while disconnected | `it/faults.rs`: `check_recovery`; `it/chaos.rs`; `fleet/randomized.rs` |
//! | S5-08, S5-09 compaction, cancelled watch | `it/faults.rs`: `compaction_beyond_a_lagging_watcher_loses_nothing` |
//! | S5-09 user loses its role | `it/faults.rs`: `store_goes_on_when_its_role_is_granted_again` |
//! | S5-10 half-open link | `it/faults.rs`: `silent_and_cut_links_are_noticed_and_mended` |
//! | S5-11 etcd away for 10 s | `fleet/outages.rs`: `outage_of_etcd_stops_changes_and_no_reads` |
//! | S5-12 jitter of reconnects | `crates/support/src/backoff.rs`: `jitter_covers_the_whole_range` |
//! | S5-13 no connection after a stop | `it/faults.rs`: `dropped_store_closes_its_connection` |
//! | S5-14 fetches without etcd | `fleet/outages.rs`: `fetches_do_not_use_etcd` |
//! | S5-15 time to live of a value | none here: an entry has its expiry as a time |
//! | S5-16 member killed (leader first), paused | `it/chaos.rs`; `fleet/randomized.rs` |
//! | S5-17 full database | `it/faults.rs`: `full_database_refuses_changes_until_the_alarm_is_cleared` |
//! | a server that is stopped past its lease | `fleet/outages.rs`: `stopped_server_loses_its_turn_and_does_not_render_over_the_other` |

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "a run says its seed")]

#[allow(dead_code, reason = "the tests of the store use the rest")]
#[path = "../../crates/etcd/tests/it/etcd.rs"]
mod etcd;
#[allow(dead_code, reason = "the tests of the store use the rest")]
#[path = "../../crates/etcd/tests/it/proxy.rs"]
mod proxy;
#[path = "../../crates/etcd/tests/it/random.rs"]
mod random;

mod checker;
mod fault_schedule;
mod history;
mod http;
mod node_client;
mod outages;
mod randomized;
mod run_client;
mod servers;
mod value_client;
mod watch_client;
