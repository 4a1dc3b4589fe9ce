//! What one node receives: encoded once at the seal, in pieces that nodes share; decoded and checked by it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{
    cluster::ArtifactEntry,
    signature::{NotVerified, Signature, SignedFacts, SigningKey, VerifyKey},
};
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, Generation, GenerationNumber,
    Identifier, Instance, Mode, NodeFiles, payload_digest,
};

/// A piece shorter than this is copied rather than shared: one more write costs more than the copy.
const SHARED_PIECE_MIN_BYTES: usize = 4096;

/// About what a payload takes beside its files, in bytes.
const HEAD_BYTES: usize = 256;

/// About what a file takes beside its content, in bytes.
const FILE_BYTES: usize = 192;

/// A payload as the bytes that go to the socket.
#[derive(Clone)]
pub struct EncodedPayload {
    /// The beginning: all of it but where nodes share something long.
    first: Bytes,
    /// What follows, in order. Long pieces are shared between the payloads of a generation.
    rest: Box<[Bytes]>,
    /// The end of a payload that is signed.
    seal: Option<Box<Seal>>,
    /// The length of all pieces.
    pub len_bytes: usize,
    /// The payload digest: the entity tag.
    pub digest: Digest,
}

/// The signature of one payload, and what ends it. Made when it is first handed out, not at the seal: a render of
/// ten thousand nodes, and a restart with them, signs nothing, and each worker signs what it sends.
#[derive(Clone)]
struct Seal {
    key: Arc<SigningKey>,
    instance: Instance,
    generation: GenerationNumber,
    identifier: Identifier,
    digest: Digest,
    piece: OnceLock<Bytes>,
}

impl Seal {
    /// Of every piece: 64 bytes are 88 letters of base64.
    const LEN_BYTES: usize = r#"],"signature":""}"#.len() + 88;

    fn piece(&self) -> &Bytes {
        self.piece.get_or_init(|| {
            let signature = self.key.sign(&SignedFacts {
                instance: self.instance,
                generation: self.generation,
                identifier: &self.identifier,
                digest: self.digest,
            });
            format!(r#"],"signature":"{signature}"}}"#).into()
        })
    }
}

/// Encodes the payloads of one generation; what they share is encoded once.
pub struct PayloadEncoder {
    instance: Instance,
    number: GenerationNumber,
    key: Option<Arc<SigningKey>>,
    /// The shared files, comma-separated.
    shared: Pieces,
    shared_is_text: bool,
    /// JSON of the chunks that several files hold, by their address. The chunks live as long as the generation.
    chunks: RwLock<HashMap<usize, Bytes>>,
}

/// Grows by copying short pieces and keeping long ones.
#[derive(Default, Clone)]
struct Pieces {
    done: Vec<Bytes>,
    open: Vec<u8>,
}

impl Pieces {
    fn push_shared(&mut self, piece: &Bytes) {
        if piece.len() < SHARED_PIECE_MIN_BYTES {
            self.open.extend_from_slice(piece);
            return;
        }
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open).into());
        }
        self.done.push(piece.clone());
    }

    fn append(&mut self, other: &Self) {
        other.done.iter().for_each(|piece| self.push_shared(piece));
        self.open.extend_from_slice(&other.open);
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.open.shrink_to_fit();
            self.done.push(self.open.into());
        }
        self.done
    }
}

impl PayloadEncoder {
    /// For the generation `number` with these shared files.
    pub fn new(instance: Instance, number: GenerationNumber, shared: &ArtifactSet) -> Self {
        let mut encoder = Self {
            instance,
            number,
            key: None,
            shared: Pieces::default(),
            shared_is_text: shared.files().iter().all(is_text),
            chunks: RwLock::default(),
        };
        let mut pieces = Pieces::default();
        for (at, file) in shared.files().iter().enumerate() {
            encoder.file(&mut pieces, at > 0, file);
        }
        if !pieces.open.is_empty() {
            pieces.done.push(std::mem::take(&mut pieces.open).into());
        }
        encoder.shared = pieces;
        encoder
    }

    /// For a generation that exists.
    pub fn of(instance: Instance, generation: &Generation) -> Self {
        Self::new(instance, generation.number, &generation.shared)
    }

