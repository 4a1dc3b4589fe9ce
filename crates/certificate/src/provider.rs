//! The cryptography that all TLS connections of cfgsync use.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};

/// Returns the cryptography provider for TLS. It is created by the first call.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(ring::default_provider()));
    Arc::clone(&PROVIDER)
}
