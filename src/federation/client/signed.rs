//! Signed requests, and their repetition where the other side started after they were signed.

use super::{Client, ClientError, text};
use crate::{
    federation::exchange::Signer,
    identity::message::{self, Message, WINDOW},
    types::Timestamp,
};
use reqwest::{RequestBuilder, Response, StatusCode};

/// The problem of a request that was signed before the service started, also by a clock that is behind.
const SIGNED_BEFORE_START: &str = "signed_before_start";

/// In an answer with that problem: the first date of a signature that is taken, epoch seconds.
pub const SIGN_FROM_HEADER: &str = "ark-sign-from";

impl Client {
    /// Sends what `request` makes, signed. One that the other side takes for signed before its start is signed once more, with the
    /// first date that the other side takes, as far as that is not further ahead than any request may be dated.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(in crate::federation) async fn ask_signed(
        &self,
        signer: &Signer<'_>,
        message: &Message<'_>,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, ClientError> {
        let send = async |created: Timestamp| {
            let headers =
                message::sign(message, signer.key, created).map_err(|error| self.wrong(&error.to_string()))?;
            let signed = headers.into_iter().fold(request(), |request, (name, value)| request.header(name, value));
            self.begin(signed).await
        };
        let response = send(signer.now).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.success(response).await;
        }
        let earliest = text(response.headers(), SIGN_FROM_HEADER).and_then(|text| text.parse().ok());
        let refusal = self.problem(response).await;
        let is_early = matches!(&refusal, ClientError::Refused { code, .. } if code == SIGNED_BEFORE_START);
        let created = earliest.filter(|_| is_early).map(Timestamp::from_seconds);
        match created.filter(|created| created.since(signer.now) <= WINDOW) {
            Some(created) => self.success(send(created).await?).await,
            None => Err(refusal),
        }
    }
}