    /// The same, with signatures by `key`, if there is one.
    #[must_use]
    pub fn signed_by(mut self, key: Option<&Arc<SigningKey>>) -> Self {
        self.key = key.cloned();
        self
    }

    /// One node's payload.
    pub fn encode(&self, identifier: &Identifier, node: &NodeFiles) -> EncodedPayload {
        let mut pieces = self.files(&node.local, Some(node.digest));
        let Some(key) = &self.key else {
            pieces.open.extend_from_slice(b"]}");
            return EncodedPayload::from_pieces(pieces.finish(), node.digest);
        };
        let mut payload = EncodedPayload::from_pieces(pieces.finish(), node.digest);
        payload.len_bytes += Seal::LEN_BYTES;
        payload.seal = Some(Box::new(Seal {
            key: key.clone(),
            instance: self.instance,
            generation: self.number,
            identifier: identifier.clone(),
            digest: node.digest,
            piece: OnceLock::new(),
        }));
        payload
    }

    /// Everything up to what follows the last file.
    fn files(&self, own: &ArtifactSet, digest: Option<Digest>) -> Pieces {
        let own = own.files();
        // An old client must refuse what it would write wrongly.
        let version = if self.shared_is_text && own.iter().all(is_text) {
            1
        } else {
            2
        };
        let digest = digest.map(|digest| format!(r#""digest":"{digest}","#));
        let mut pieces = Pieces::default();
        let content: usize = own.iter().map(|file| file.content.len()).sum();
        pieces.open.reserve(
            HEAD_BYTES + own.len() * FILE_BYTES + content + content / 8 + self.shared.open.len(),
        );
        pieces.open.extend_from_slice(
            format!(
                r#"{{"schema_version":{version},"instance":"{}","generation":{},{}"files":["#,
                self.instance,
                self.number,
                digest.unwrap_or_default()
            )
            .as_bytes(),
        );
        for (at, file) in own.iter().enumerate() {
            self.file(&mut pieces, at > 0, file);
        }
        if !own.is_empty() && !self.shared.done.is_empty() {
            pieces.open.push(b',');
        }
        pieces.append(&self.shared);
        pieces
    }

    fn file(&self, pieces: &mut Pieces, comma: bool, file: &ArtifactFile) {
        if comma {
            pieces.open.push(b',');
        }
        pieces.open.extend_from_slice(b"{\"path\":");
        push_json(&mut pieces.open, file.path.as_str());
        pieces
            .open
            .extend_from_slice(format!(r#","mode":"{}","#, file.mode).as_bytes());
        if file.secret {
            pieces.open.extend_from_slice(b"\"secret\":true,");
        }
        if file.content.is_chunked() {
            let sums: Vec<_> = file
                .content
                .chunks()
                .iter()
                .map(|c| (c.bytes().len(), c.sha256()))
                .collect();
            pieces.open.extend_from_slice(b"\"chunks\":");
            serde_json::to_writer(&mut pieces.open, &sums).expect("numbers and texts");
        } else {
            let sum = format!(r#""sha256":"{}""#, file.content.sha256());
            pieces.open.extend_from_slice(sum.as_bytes());
        }
        if !is_text(file) {
            pieces
                .open
                .extend_from_slice(b",\"encoding\":\"base64\",\"content\":\"");
            let text = data_encoding::BASE64.encode(&file.content.to_bytes());
            pieces.push_shared(&text.into());
            pieces.open.extend_from_slice(b"\"}");
            return;
        }
        // Escaping works byte by byte, so escaped pieces joined are the escaped whole.
        pieces.open.extend_from_slice(b",\"content\":\"");
        for chunk in file.content.chunks() {
            if Arc::strong_count(chunk) == 1 {
                push_escaped(&mut pieces.open, chunk.bytes());
                continue;
            }
            pieces.push_shared(&self.escaped(chunk));
        }
        pieces.open.extend_from_slice(b"\"}");
    }

    /// The JSON of a chunk that several files hold, made once.
    fn escaped(&self, chunk: &Arc<Chunk>) -> Bytes {
        let address = Arc::as_ptr(chunk).addr();
        let known = self.chunks.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(escaped) = known.get(&address) {
            return escaped.clone();
        }
        drop(known);
        let mut escaped = Vec::with_capacity(chunk.bytes().len() + 16);
        push_escaped(&mut escaped, chunk.bytes());
        let mut known = self.chunks.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster: all payloads then hold its copy.
        known.entry(address).or_insert(escaped.into()).clone()
    }
}

fn is_text(file: &ArtifactFile) -> bool {
    file.content.chunks().iter().all(|chunk| chunk.is_text())
}

fn push_json(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text is JSON");
}

/// JSON's escapes without the quotes around them.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let text = std::str::from_utf8(text).expect("checked by is_text");
    let start = out.len();
    push_json(out, text);
    out.pop();
    out.remove(start);
}

/// A payload that a client received, with all its sums checked.
#[derive(Debug, Clone)]
pub struct ReceivedPayload {
    /// Whose numbers these are; absent from servers of the older protocol.
    pub instance: Option<Instance>,
    /// Which generation; absent likewise.
    pub generation: Option<GenerationNumber>,
    /// The payload digest, as promised and as worked out; absent likewise.
    pub digest: Option<Digest>,
    /// What the server signed; absent where it signs nothing.
    pub signature: Option<Signature>,
    /// The files, in order.
    pub files: ArtifactSet,
    /// Secret files that are named and not shown: to operators who did not ask for them.
    pub withheld: Vec<ArtifactEntry>,
}

/// What a node takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Largest payload, in bytes, as it is on the wire.
    pub payload_max_bytes: usize,
    /// Most files; at most [`PayloadLimits::FILES_MAX`].
    pub files_max: usize,
    /// Longest artifact path, in bytes; artifact paths have at most 1024.
    pub path_max_bytes: usize,
}

impl PayloadLimits {
    /// No payload has more files, whatever the limit.
    pub const FILES_MAX: usize = 100_000;
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            payload_max_bytes: 512 << 20,
            files_max: 10_000,
            path_max_bytes: 1024,
        }
    }
}

/// A payload that must not be written: the server's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusablePayload {
    /// Not the JSON of a payload.
    #[error("the payload is not what this protocol sends: {0}")]
    Shape(String),
    /// A version from the future.
    #[error("the payload has schema version {0}; this cfgsync understands 1 and 2: update it")]
    SchemaVersion(u64),
    /// Bytes that are not the promised ones.
    #[error("{path} is not the promised content: its digest differs")]
    File {
        /// Which file.
        path: ArtifactPath,
    },
    /// The files are not those that the payload's digest names.
    #[error("the payload's digest does not match its files")]
    Payload,
    /// More than this node takes.
    #[error("{0}")]
    TooMuch(String),
    /// Two files of one name, or an encoding that is not one.
    #[error("{0}")]
    Files(String),
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    instance: Option<Instance>,
    #[serde(default)]
    generation: Option<GenerationNumber>,
    #[serde(default)]
    digest: Option<Digest>,
    #[serde(default)]
    signature: Option<String>,
    files: Files,
    #[serde(default)]
    withheld: Vec<ArtifactEntry>,
}

