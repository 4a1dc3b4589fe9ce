//! Encodes the payloads of a generation.
//!
//! A payload is a list of pieces, so that the payloads of a generation share long parts: each is encoded and held once.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::Write as _,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use bytes::Bytes;

use crate::{
    cluster::ArtifactEntry,
    signature::{PayloadSigner, SignedFacts},
};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Chunk, Digest, Generation, GenerationNumber, Identifier, Instance,
    NodeFiles, Seat,
};

/// A piece shorter than this is copied instead of shared: one more write to the socket costs more than the copy.
const SHARED_PIECE_MIN_BYTES: usize = 4096;

/// About how many bytes a payload takes beside its files.
const PAYLOAD_OVERHEAD_BYTES: usize = 256;

/// About how many bytes a file takes beside its content.
const FILE_OVERHEAD_BYTES: usize = 192;

/// The bytes of a payload, in pieces.
#[derive(Clone)]
pub struct EncodedPayload {
    /// The first piece. It is the whole payload if nothing long is shared.
    first: Bytes,
    /// The other pieces, in order. Long pieces are shared between the payloads of a generation.
    rest: Box<[Bytes]>,
    /// The last piece of a signed payload.
    signature: Option<Box<SignatureTail>>,
    /// The length of all pieces, in bytes.
    pub len_bytes: usize,
    /// The payload digest, which is also the entity tag.
    pub digest: Digest,
}

/// The signature of a payload and the text around it.
///
/// It is computed when the payload is first sent. A render or a restart with ten thousand nodes therefore does not wait
/// for ten thousand signatures.
#[derive(Clone)]
struct SignatureTail {
    signer: Arc<PayloadSigner>,
    instance: Instance,
    generation: GenerationNumber,
    identifier: Identifier,
    digest: Digest,
    piece: OnceLock<Bytes>,
}

impl SignatureTail {
    /// The length of the piece: the 64 bytes of a signature are 88 characters of base64.
    fn len_bytes(&self) -> usize {
        r#"],"cluster":,"signature":""}"#.len() + self.cluster_json().len() + 88
    }

    fn cluster_json(&self) -> String {
        serde_json::to_string(&self.signer.cluster).expect("a text")
    }

    fn piece(&self) -> &Bytes {
        self.piece.get_or_init(|| {
            let signature = self.signer.key.sign(&SignedFacts {
                cluster: Some(&self.signer.cluster),
                instance: self.instance,
                generation: self.generation,
                identifier: &self.identifier,
                digest: self.digest,
            });
            let cluster = self.cluster_json();
            format!(r#"],"cluster":{cluster},"signature":"{signature}"}}"#).into()
        })
    }
}

/// Encodes the payloads of one generation. The parts that they share are encoded once.
pub struct PayloadEncoder {
    instance: Instance,
    number: GenerationNumber,
    signer: Option<Arc<PayloadSigner>>,
    seats: Arc<BTreeMap<Identifier, Seat>>,
    /// The shared files as JSON, separated by commas.
    shared: Pieces,
    shared_is_text: bool,
    /// The JSON of the chunks that several files contain, by the chunk's address. The generation keeps the chunks alive.
    chunks: RwLock<HashMap<usize, Bytes>>,
}

/// A list of pieces that grows at its end.
#[derive(Default, Clone)]
struct Pieces {
    finished: Vec<Bytes>,
    /// The piece that is being written.
    buffer: Vec<u8>,
}

impl Pieces {
    /// Appends `piece`: a long one as it is, a short one by copying it.
    fn push_shared(&mut self, piece: &Bytes) {
        if piece.len() < SHARED_PIECE_MIN_BYTES {
            self.buffer.extend_from_slice(piece);
            return;
        }
        if !self.buffer.is_empty() {
            self.finished.push(std::mem::take(&mut self.buffer).into());
        }
        self.finished.push(piece.clone());
    }

