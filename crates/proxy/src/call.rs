//! A call from its arrival to its head: who asks, what is sent, and the task that owns the rest.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, header};
use jiff::Timestamp;
use ledger::{Asker, CallId, NewCall};
use metering::{ExternalUser, UserId};
use open_webui::Identity;
use tokio::sync::oneshot;
use uuid::NoContext;

use crate::body::RequestBody;
use crate::edit::{self, Edited};
use crate::passage::Head;
use crate::refusal::Refusal;
use crate::relay::Relay;
use crate::route::{BodyKind, Endpoint};
use crate::{Road, body, caller, form};

/// Takes the call in and answers with the upstream's head; the body follows as it comes.
pub(crate) async fn answer(
    road: Arc<Road>,
    endpoint: Endpoint,
    headers: HeaderMap,
    body: &mut Body,
) -> Result<Response, Refusal> {
    let key = caller::key_for(&road, &headers).await?;
    let in_flight = road.in_flight.clone().try_acquire_owned().map_err(|_| Refusal::Busy)?;
    let RequestBody { bytes, memory } = body::read(&headers, body, road.memory.for_request()).await?;
    let now = road.options.clock.now();
    let asker = asker(&road, &headers, now);
    let edited = set_user(endpoint, &headers, &bytes, asker.external_user.as_str())?;
    drop(bytes);
    let organisation = road.options.ledger.organisation();
    let call = NewCall {
        id: call_id(now),
        org_id: organisation.id.clone(),
        markup: organisation.markup,
        asker,
        endpoint: endpoint.upstream,
        model: edited.model,
        admitted_at: now,
    };
    let (to_client, head) = oneshot::channel();
    let relay = Relay {
        road: road.clone(),
        call,
        headers: crate::headers::to_upstream(&headers),
        body: edited.body,
        body_memory: memory,
        key,
        to_client,
        in_flight,
    };
    // The head as it came lies in the buffer that it was read into. The connection, which watches for a client that leaves, has
    // taken another one: this one goes before the answer is waited for.
    drop(headers);
    // From here on the call goes its way whether the client waits or not.
    road.options.tasks.spawn(relay.run());
    match head.await {
        Ok(Ok(head)) => Ok(respond(head)),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::Stopped),
    }
}

fn respond(head: Head) -> Response {
    let mut response = Response::new(Body::new(head.body));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// UUID v7 of the instant of admission, so that calls sort by time.
fn call_id(now: Timestamp) -> CallId {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    CallId::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

/// Who asks. Where nobody is named, or not believed, the call is booked to the user for nobody, visibly.
fn asker(road: &Road, headers: &HeaderMap, now: Timestamp) -> Asker {
    let identity = road.options.identity.identify(headers, now).unwrap_or_else(|error| {
        tracing::warn!(%error, "a call is booked to nobody");
        None
    });
    let nobody = || Identity { user_id: UserId::unattributed(), name: None, email: None, role: None };
    let Identity { user_id, name, email, role } = identity.unwrap_or_else(nobody);
    let external_user = ExternalUser::of(&road.options.ledger.organisation().id, &user_id);
    Asker { user_id, external_user, name, email, role }
}

fn set_user(
    endpoint: Endpoint,
    headers: &HeaderMap,
    received: &bytes::Bytes,
    user: &str,
) -> Result<Edited, Refusal> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data");
    if endpoint.body != BodyKind::JsonOrForm || !is_form {
        return edit::set_user_in_json(received, user);
    }
    if headers.get_all(header::CONTENT_TYPE).iter().count() > 1 {
        return Err(Refusal::NotForm("it has two content types"));
    }
    form::set_user_in_form(received, form::boundary_of_form(content_type)?, user)
}
