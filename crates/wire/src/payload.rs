//! Payloads: the files of one generation that one node receives, as JSON.
//!
//! The server encodes a payload when the generation is sealed. The node decodes it and checks every digest before it
//! writes a file.

mod encode;
mod decode;

pub use decode::{PayloadLimits, ReceivedPayload, UnusablePayload};
pub use encode::{EncodedPayload, PayloadEncoder};

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use bytes::Bytes;

    use super::*;
    use crate::signature::{PayloadSigner, SigningKey, VerifyError};
    use cfgsync_model::{
        Account, ArtifactFile, ArtifactSet, Chunk, Content, GenerationNumber, Identifier, Instance,
        Mode, Ownership, generation_digest,
    };

    const INSTANCE: Instance = Instance::from_bytes([7; 16]);

    fn encoded(local: Vec<ArtifactFile>, shared: Vec<ArtifactFile>) -> Bytes {
        let (local, shared) = (
            ArtifactSet::new(local).unwrap(),
            ArtifactSet::new(shared).unwrap(),
        );
        let nodes = BTreeMap::from([("a".parse().unwrap(), local)]);
        let (nodes, _) = generation_digest(INSTANCE, nodes, &shared);
        let encoder = PayloadEncoder::new(INSTANCE, GenerationNumber(3), &shared);
        encoder
            .encode(&"a".parse().unwrap(), &nodes["a"])
            .to_bytes()
    }

    fn file(path: &str, content: Content) -> ArtifactFile {
        ArtifactFile {
            path: path.parse().unwrap(),
            mode: Mode::default(),
            secret: false,
            ownership: None,
            content,
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        let long = Chunk::new("é\"\\\n".repeat(5000));
        let chunked =
            Content::from_chunks([Chunk::new("head\n"), long.clone(), Chunk::new("tail")]);
        let local = vec![file("/a", Content::whole("x\u{7f}\t")), file("b", chunked)];
        let shared = vec![
            file("c", Content::whole("")),
            file("d", Content::from_chunks([long])),
        ];
        let body = encoded(local.clone(), shared.clone());
        let received = ReceivedPayload::decode(&body).unwrap();
        assert_eq!(received.files.files(), [local, shared].concat());
        assert_eq!(
            (received.instance, received.generation),
            (Some(INSTANCE), Some(GenerationNumber(3)))
        );
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&value["schema_version"], &value["files"][0]["path"]),
            (&1.into(), &"/a".into())
        );
    }

    #[test]
    fn owner_travels_and_is_part_of_the_digest() {
        let plain = file("a", Content::whole("x"));
        let account = |text: &str| Some(Account::new(text).unwrap());
        let with = |owner, group| ArtifactFile {
            ownership: Ownership::of(owner, group),
            ..plain.clone()
        };
        let all = [
            plain.clone(),
            with(account("app"), None),
            with(None, account("app")),
            with(account("1000"), account("web")),
        ];
        let mut digests = Vec::new();
        for file in &all {
            let body = encoded(vec![file.clone()], vec![]);
            let received = ReceivedPayload::decode(&body).unwrap();
            assert_eq!(received.files.files(), std::slice::from_ref(file));
            digests.push(received.digest.unwrap());
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let (owner, group) = match &file.ownership {
                Some(of) => (of.owner.as_ref(), of.group.as_ref()),
                None => (None, None),
            };
            for (name, given) in [("owner", owner), ("group", group)] {
                let sent = value["files"][0].get(name).and_then(|text| text.as_str());
                assert_eq!(sent, given.map(Account::as_str), "{name}");
            }
        }
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), all.len());
        let changed = String::from_utf8(encoded(vec![all[1].clone()], vec![]).to_vec()).unwrap();
        let changed = changed.replace("\"owner\":\"app\"", "\"owner\":\"root\"");
        assert!(ReceivedPayload::decode(changed.as_bytes()).is_err());
    }

    #[test]
    fn signed_payload_has_the_announced_length() {
        let (key, _) = SigningKey::generate().unwrap();
        let keys = [key.verify_key()];
        let signer = Arc::new(PayloadSigner::new(Arc::new(key), "prod \"é\""));
        let (a, b): (Identifier, Identifier) = ("a".parse().unwrap(), "b".parse().unwrap());
        let sets = [&a, &b].map(|id| (id.clone(), ArtifactSet::default()));
        for shared in [vec![], vec![file("s", Content::whole("x".repeat(9000)))]] {
            let shared = ArtifactSet::new(shared).unwrap();
            let (nodes, _) = generation_digest(INSTANCE, sets.clone().into(), &shared);
            let encoder = PayloadEncoder::new(INSTANCE, GenerationNumber(3), &shared);
            let encoder = encoder.signed_by(Some(&signer));
            let payload = encoder.encode(&a, &nodes[&a]);
            let body = payload.to_bytes();
            assert_eq!(body.len(), payload.len_bytes);
            let received = ReceivedPayload::decode(&body).unwrap();
            assert_eq!(received.cluster.as_deref(), Some("prod \"é\""));
            assert_eq!(received.verify(&a, &keys, false), Ok(()));
            let refused = received.verify(&b, &keys, true);
            assert_eq!(refused, Err(VerifyError::BadSignature));
            let plain = PayloadEncoder::new(INSTANCE, GenerationNumber(3), &shared);
            let plain = { plain }.encode(&a, &nodes[&a]).to_bytes();
            let plain = ReceivedPayload::decode(&plain).unwrap();
            assert_eq!(plain.verify(&a, &keys, true), Err(VerifyError::Unsigned));
            assert_eq!(plain.files, received.files);
        }
        let older = ReceivedPayload::decode(br#"{"schema_version":1,"files":[]}"#).unwrap();
        assert_eq!(older.verify(&a, &keys, true), Err(VerifyError::NotSignable));
    }

    #[test]
    fn binary_content_raises_the_schema_version() {
        let body = encoded(vec![file("k", Content::whole(vec![0xff, 0]))], vec![]);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&value["schema_version"], &value["files"][0]["encoding"]),
            (&2.into(), &"base64".into())
        );
        let received = ReceivedPayload::decode(&body).unwrap();
        assert_eq!(
            received.files.files()[0].content.to_bytes().as_ref(),
            [0xff, 0]
        );
    }

    #[test]
    fn rejects_altered_payloads() {
        let body = encoded(vec![file("a", Content::whole("port: 1"))], vec![]);
        let text = String::from_utf8(body.to_vec()).unwrap();
        for (from, to, error) in [
            (
                "port: 1",
                "port: 2",
                UnusablePayload::File {
                    path: "a".parse().unwrap(),
                },
            ),
            ("\"0644\"", "\"0777\"", UnusablePayload::Payload),
            ("\"path\":\"a\"", "\"path\":\"b\"", UnusablePayload::Payload),
            (
                "\"schema_version\":1",
                "\"schema_version\":9",
                UnusablePayload::SchemaVersion(9),
            ),
        ] {
            let altered = text.replace(from, to);
            assert_ne!(altered, text);
            assert_eq!(
                ReceivedPayload::decode(altered.as_bytes()).unwrap_err(),
                error
            );
        }
        assert!(matches!(
            ReceivedPayload::decode(&text.as_bytes()[..text.len() - 2]),
            Err(UnusablePayload::Shape(_))
        ));
    }

    #[test]
    fn accepts_a_payload_without_digests() {
        let body = br#"{"schema_version":1,"files":[{"path":"/config.yaml","content":"x"}]}"#;
        let received = ReceivedPayload::decode(body).unwrap();
        assert_eq!((received.digest, received.files.files().len()), (None, 1));
    }
}
