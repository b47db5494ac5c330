//! Runs the node inside another program: a log without a cluster, and one for the cluster if there is any.
//!
//! ```sh
//! cargo run --example embed -- /tmp/embedded
//! ```
//!
//! Appends three events from Rust, waits until they are on disk, and reads them back through a cursor.

use std::error::Error;
use std::path::Path;

use logmachine::{App, EpmdMode, InstanceConfig, Selection, Settings, TermBuf};

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: embed DIR")?;
    let mut settings = Settings::new("embedded@127.0.0.1", "only_for_this_example")
        .ok_or("a node's name is name@host")?;
    // Nobody has to find this node. `Auto` registers it, and it is a node like any other.
    settings.epmd = EpmdMode::None;
    settings.instances.push(InstanceConfig::new("orders", &Path::new(&dir).join("orders")));
    let app = App::start(settings).await?;
    let orders = app.instances().get("orders").ok_or("it was configured")?.clone();

    // Events are Erlang terms; here they are written as text.
    let events = ["{ordered, 1, <<\"tea\">>}", "{ordered, 2, <<\"cake\">>}", "{paid, 1}"];
    let events = events.map(str::parse).into_iter().collect::<Result<Vec<TermBuf>, _>>()?;
    let stamped = orders.append(&events).await?;
    println!("recorded from {} to {}", stamped.first, stamped.last);

    for entry in orders.read(Selection::starting(stamped.first)).await?.entries {
        println!("{} {}", entry.timestamp, entry.event);
    }
    app.stop().await?;
    Ok(())
}
