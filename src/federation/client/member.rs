//! Asking as a member of a network with a key.

use super::{Client, ClientError, MAX_PROBLEM_BYTES};
use crate::{federation::membership::Membership, guard::FIRST_ROUTE, manifest::verify_head};
use reqwest::{Method, Request, Response, StatusCode};

impl Client {
    /// What of a request's path the other side sees behind any prefix.
    pub(super) fn path_of(&self, request: &Request) -> String {
        let path = request.url().path();
        format!("/{}", path.strip_prefix(self.base.path()).unwrap_or(path))
    }

    pub(super) async fn as_member(
        &self,
        membership: &Membership,
        mut request: Request,
        path: &str,
    ) -> Result<Response, ClientError> {
        let shown = membership.show(&mut request, path).map_err(|error| self.protocol(&error.to_string()))?;
        let response = self.execute(request).await?;
        let (status, of_us) = (response.status(), membership.is_of_us(&shown, response.headers()));
        // Before it looks at a tag an instance may be overloaded; nobody gains by saying so.
        if of_us || (!status.is_success() && status != StatusCode::NOT_FOUND) {
            return Ok(response);
        }
        membership.set(None);
        Err(ClientError::OtherNetwork(self.base.to_string()))
    }

    /// Asks who it is, which the tags of all other requests name.
    pub(super) async fn get_to_know(&self, membership: &Membership) -> Result<(), ClientError> {
        let request = self.request(Method::GET, FIRST_ROUTE.trim_start_matches('/'), None);
        let request = request.build().map_err(|error| self.unreachable(&error))?;
        let response = self.as_member(membership, request, FIRST_ROUTE).await?;
        if !response.status().is_success() {
            return Err(self.problem(response).await);
        }
        let body = self.whole(response, MAX_PROBLEM_BYTES).await?;
        let head = verify_head(body, &self.limits).map_err(|error| self.protocol(&format!("its head: {error}")))?;
        membership.set(Some(head.get().node_id.to_string()));
        Ok(())
    }
}
