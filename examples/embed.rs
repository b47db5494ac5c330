//! Runs the node inside another program: a log without a cluster, and one for the cluster if there is any.
//!
//! ```sh
//! cargo run --example embed -- /tmp/embedded
//! ```
//!
//! Appends three events from Rust, waits until they are on disk, and reads them back through a cursor.

use std::error::Error;
use std::path::Path;

use logmachine::app::{App, Settings};
use logmachine::config::{EpmdMode, File};
use logmachine::etf::text;
use logmachine::instance::reader::Selection;
use logmachine::node::NodeConfig;
use logmachine::proto::NodeName;

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: embed DIR")?;
    let app = App::start(Settings {
        name: NodeName::new("embedded@127.0.0.1").ok_or("a node name")?,
        cookie: "only_for_this_example".into(),
        connect: Vec::new(),
        connect_local: false,
        listen: Some(([127, 0, 0, 1], 0).into()),
        // Nobody has to find this node. `Auto` registers it, and it is a node like any other.
        epmd: EpmdMode::None,
        node: NodeConfig::default(),
        instances: File::default().instances(&["orders".into()], Path::new(&dir))?,
    })
    .await?;
    let orders = app.instances().get("orders").ok_or("it was configured")?.clone();

    // Events are Erlang terms; here they are written as text.
    let events = ["{ordered, 1, <<\"tea\">>}", "{ordered, 2, <<\"cake\">>}", "{paid, 1}"];
    let events = events.map(|event| text::parse(event).expect("an Erlang term"));
    let stamped = orders.append(&events).await?;
    println!("recorded from {} to {}", stamped.first, stamped.last);

    for entry in orders.read(Selection::starting(stamped.first)).await?.entries {
        println!("{} {}", entry.timestamp, text::to_text(entry.event.as_term()));
    }
    app.stop().await?;
    Ok(())
}
