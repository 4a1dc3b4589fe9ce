//! Spreads the nodes of a cluster evenly over a time, without a random number.

use std::time::Duration;

use cfgsync_model::{Digest, Identifier};

/// Returns the share of `within` that this node waits. It depends on the identifier and `number` alone.
pub(super) fn spread(identifier: &Identifier, number: u64, within: Duration) -> Duration {
    let number = number.to_be_bytes();
    let digest = Digest::of_parts([&number[..], identifier.as_str().as_bytes()]);
    let bytes: [u8; 4] = digest.as_bytes()[..4]
        .try_into()
        .expect("a digest is longer");
    within.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_spread_evenly_and_always_alike() {
        let within = Duration::from_secs(10);
        let of = |node: u32, number| {
            let identifier = Identifier::new(&format!("node-{node}")).unwrap();
            spread(&identifier, number, within)
        };
        let waits: Vec<_> = (0..1000).map(|node| of(node, 7)).collect();
        assert!(waits.iter().all(|wait| *wait <= within));
        for at in 0..10 {
            let from = within * at / 10;
            let count = waits
                .iter()
                .filter(|wait| **wait >= from && **wait < from + within / 10);
            assert!((60..140).contains(&count.count()));
        }
        assert_eq!(of(1, 7), of(1, 7));
        assert_ne!(of(1, 7), of(1, 8));
    }
}