    fn append(&mut self, other: &Self) {
        other
            .finished
            .iter()
            .for_each(|piece| self.push_shared(piece));
        self.buffer.extend_from_slice(&other.buffer);
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.buffer.is_empty() {
            self.buffer.shrink_to_fit();
            self.finished.push(self.buffer.into());
        }
        self.finished
    }
}

impl PayloadEncoder {
    /// Returns an encoder for the generation `number` with these shared files. Its payloads are not signed.
    pub fn new(instance: Instance, number: GenerationNumber, shared: &ArtifactSet) -> Self {
        let mut encoder = Self {
            instance,
            number,
            signer: None,
            seats: Arc::default(),
            shared: Pieces::default(),
            shared_is_text: shared.files().iter().all(is_text),
            chunks: RwLock::default(),
        };
        let mut pieces = Pieces::default();
        for (at, file) in shared.files().iter().enumerate() {
            encoder.file(&mut pieces, at > 0, file);
        }
        if !pieces.buffer.is_empty() {
            pieces
                .finished
                .push(std::mem::take(&mut pieces.buffer).into());
        }
        encoder.shared = pieces;
        encoder
    }

    /// Returns an encoder for the payloads of `generation`.
    pub fn of(instance: Instance, generation: &Generation) -> Self {
        Self {
            seats: generation.seats.clone(),
            ..Self::new(instance, generation.number, &generation.shared)
        }
    }

    /// Returns the same encoder with signatures by `signer`, if there is one.
    #[must_use]
    pub fn signed_by(mut self, signer: Option<&Arc<PayloadSigner>>) -> Self {
        self.signer = signer.cloned();
        self
    }

    /// Encodes the payload of the node `identifier`.
    pub fn encode(&self, identifier: &Identifier, node: &NodeFiles) -> EncodedPayload {
        let seat = self.seats.get(identifier).copied();
        let mut pieces = self.files(&node.local, Some(node.digest), seat);
        let Some(signer) = &self.signer else {
            pieces.buffer.extend_from_slice(b"]}");
            return EncodedPayload::from_pieces(pieces.finish(), node.digest);
        };
        let mut payload = EncodedPayload::from_pieces(pieces.finish(), node.digest);
        let tail = Box::new(SignatureTail {
            signer: signer.clone(),
            instance: self.instance,
            generation: self.number,
            identifier: identifier.clone(),
            digest: node.digest,
            piece: OnceLock::new(),
        });
        payload.len_bytes += tail.len_bytes();
        payload.signature = Some(tail);
        payload
    }

