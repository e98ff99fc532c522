//! A robot in one process: a 100 Hz control loop, and beside it the bundled language model that
//! turns what people say into the robot's functions.
//!
//! ```sh
//! cargo run --release --example robot_loop -- [--control-cores LIST] [--engine-cores LIST] [COMMAND...]
//! ```
//!
//! Cores are numbers as in `taskset`, several separated by commas. The robot is simulated; it
//! carries out the commands one after the other and its position is printed. How late the control
//! loop woke is printed for its time with the engine at rest and with the engine computing. On a
//! robot the loop's core would also be kept free of other work (`isolcpus`) and the loop would run
//! under a real-time scheduling class.

#![allow(clippy::print_stdout, reason = "an example prints its results")]

mod control;
mod robot;

use std::{error::Error, time::Duration};

use control::Control;
use eitri::{Engine, GenerationOptions, Message, Prompt, ToolCall, robot_tools};
use robot::{Action, Robot};
use serde_json::Value;

const COMMANDS: [&str; 8] = [
    "Please drive forward two metres and then turn left by ninety degrees.",
    "Now half a metre to the right.",
    "Set your speed to 0.8 m/s.",
    "Could you go to the workbench and pick up the red cup?",
    "Put it on the shelf.",
    "How much battery is left?",
    "Back to the dock, please.",
    "Make me a coffee.",
];
/// How long the control loop is watched with the engine at rest, and with the engine computing.
const WATCH: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse()?;
    let builder = Engine::builder().max_num_seqs(1).max_step(Duration::from_millis(50));
    let engine = match arguments.engine_cores {
        Some(cores) => builder.cores(cores),
        None => builder.threads(1),
    };
    let engine = engine.build()?;
    let control = Control::start(Robot::new(), arguments.control_cores)?;
    let mut conversation = Vec::new();
    for command in &arguments.commands {
        println!("> {command}");
        obey(&engine, &control, &mut conversation, command)?;
    }

    control.mark("engine at rest");
    std::thread::sleep(WATCH);
    control.mark("engine computing");
    let tokens = compute(&engine, WATCH)?;
    for (phase, lateness) in control.stop()? {
        println!("{phase:<17} {lateness}");
    }
    println!("{:.0} tokens/s beside the loop", f64::from(tokens) / WATCH.as_secs_f64());
    Ok(())
}

/// One command: the model calls functions, the robot carries them out, the model says what came of
/// it.
fn obey(
    engine: &Engine,
    control: &Control,
    conversation: &mut Vec<Message>,
    command: &str,
) -> Result<(), Box<dyn Error>> {
    // The system message holds the state of this moment.
    let system = Message::system(control.robot().describe());
    conversation.push(Message::user(command));
    let answer = ask(engine, &system, conversation)?;
    if answer.tool_calls.is_empty() {
        println!("  {}", answer.content);
        conversation.push(Message::assistant(answer.content));
        return Ok(());
    }
    let mut results = Vec::new();
    for call in &answer.tool_calls {
        println!("  {call}");
        let result = carry_out(control, call);
        println!("    {}", control.robot().position());
        results.push(Message::tool(result));
    }
    conversation.push(Message::assistant_calls(answer.content, answer.tool_calls));
    conversation.extend(results);
    let answer = ask(engine, &system, conversation)?;
    println!("  {}", answer.content);
    conversation.push(Message::assistant(answer.content));
    Ok(())
}

fn ask(
    engine: &Engine,
    system: &Message,
    conversation: &[Message],
) -> Result<eitri::Answer, eitri::Error> {
    /// Messages that the model sees: the command and the one before it. It was trained on dialogues as
    /// short as that.
    const RECENT: usize = 6;
    let mut recent = &conversation[conversation.len().saturating_sub(RECENT)..];
    while recent.first().is_some_and(|message| message.role != eitri::Role::User) {
        recent = &recent[1..];
    }
    let messages = std::iter::once(system).chain(recent).cloned();
    let mut options = GenerationOptions { max_tokens: Some(300), ..GenerationOptions::greedy() };
    options.chat_template_kwargs.insert("enable_thinking".to_owned(), Value::Bool(false));
    engine.generate_blocking(Prompt::chat_with_tools(messages, robot_tools()), options)?.answer()
}

/// What the robot did, as the model is told.
fn carry_out(control: &Control, call: &ToolCall) -> String {
    let done = Action::of_call(call, &control.robot()).and_then(|action| control.carry_out(action));
    match done {
        Ok(result) => result,
        Err(reason) => format!("error: {reason}"),
    }
}

/// Has the engine answer for `time` and returns the number of tokens.
fn compute(engine: &Engine, time: Duration) -> Result<u32, eitri::Error> {
    let start = std::time::Instant::now();
    let mut tokens = 0;
    while start.elapsed() < time {
        let prompt = Prompt::text("The robot looked around the room and");
        let options = GenerationOptions { ignore_eos: true, ..GenerationOptions::default() };
        for piece in engine.generate_blocking(prompt, options)? {
            tokens += piece?.tokens.len() as u32;
            if start.elapsed() >= time {
                break;
            }
        }
    }
    Ok(tokens)
}

struct Arguments {
    control_cores: Vec<usize>,
    engine_cores: Option<Vec<usize>>,
    commands: Vec<String>,
}

impl Arguments {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut parsed =
            Self { control_cores: Vec::new(), engine_cores: None, commands: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        let cores = |list: Option<String>| -> Result<Vec<usize>, Box<dyn Error>> {
            let list = list.ok_or("a list of cores is missing")?;
            Ok(list.split(',').map(str::parse).collect::<Result<_, _>>()?)
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--control-cores" => parsed.control_cores = cores(arguments.next())?,
                "--engine-cores" => parsed.engine_cores = Some(cores(arguments.next())?),
                _ => parsed.commands.push(argument),
            }
        }
        if parsed.commands.is_empty() {
            parsed.commands = COMMANDS.iter().map(ToString::to_string).collect();
        }
        Ok(parsed)
    }
}
