//! The same logs as typed messages: `logmachine.proto`, which is its manual.
//!
//! It is on the listener of HTTP, and passes the same checks. What it reads it reads with the one reader that all others use, what it
//! appends goes the way of every other event.
//!
//! `generated.rs` and `descriptor.bin` are made of the proto file by a test below, so that building needs no compiler for it.

mod append;
mod entry;
mod follow;
#[allow(
    clippy::all,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    reason = "it is generated"
)]
#[rustfmt::skip]
mod generated;
mod health;
mod info;
mod metered;
mod selection;
mod status;

use std::pin::Pin;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::{Router, extract, response};
use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceExt;

use super::access::Caller;
use super::error::Refusal;
use super::state::Shared;
use generated::log_server::{Log, LogServer};
use generated::{
    AppendRequest, AppendResponse, Batch, InfoRequest, InfoResponse, ReadRequest, SubscribeRequest,
    SubscribeResponse,
};
use metered::Held;

pub(super) use metered::meter;
pub(super) use status::refuse;

/// The service, as clients address it.
pub(super) const SERVICE: &str = "logmachine.v1.Log";

/// The largest message: an event of the largest size, and what is around it.
const MAX_MESSAGE_BYTES: usize = (16 << 20) + (64 << 10);

/// The largest question to the services that gRPC has for all: a name.
const MAX_QUESTION_BYTES: usize = 4 << 10;

/// What `logmachine.proto` says, for clients that ask.
const DESCRIPTOR: &[u8] = include_bytes!("descriptor.bin");

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All services.
pub(super) fn router(state: &Shared) -> Router<Shared> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let log = LogServer::new(Service(state.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX);
    let log = ServiceExt::<extract::Request>::map_response(log, status::unread_answer);
    Router::new()
        .route_service("/logmachine.v1.Log/{method}", log)
        .route_service("/grpc.health.v1.Health/{method}", health::service(state))
        .route_service(
            "/grpc.reflection.v1.ServerReflection/{method}",
            reflection()
                .build_v1()
                .expect("the descriptor is sound")
                .max_decoding_message_size(MAX_QUESTION_BYTES),
        )
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/{method}",
            reflection()
                .build_v1alpha()
                .expect("the descriptor is sound")
                .max_decoding_message_size(MAX_QUESTION_BYTES),
        )
        .layer(middleware::from_fn(only_calls))
}

/// Whether a request is one of gRPC's.
pub(super) fn is_ours(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Lets pass what is a call: nothing else was prepared for the services.
async fn only_calls(request: extract::Request, next: Next) -> response::Response {
    let refusal = if request.method() != Method::POST {
        let message = "this address takes calls of gRPC, which are sent with POST";
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    } else if !is_ours(request.headers()) {
        let message = "this address takes application/grpc";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Refusal::new(status, "unsupported_media_type", message).at("Content-Type")
    } else {
        return next.run(request).await;
    };
    refusal.into_response()
}

struct Service(Shared);

fn caller<T>(request: &Request<T>) -> Caller {
    request.extensions().get::<Caller>().expect("`pass` lets nobody else in").clone()
}

fn held<T>(request: &Request<T>) -> Held {
    request.extensions().get::<Held>().expect("`pass` meters all").clone()
}

/// How long a stream that has had its last answer is read on.
const HEAR_OUT: Duration = Duration::from_secs(1);

/// Reads on, for a moment or until the client closes its side, what nobody wants any more.
///
/// What is not read to its end is reset behind the answer. Some clients then drop all that they have not looked at yet.
async fn hear_out<T>(state: &Shared, held: &Held, mut requests: Streaming<T>) {
    let read_on = async {
        while let Ok(Some(_)) = requests.message().await {
            held.release();
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(HEAR_OUT, read_on) => {}
        () = state.stopped() => {}
    }
}

#[tonic::async_trait]
impl Log for Service {
    type AppendStreamStream = Answers<AppendResponse>;
    type ReadStream = Answers<Batch>;
    type SubscribeStream = Answers<SubscribeResponse>;

    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendResponse>, Status> {
        let caller = caller(&request);
        Ok(Response::new(append::one(&self.0, &caller, request.into_inner()).await?))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (caller, held) = (caller(&request), held(&request));
        Ok(Response::new(append::many(self.0.clone(), caller, held, request.into_inner())))
    }

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let caller = caller(&request);
        Ok(Response::new(follow::read(&self.0, &caller, request.into_inner()).await?))
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let held = held(&request);
        Ok(Response::new(follow::subscribe(&self.0, held, request.into_inner()).await?))
    }

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(info::info(&self.0, &request.into_inner())?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// With `LOGMACHINE_WRITE_DOCS` set they are written.
    #[test]
    fn what_is_generated_is_of_the_proto_file() {
        let api = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/api");
        let descriptors =
            protox::compile(["logmachine.proto"], [&api]).expect("the proto file is sound");
        let bytes = prost::Message::encode_to_vec(&descriptors);
        let made = tempfile::tempdir().expect("a directory");
        tonic_prost_build::configure()
            .build_client(false)
            .bytes(".logmachine.v1.Term.etf")
            .out_dir(made.path())
            .compile_fds(descriptors)
            .expect("code can be made of it");
        let code = std::fs::read(made.path().join("logmachine.v1.rs")).expect("it is there");
        let check = |path: &Path, content: &[u8]| {
            if std::env::var_os("LOGMACHINE_WRITE_DOCS").is_some() {
                std::fs::write(path, content).expect("it can be written");
            }
            let found = std::fs::read(path).expect("it is there");
            let name = path.display();
            assert!(
                found == content,
                "{name} is not up to date: run this with LOGMACHINE_WRITE_DOCS=1"
            );
        };
        check(&api.join("grpc/descriptor.bin"), &bytes);
        check(&api.join("grpc/generated.rs"), &code);
    }
}
