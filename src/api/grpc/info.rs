//! What instances say of themselves.

use serde_json::{Map, Value};
use tonic::Status;

use super::generated::{InfoRequest, InfoResponse, Instance};
use crate::api::about;
use crate::api::state::Shared;
use crate::instance::Recording;
use crate::instance::info::InstanceInfo;
use crate::time::Timestamp;

/// All of them, or the one that is named.
pub(super) fn info(state: &Shared, request: &InfoRequest) -> Result<InfoResponse, Status> {
    let instances = match request.instance.as_str() {
        "" => state.instances.values().map(|instance| said(instance.info())).collect(),
        name => vec![said(state.instance(name)?.info())],
    };
    Ok(InfoResponse {
        node: state.node.name().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instances,
    })
}

fn said(info: InstanceInfo) -> Instance {
    let (first, last) = info.interval.unzip();
    let (recording, reason) = match &info.recording {
        Recording::Running => ("running", String::new()),
        Recording::Waiting(why) => ("waiting", why.to_string()),
        Recording::Failed(why) => ("failed", why.to_string()),
    };
    let mut numbers: Map<String, Value> = about::numbers(&info.stats);
    numbers.extend(about::numbers(&info.log));
    // What took time is in the metrics.
    let number = |(name, value): (String, Value)| Some((name, value.as_u64()?));
    Instance {
        first_micros: first.map(Timestamp::micros),
        last_micros: last.map(Timestamp::micros),
        recording: recording.to_owned(),
        reason,
        numbers: numbers.into_iter().filter_map(number).collect(),
        name: info.name,
    }
}