/// Files, counted while they are read: a list without end ends the reading.
struct Files(Vec<FileBody>);

#[derive(Deserialize, Serialize)]
struct FileBody {
    path: ArtifactPath,
    content: String,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    sha256: Option<Digest>,
    #[serde(default)]
    chunks: Option<Vec<(usize, Digest)>>,
    #[serde(default)]
    encoding: Option<String>,
}

impl ReceivedPayload {
    /// Reads and checks `body`, within the limits that hold where nobody sets others.
    pub fn decode(body: &[u8]) -> Result<Self, UnusablePayload> {
        Self::decode_within(body, PayloadLimits::default())
    }

    /// Reads and checks `body`. Nothing of it may be written before.
    pub fn decode_within(body: &[u8], limits: PayloadLimits) -> Result<Self, UnusablePayload> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u64,
        }
        let shape = |e: serde_json::Error| UnusablePayload::Shape(e.to_string());
        let Version { schema_version } = serde_json::from_slice(body).map_err(shape)?;
        if !(1..=2).contains(&schema_version) {
            return Err(UnusablePayload::SchemaVersion(schema_version));
        }
        let body: Body = serde_json::from_slice(body).map_err(shape)?;
        let Files(files) = body.files;
        if files.len() > limits.files_max {
            let (count, most) = (files.len(), limits.files_max);
            let message = format!("the payload has {count} files; at most {most} are taken here");
            return Err(UnusablePayload::TooMuch(message));
        }
        let files = files.into_iter().map(|file| {
            let (length, most) = (file.path.as_str().len(), limits.path_max_bytes);
            if length > most {
                let message =
                    format!("an artifact's path has {length} bytes; at most {most} are taken here");
                return Err(UnusablePayload::TooMuch(message));
            }
            file.decode()
        });
        let files = ArtifactSet::new(files.collect::<Result<_, _>>()?)
            .map_err(|e| UnusablePayload::Files(e.to_string()))?;
        if let (Some(instance), Some(promised)) = (body.instance, body.digest)
            && payload_digest(instance, files.files()) != promised
        {
            return Err(UnusablePayload::Payload);
        }
        Ok(Self {
            instance: body.instance,
            generation: body.generation,
            digest: body.digest,
            // One that cannot be read is none: whoever asks for one refuses it.
            signature: body.signature.and_then(|text| text.parse().ok()),
            files,
            withheld: body.withheld,
        })
    }

    /// Checks that one of `keys` signed that this payload, of this generation, is for `identifier`.
    pub fn verify(&self, identifier: &Identifier, keys: &[VerifyKey]) -> Result<(), NotVerified> {
        let (Some(instance), Some(generation), Some(digest)) =
            (self.instance, self.generation, self.digest)
        else {
            return Err(NotVerified::NoFacts);
        };
        let signature = self.signature.ok_or(NotVerified::Unsigned)?;
        let facts = SignedFacts {
            instance,
            generation,
            identifier,
            digest,
        };
        facts.verify(&signature, keys)
    }
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Files;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of files")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Files, A::Error> {
                let mut files = Vec::new();
                while let Some(file) = list.next_element()? {
                    if files.len() == PayloadLimits::FILES_MAX {
                        let most = PayloadLimits::FILES_MAX;
                        return Err(A::Error::custom(format!("more than {most} files")));
                    }
                    files.push(file);
                }
                Ok(Files(files))
            }
        }
        deserializer.deserialize_seq(Counting)
    }
}

