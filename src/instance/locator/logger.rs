//! Our handler in `logger`, for what event managers never see.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::guest::{Beam, Guest, WriteTerm, brief, error_tag, list};
use super::plan::{Plan, Tried};
use super::target::Mode;
use crate::etf::encode;
use crate::node::{Node, Peer};

static LOGGER_HANDLER: Beam = Beam {
    module: "logmachine_logger_handler",
    r23: include_bytes!("../../../erlang/priv/handlers/r23/logmachine_logger_handler.beam"),
    r25: include_bytes!("../../../erlang/priv/handlers/r25/logmachine_logger_handler.beam"),
};

/// How often it is looked whether `logger` still has what was put into it: it does not tell.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Guest {
    /// Installs the `logger` handler; ends when it is gone, or cannot be installed now.
    pub(super) async fn keep_logger(&self, plan: &mut Plan) -> Tried {
        if let Err(failure) = self.install_in_logger().await {
            return failure;
        }
        self.installed(plan);
        let mut ticks = interval(LOOK_AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.logger_has(&self.logger_id()).await == Some(false) {
                return Tried::Removed("removed from logger".to_owned());
            }
        }
    }

    /// The `logger` handler's id, always the same for this instance of this node.
    pub(super) fn logger_id(&self) -> String {
        logger_id(&self.instance, &self.node)
    }

    async fn install_in_logger(&self) -> Result<(), Tried> {
        self.check_started().await?;
        self.upload(&LOGGER_HANDLER).await?;
        if self.update_in_logger().await? {
            return Ok(());
        }
        self.locked(async {
            if self.update_in_logger().await? {
                return Ok(());
            }
            let id = self.logger_id();
            let config: WriteTerm<'_> = &|out| {
                encode::map_header(out, 4);
                self.write_selection(out);
                encode::atom(out, "filter_default");
                encode::atom(out, "log");
                encode::atom(out, "config");
                self.write_logger_options(out);
            };
            let module: WriteTerm<'_> = &|out| encode::atom(out, LOGGER_HANDLER.module);
            let add = |out: &mut Vec<u8>| {
                list(out, &[&|out| encode::atom(out, &id), module, config]);
            };
            let answer = self.rpc("logger", "add_handler", add).await?;
            let answer = answer.as_term();
            if answer.is_atom("ok") {
                return Ok(());
            }
            Err(Tried::NotReady(format!("adding the handler: {}", brief(answer))))
        })
        .await
    }

    /// Turns a handler from an earlier life to us, which misses no event; false if there is none.
    async fn update_in_logger(&self) -> Result<bool, Tried> {
        let id = self.logger_id();
        let update = |out: &mut Vec<u8>| {
            let config: WriteTerm<'_> = &|out| {
                encode::map_header(out, 3);
                self.write_selection(out);
                encode::atom(out, "config");
                self.write_logger_options(out);
            };
            list(out, &[&|out| encode::atom(out, &id), config]);
        };
        let answer = self.rpc("logger", "update_handler_config", update).await?;
        let answer = answer.as_term();
        if answer.is_atom("ok") {
            return self.check_listed(&id).await.map(|()| true);
        }
        if error_tag(answer).as_deref() == Some("not_found") {
            return Ok(false);
        }
        Err(Tried::NotReady(format!("updating the handler: {}", brief(answer))))
    }

    /// Two pairs: from which level on, and through which filters.
    fn write_selection(&self, out: &mut Vec<u8>) {
        encode::atom(out, "level");
        encode::atom(out, self.capture.logger_level.name());
        encode::atom(out, "filters");
        self.capture.logger_filters.write(out);
    }

    fn write_logger_options(&self, out: &mut Vec<u8>) {
        let forward = self.capture.mode == Mode::Logger;
        encode::map_header(out, 2);
        encode::atom(out, "receiver");
        self.write_receiver(out);
        encode::atom(out, "error_logger");
        encode::atom(out, if forward { "forward" } else { "skip" });
    }

    /// `logger` can know a handler's configuration and yet not call it, when its list was changed by others at
    /// the same time. Such a handler is removed, to be added anew.
    pub(super) async fn check_listed(&self, id: &str) -> Result<(), Tried> {
        if self.logger_has(id).await != Some(false) {
            return Ok(());
        }
        remove_from_logger(&self.node, &self.peer, id).await;
        Err(Tried::NotReady(format!("logger did not call its handler {id}")))
    }

    /// Whether `logger` has a handler of this id; `None` if it does not say.
    pub(super) async fn logger_has(&self, id: &str) -> Option<bool> {
        let answer = self.rpc("logger", "get_handler_ids", encode::nil).await.ok()?;
        Some(answer.as_term().as_list()?.any(|found| found.is_atom(id)))
    }
}

/// `'logmachine.INSTANCE.NODE'`.
pub(super) fn logger_id(instance: &str, node: &Node) -> String {
    // An atom has no more characters.
    format!("logmachine.{instance}.{}", node.name()).chars().take(255).collect()
}

/// Takes a `logger` handler away; it is gone also if the node does not answer any more, only later.
pub(super) async fn remove_from_logger(node: &Node, peer: &Arc<Peer>, id: &str) {
    let removed = node.rpc(peer, "logger", "remove_handler", |out| {
        list(out, &[&|out| encode::atom(out, id)]);
    });
    if let Err(error) = removed.await {
        debug!(node = %peer.name(), "logger:remove_handler: {error}");
    }
}
