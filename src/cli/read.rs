//! `logmachine read`: entries of a running node's log, once.

use clap::Args;

use super::Failure;
use super::output::Output;
use super::selection::{Order, Selection};

#[derive(Args)]
pub(super) struct Read {
    #[command(flatten)]
    selection: Selection,
    /// Newest first
    #[arg(short, long)]
    reverse: bool,
}

impl Read {
    pub(super) fn run(self) -> Result<(), Failure> {
        let search = self.selection.begin()?;
        let mut output = Output::new(self.selection.output);
        let order = if self.reverse { Order::NewestFirst } else { Order::OldestFirst };
        let printed = search.print(self.selection.lines, order, &mut output);
        // What came before a failure is whole.
        output.flush()?;
        printed?;
        output.finish(self.selection.show_cursor.then(|| search.reached()))
    }
}
