//! gRPC's own question whether a service does its work: it does while `/readyz` says so.

use std::time::Duration;

use futures_util::stream::unfold;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::status::stopping;
use super::{Answers, MAX_QUESTION_BYTES, SERVICE};
use crate::api::health;
use crate::api::state::Shared;

/// How often is looked for who watches.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn service(state: &Shared) -> HealthServer<impl Health + use<>> {
    HealthServer::new(Ready(state.clone())).max_decoding_message_size(MAX_QUESTION_BYTES)
}

struct Ready(Shared);

fn response(state: &Shared, service: &str) -> HealthCheckResponse {
    let status = match service {
        "" | SERVICE if health::not_ready(state).is_empty() => ServingStatus::Serving,
        "" | SERVICE => ServingStatus::NotServing,
        _ => ServingStatus::ServiceUnknown,
    };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Ready {
    type WatchStream = Answers<HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let found = response(&self.0, &request.into_inner().service);
        match found.status() {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service")),
            _ => Ok(Response::new(found)),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let begin = (self.0.clone(), None);
        let changes = unfold(begin, move |(state, last): (Shared, Option<HealthCheckResponse>)| {
            let service = service.clone();
            async move {
                loop {
                    let found = response(&state, &service);
                    if last.as_ref() != Some(&found) {
                        return Some((Ok(found), (state, Some(found))));
                    }
                    tokio::select! {
                        () = tokio::time::sleep(LOOK) => {}
                        () = state.stopped() => return Some((Err(stopping()), (state, last))),
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
