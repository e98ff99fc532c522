//! The `eitri` command: serves a model, chats with it, says what it would take, writes it in another
//! format, or measures.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints its results")]

mod cli;
mod commands;
mod console;

use std::{process::ExitCode, time::Instant};

use cli::Command;

/// The system's allocator returns memory late and contends when many requests end at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let start = Instant::now();
    let parsed = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Nobody reads it if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    console::start_logging(parsed.cli.log_level, parsed.cli.command.usual_log_level());
    for note in &parsed.notes {
        eprintln!("note: {note}");
    }
    let result = match &parsed.cli.command {
        Command::Serve(arguments) => commands::serve::run(arguments, start),
        Command::Chat(arguments) => commands::chat::run(arguments),
        Command::Inspect(arguments) => commands::inspect::run(arguments),
        Command::Quantize(arguments) => commands::quantize::run(arguments),
        Command::Bench(arguments) => commands::bench::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => console::report(&error),
    }
}