impl FileBody {
    fn decode(self) -> Result<ArtifactFile, UnusablePayload> {
        let path = self.path;
        let bytes: Bytes = match self.encoding.as_deref() {
            None => self.content.into(),
            Some("base64") => data_encoding::BASE64
                .decode(self.content.as_bytes())
                .map_err(|e| UnusablePayload::Files(format!("{path} is not base64: {e}")))?
                .into(),
            Some(other) => {
                let message = format!("{path} has the unknown encoding {other:?}");
                return Err(UnusablePayload::Files(message));
            }
        };
        let content = match &self.chunks {
            None => Content::whole(bytes),
            Some(lengths) => {
                let mut rest = bytes;
                let mut chunks = Vec::with_capacity(lengths.len());
                for (length, _) in lengths {
                    if *length > rest.len() {
                        return Err(UnusablePayload::File { path });
                    }
                    chunks.push(Chunk::new(rest.split_to(*length)));
                }
                if !rest.is_empty() {
                    return Err(UnusablePayload::File { path });
                }
                Content::from_chunks(chunks)
            }
        };
        let as_promised = match (&self.chunks, self.sha256) {
            (Some(sums), _) => {
                let promised = sums.iter().map(|(_, sum)| *sum);
                content
                    .chunks()
                    .iter()
                    .map(|chunk| chunk.sha256())
                    .eq(promised)
            }
            (None, Some(sum)) => content.sha256() == sum,
            (None, None) => true,
        };
        if !as_promised {
            return Err(UnusablePayload::File { path });
        }
        let mode = Mode::of_file(self.mode, self.secret)
            .map_err(|error| UnusablePayload::Files(format!("{path}: {error}")))?;
        Ok(ArtifactFile {
            path,
            mode,
            secret: self.secret,
            content,
        })
    }
}

/// The files that are not secret, and the names of those that are.
fn open_files(files: &ArtifactSet, shared: bool) -> (ArtifactSet, Vec<ArtifactEntry>) {
    let (secret, open): (Vec<_>, Vec<_>) = files.files().iter().partition(|file| file.secret);
    let open = ArtifactSet::new(open.into_iter().cloned().collect());
    let secret = secret.into_iter();
    (
        open.expect("names of a set differ"),
        secret.map(|file| ArtifactEntry::of(file, shared)).collect(),
    )
}

