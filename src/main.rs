//! The `logmachine` program: runs the command line and chooses the exit code.

fn main() -> std::process::ExitCode {
    logmachine::cli::main()
}
