//! The list of the server's tokens.

use super::{CallError, Client, Response};
use cfgsync_wire::TokenEntry;

impl Client {
    /// Returns the tokens of the server and when each was last used, sorted by name.
    pub async fn tokens(&self) -> Result<Response<Vec<TokenEntry>>, CallError> {
        self.get("/v1/tokens").await
    }
}