/// Never the bytes: they may be keys.
impl fmt::Debug for EncodedPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "EncodedPayload({} bytes, {})",
            self.len_bytes, self.digest
        )
    }
}

impl EncodedPayload {
    /// What an operator sees of a node's payload: secret files are named, not shown. Without the payload digest,
    /// which would not fit, and never signed: no node takes it for its own.
    pub fn without_secrets(instance: Instance, generation: &Generation, node: &NodeFiles) -> Self {
        let (shared, mut withheld) = open_files(&generation.shared, true);
        let (own, withheld_own) = open_files(&node.local, false);
        withheld.splice(0..0, withheld_own);
        let encoder = PayloadEncoder::new(instance, generation.number, &shared);
        let mut pieces = encoder.files(&own, None);
        pieces.open.extend_from_slice(b"],\"withheld\":");
        serde_json::to_writer(&mut pieces.open, &withheld).expect("numbers and texts");
        pieces.open.push(b'}');
        Self::from_pieces(pieces.finish(), node.digest)
    }

    /// A payload of these pieces, in order.
    pub fn from_pieces(pieces: impl IntoIterator<Item = Bytes>, digest: Digest) -> Self {
        let mut pieces = pieces.into_iter();
        let first = pieces.next().unwrap_or_default();
        let rest: Box<[Bytes]> = pieces.collect();
        let len_bytes = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
        Self {
            first,
            rest,
            seal: None,
            len_bytes,
            digest,
        }
    }

    /// The piece number `at`, from 0.
    pub fn piece(&self, at: usize) -> Option<&Bytes> {
        match at.checked_sub(1) {
            None => Some(&self.first),
            Some(at) if at == self.rest.len() => self.seal.as_ref().map(|seal| seal.piece()),
            Some(at) => self.rest.get(at),
        }
    }

    /// The bytes in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let pieces: Vec<&[u8]> = (0..)
            .map_while(|at| self.piece(at))
            .map(Bytes::as_ref)
            .collect();
        pieces.concat().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use cfgsync_model::generation_digest;

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
            content,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
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
    fn a_signature_is_a_part_of_the_payload_as_long_as_was_said() {
        let (key, _) = SigningKey::generate().unwrap();
        let keys = [key.verify_key()];
        let key = Arc::new(key);
        let (a, b): (Identifier, Identifier) = ("a".parse().unwrap(), "b".parse().unwrap());
        let sets = [&a, &b].map(|id| (id.clone(), ArtifactSet::default()));
        for shared in [vec![], vec![file("s", Content::whole("x".repeat(9000)))]] {
            let shared = ArtifactSet::new(shared).unwrap();
            let (nodes, _) = generation_digest(INSTANCE, sets.clone().into(), &shared);
            let encoder = PayloadEncoder::new(INSTANCE, GenerationNumber(3), &shared);
            let encoder = encoder.signed_by(Some(&key));
            let payload = encoder.encode(&a, &nodes[&a]);
            let body = payload.to_bytes();
            assert_eq!(body.len(), payload.len_bytes);
            let received = ReceivedPayload::decode(&body).unwrap();
            assert_eq!(received.verify(&a, &keys), Ok(()));
            assert_eq!(received.verify(&b, &keys), Err(NotVerified::Forged));
            let plain = PayloadEncoder::new(INSTANCE, GenerationNumber(3), &shared);
            let plain = plain.encode(&a, &nodes[&a]).to_bytes();
            let plain = ReceivedPayload::decode(&plain).unwrap();
            assert_eq!(plain.verify(&a, &keys), Err(NotVerified::Unsigned));
            assert_eq!(plain.files, received.files);
        }
        let older = ReceivedPayload::decode(br#"{"schema_version":1,"files":[]}"#).unwrap();
        assert_eq!(older.verify(&a, &keys), Err(NotVerified::NoFacts));
    }

    #[test]
    fn bytes_that_are_not_text_raise_the_version() {
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
    fn nothing_altered_is_accepted() {
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
    fn an_older_server_promises_nothing() {
        let body = br#"{"schema_version":1,"files":[{"path":"/config.yaml","content":"x"}]}"#;
        let received = ReceivedPayload::decode(body).unwrap();
        assert_eq!((received.digest, received.files.files().len()), (None, 1));
    }
}
