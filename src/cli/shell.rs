//! `logmachine completions` and `logmachine man`: what shells and readers of manuals need, from the definitions of the verbs.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Command, Failure};

#[derive(Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(Args)]
pub(super) struct Manual {
    /// Of this verb alone
    verb: Option<String>,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Command::command(), "logmachine", &mut script);
        write(&script)
    }
}

impl Manual {
    /// The page of the program has those of its verbs behind it; `man -l -` shows them one after the other.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut command = Command::command().disable_help_subcommand(true);
        command.build();
        let mut pages = Vec::new();
        match &self.verb {
            None => {
                page(&command, &mut pages)?;
                command.get_subcommands().try_for_each(|verb| page(verb, &mut pages))?;
            }
            Some(name) => match command.find_subcommand(name) {
                Some(verb) => page(verb, &mut pages)?,
                None => return Err(Failure::usage(format!("{name}: no such verb"))),
            },
        }
        write(&pages)
    }
}

/// The page of a command, and those of what is below it.
fn page(command: &clap::Command, pages: &mut Vec<u8>) -> Result<(), Failure> {
    let name = command.get_bin_name().unwrap_or(command.get_name()).replace(' ', "-");
    let man = Man::new(command.clone()).title(name);
    man.render(pages).map_err(Failure::failed)?;
    if command.get_name() == "logmachine" {
        return Ok(());
    }
    command.get_subcommands().try_for_each(|below| page(below, pages))
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(Failure::failed)
}