    /// Encodes a payload up to its last file.
    fn files(&self, own: &ArtifactSet, digest: Option<Digest>, seat: Option<Seat>) -> Pieces {
        let own = own.files();
        // A client that does not know base64 must refuse the payload instead of writing wrong bytes.
        let version = if self.shared_is_text && own.iter().all(is_text) {
            1
        } else {
            2
        };
        let mut pieces = Pieces::default();
        let content: usize = own.iter().map(|file| file.content.len()).sum();
        // JSON escapes lengthen a text a little.
        let escaped = content + content / 8;
        let files = own.len() * FILE_OVERHEAD_BYTES + escaped + self.shared.buffer.len();
        pieces.buffer.reserve(PAYLOAD_OVERHEAD_BYTES + files);
        let (instance, number) = (self.instance, self.number);
        push_text(
            &mut pieces.buffer,
            format_args!(
                r#"{{"schema_version":{version},"instance":"{instance}","generation":{number},"#
            ),
        );
        if let Some(digest) = digest {
            push_text(&mut pieces.buffer, format_args!(r#""digest":"{digest}","#));
        }
        if let Some(Seat(seat)) = seat {
            push_text(&mut pieces.buffer, format_args!(r#""seat":{seat},"#));
        }
        pieces.buffer.extend_from_slice(b"\"files\":[");
        for (at, file) in own.iter().enumerate() {
            self.file(&mut pieces, at > 0, file);
        }
        if !own.is_empty() && !self.shared.finished.is_empty() {
            pieces.buffer.push(b',');
        }
        pieces.append(&self.shared);
        pieces
    }

    fn file(&self, pieces: &mut Pieces, comma: bool, file: &ArtifactFile) {
        if comma {
            pieces.buffer.push(b',');
        }
        pieces.buffer.extend_from_slice(b"{\"path\":");
        push_json(&mut pieces.buffer, file.path.as_str());
        push_text(
            &mut pieces.buffer,
            format_args!(r#","mode":"{}","#, file.mode),
        );
        if file.secret {
            pieces.buffer.extend_from_slice(b"\"secret\":true,");
        }
        if let Some(ownership) = &file.ownership {
            for (name, account) in [("owner", &ownership.owner), ("group", &ownership.group)] {
                if let Some(account) = account {
                    push_text(&mut pieces.buffer, format_args!(r#""{name}":"{account}","#));
                }
            }
        }
        if file.content.is_chunked() {
            let sums: Vec<_> = file
                .content
                .chunks()
                .iter()
                .map(|c| (c.bytes().len(), c.sha256()))
                .collect();
            pieces.buffer.extend_from_slice(b"\"chunks\":");
            serde_json::to_writer(&mut pieces.buffer, &sums).expect("numbers and texts");
        } else {
            let sum = file.content.sha256();
            push_text(&mut pieces.buffer, format_args!(r#""sha256":"{sum}""#));
        }
        if !is_text(file) {
            pieces
                .buffer
                .extend_from_slice(b",\"encoding\":\"base64\",\"content\":\"");
            let text = data_encoding::BASE64.encode(&file.content.to_bytes());
            pieces.push_shared(&text.into());
            pieces.buffer.extend_from_slice(b"\"}");
            return;
        }
        // JSON escapes each character on its own, so chunks can be escaped separately.
        pieces.buffer.extend_from_slice(b",\"content\":\"");
        for chunk in file.content.chunks() {
            if Arc::strong_count(chunk) == 1 {
                push_escaped(&mut pieces.buffer, chunk.bytes());
                continue;
            }
            pieces.push_shared(&self.escaped(chunk));
        }
        pieces.buffer.extend_from_slice(b"\"}");
    }

    /// Returns the JSON of a chunk that several files contain. It is encoded once.
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
        // If another thread was faster, all payloads share its copy.
        known.entry(address).or_insert(escaped.into()).clone()
    }
}

fn is_text(file: &ArtifactFile) -> bool {
    file.content.chunks().iter().all(|chunk| chunk.is_text())
}

/// Appends a formatted text without an allocation of its own.
fn push_text(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector accepts every write");
}

fn push_json(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text is JSON");
}

/// Appends the JSON of `text` without the quotes around it.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let text = std::str::from_utf8(text).expect("checked by is_text");
    let start = out.len();
    push_json(out, text);
    out.pop();
    out.remove(start);
}

/// Splits `files` into those that are not secret and the entries of those that are.
fn split_off_secrets(files: &ArtifactSet, shared: bool) -> (ArtifactSet, Vec<ArtifactEntry>) {
    let (secret, public): (Vec<_>, Vec<_>) = files.files().iter().partition(|file| file.secret);
    let public = ArtifactSet::new(public.into_iter().cloned().collect());
    let secret = secret.into_iter();
    (
        public.expect("the paths of a set differ"),
        secret.map(|file| ArtifactEntry::of(file, shared)).collect(),
    )
}

/// Shows no content, because it may be secret.
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
    /// Returns a node's payload as operators see it: secret files are named in `withheld` and have no content. It has no
    /// payload digest and no signature, so that no node accepts it.
    pub fn without_secrets(instance: Instance, generation: &Generation, node: &NodeFiles) -> Self {
        let (shared, mut withheld) = split_off_secrets(&generation.shared, true);
        let (own, withheld_own) = split_off_secrets(&node.local, false);
        withheld.splice(0..0, withheld_own);
        let encoder = PayloadEncoder::new(instance, generation.number, &shared);
        let mut pieces = encoder.files(&own, None, None);
        pieces.buffer.extend_from_slice(b"],\"withheld\":");
        serde_json::to_writer(&mut pieces.buffer, &withheld).expect("numbers and texts");
        pieces.buffer.push(b'}');
        Self::from_pieces(pieces.finish(), node.digest)
    }

    /// Returns a payload of these pieces, in order.
    pub fn from_pieces(pieces: impl IntoIterator<Item = Bytes>, digest: Digest) -> Self {
        let mut pieces = pieces.into_iter();
        let first = pieces.next().unwrap_or_default();
        let rest: Box<[Bytes]> = pieces.collect();
        let len_bytes = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
        Self {
            first,
            rest,
            signature: None,
            len_bytes,
            digest,
        }
    }

    /// Returns the piece number `at`, from 0, or `None` after the last one.
    pub fn piece(&self, at: usize) -> Option<&Bytes> {
        match at.checked_sub(1) {
            None => Some(&self.first),
            Some(at) if at == self.rest.len() => self.signature.as_ref().map(|tail| tail.piece()),
            Some(at) => self.rest.get(at),
        }
    }

    /// Returns a copy of all bytes in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let pieces: Vec<&[u8]> = (0..)
            .map_while(|at| self.piece(at))
            .map(Bytes::as_ref)
            .collect();
        pieces.concat().into()
    }
}
