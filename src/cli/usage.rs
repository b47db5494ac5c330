//! What is said of a command line that cannot be run: one line, with what to do instead; and the environment that
//! every verb that talks to nodes reads.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Error};

use super::{Failure, complain};

/// Prints help and version where they were asked for, and what is wrong where something is.
pub(super) fn explain(error: &Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Whoever reads it may stop reading.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    complain(&*Box::<dyn std::error::Error>::from(one_line(error)));
    ExitCode::from(2)
}

/// The parser's many lines without the usage; where to find that instead.
fn one_line(error: &Error) -> String {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let command = super::Command::command();
    let verb = command.find_subcommand(&verb).map(|found| format!(" {verb}{}", sub_verbs(found)));
    let verb = verb.unwrap_or_default();
    let mut line = String::new();
    if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        if verb.is_empty() {
            let verbs: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
            let (last, others) = verbs.split_last().expect("there are verbs");
            write!(line, "no verb: {} or {last}", others.join(", ")).expect("a String takes it");
        } else {
            line.push_str("not all that is needed was given");
        }
    } else {
        let text = error.render().to_string();
        let ends =
            |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
        for part in text.lines().take_while(ends).map(str::trim).filter(|part| !part.is_empty()) {
            let part = part.strip_prefix("error: ").unwrap_or(part);
            let joint = match line.chars().last() {
                None => "",
                Some(':') => " ",
                Some(_) if part.starts_with('[') || part.starts_with('<') => " ",
                Some(_) => "; ",
            };
            line.push_str(joint);
            line.push_str(part);
        }
    }
    write!(line, "; see logmachine{verb} --help").expect("a String takes it");
    line
}

/// ` VERB` of a verb that has verbs of its own, if the second argument names one.
fn sub_verbs(command: &clap::Command) -> String {
    let verb = std::env::args().nth(2).unwrap_or_default();
    command.find_subcommand(&verb).map_or_else(String::new, |_| format!(" {verb}"))
}

/// Checks `ERL_EPMD_PORT` and `ERL_EPMD_ADDRESS`, which the port mapper and who asks it read: what is no port would
/// silently be the default one, that of other nodes.
pub(super) fn check_epmd_environment() -> Result<(), Failure> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(port) = set("ERL_EPMD_PORT")
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return Err(Failure::usage(format!("ERL_EPMD_PORT={port:?} is no port: 1 to 65535")));
    }
    if let Some(addresses) = set("ERL_EPMD_ADDRESS")
        && !addresses.split(',').all(|address| address.trim().parse::<IpAddr>().is_ok())
    {
        return Err(Failure::usage(format!(
            "ERL_EPMD_ADDRESS={addresses:?}: write IP addresses, separated by commas"
        )));
    }
    Ok(())
}
