//! The cost of operators' values: cfgsync compared with itself, with the registration routes.

use super::{
    Bound, Programs, Settings, Table, cpu_us_per_request, finished_phase, number, run_storm,
};
use crate::table::median;

/// Number of connections that write concurrently, so that one disk sync covers many writes.
const WRITING: &str = "256";

/// Compares reads of values of 400 bytes with fetches of payloads of about the same length.
pub(super) fn reads(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let count = 1_000;
    let reads = settings.fetches.to_string();
    let (mut values, mut payloads) = (vec![], vec![]);
    let (mut value_cpu, mut payload_cpu) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        let server = programs.serve("ring", count, "")?;
        let report = run_storm(programs, &server, count, settings.fetches)?;
        let phase = finished_phase(&report, "fetch_random")?;
        payloads.push(number(phase, "/requests_per_s")?);
        payload_cpu.push(cpu_us_per_request(phase)?);
        let flags = ["-c", super::CONNECTIONS, "--value-bytes", "400"];
        let flags = [&flags[..], &["--random-reads", &reads]].concat();
        let report = programs.load(&server, "values", count, &flags)?;
        let phase = finished_phase(&report, "get")?;
        values.push(number(phase, "/requests_per_s")?);
        value_cpu.push(cpu_us_per_request(phase)?);
    }
    let (values, payloads) = (median(values), median(payloads));
    let what = format!(
        "reads of values: {}/s; fetches of payloads: {}/s",
        values.round(),
        payloads.round()
    );
    table.single(what, "×", values / payloads, Bound::AtLeast(0.8));
    let (values, payloads) = (median(value_cpu), median(payload_cpu));
    let what = format!("CPU of a read of a value: {values:.1} µs; of a fetch: {payloads:.1} µs");
    table.single(what, "×", values / payloads, Bound::None);
    Ok(())
}

/// Compares durable writes of values with durable registrations, which have about the same length.
pub(super) fn writes(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let count = 50_000;
    let rate = |mode: &str, phase: &str, flags: &[&str]| -> anyhow::Result<f64> {
        // The spec needs one node more than registers, so no render disturbs the measurement.
        let server = programs.serve_with("ring", count + 1, "", &["--state-dir", "state"])?;
        let flags = [&["-c", WRITING], flags].concat();
        let report = programs.load(&server, mode, count, &flags)?;
        number(finished_phase(&report, phase)?, "/requests_per_s")
    };
    let (mut values, mut registrations) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        values.push(rate("values", "set", &[])?);
        registrations.push(rate("storm", "register", &["--skip-fetch-all"])?);
    }
    let (values, registrations) = (median(values), median(registrations));
    let what = format!(
        "durable writes of values over {WRITING} connections: {}/s; registrations: {}/s",
        values.round(),
        registrations.round()
    );
    table.single(what, "×", values / registrations, Bound::AtLeast(0.5));
    Ok(())
}
