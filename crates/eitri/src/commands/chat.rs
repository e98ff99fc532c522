//! `eitri chat`.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    sync::mpsc as blocking,
    thread,
};

use anyhow::{Context, Result};
use eitri::{AnswerDelta, AnswerParser, Engine, Generation, GenerationOptions, Message, Prompt};
use eitri::{Piece, ToolCall};
use serde_json::{Map, Value};
use tokio::{signal, sync::mpsc};

use crate::{cli::ChatArgs, console::Meter};

const HELP: &str = "\
/system TEXT  set the instructions and start anew (without TEXT: none)
/reset        start anew
/help         this text
/exit         leave, as Ctrl-D does
Ctrl-C stops an answer; pressed twice at the prompt it leaves.";

pub(crate) fn run(arguments: &ChatArgs) -> Result<()> {
    arguments.engine.fetch()?;
    let builder = arguments.engine.for_one_user(arguments.engine.builder()?);
    let planned = builder.plan()?;
    let meter = Meter::new();
    let is_interactive = arguments.prompt.is_none();
    let progress = |progress| {
        if is_interactive {
            meter.loading(progress);
        }
    };
    let loaded = planned.load(Some(&progress));
    if is_interactive {
        meter.clear();
    }
    let engine = loaded?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut chat = Chat::new(&engine, arguments)?;
    match &arguments.prompt {
        Some(prompt) => runtime.block_on(chat.answer_once(prompt)),
        None => runtime.block_on(chat.converse()),
    }
}

/// A conversation with its settings.
struct Chat<'a> {
    engine: &'a Engine,
    options: GenerationOptions,
    tools: Vec<Value>,
    system: Option<String>,
    /// Turns without the system message.
    turns: Vec<Message>,
}

/// What a line at the prompt asks for.
#[derive(Debug, PartialEq, Eq)]
enum Input<'a> {
    Nothing,
    Say(&'a str),
    System(Option<&'a str>),
    Reset,
    Help,
    Exit,
    Unknown(&'a str),
}

impl<'a> Input<'a> {
    fn parse(line: &'a str) -> Self {
        let line = line.trim();
        if !line.starts_with('/') {
            return if line.is_empty() { Self::Nothing } else { Self::Say(line) };
        }
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match command {
            "/system" => Self::System((!rest.is_empty()).then_some(rest)),
            "/reset" => Self::Reset,
            "/help" | "/?" => Self::Help,
            "/exit" | "/quit" => Self::Exit,
            _ => Self::Unknown(command),
        }
    }
}

/// How waiting for a line ended.
enum Line {
    Text(String),
    Interrupted,
    Closed,
}

impl<'a> Chat<'a> {
    fn new(engine: &'a Engine, arguments: &ChatArgs) -> Result<Self> {
        // A model that recommends nothing answers best without chance.
        let recommended = engine.sampling_defaults().temperature;
        let mut options = GenerationOptions {
            max_tokens: arguments.max_tokens,
            temperature: arguments.temperature.or(recommended).or(Some(0.0)),
            ..GenerationOptions::default()
        };
        if arguments.no_thinking {
            options.chat_template_kwargs.insert("enable_thinking".to_owned(), Value::Bool(false));
        }
        let tools = arguments.tools()?;
        Ok(Self { engine, options, tools, system: arguments.system.clone(), turns: Vec::new() })
    }

    fn prompt(&self) -> Prompt {
        let system = self.system.iter().map(Message::system);
        Prompt::chat_with_tools(
            system.chain(self.turns.iter().cloned()),
            self.tools.iter().cloned(),
        )
    }

    fn generate(&self) -> Result<Generation, eitri::Error> {
        self.engine.generate(self.prompt(), self.options.clone())
    }

    async fn answer_once(&mut self, prompt: &str) -> Result<()> {
        self.turns.push(Message::user(prompt));
        let mut answer = self.generate()?;
        let mut printer = Printer::new(&answer, false);
        while let Some(piece) = answer.next().await {
            printer.print(&piece?)?;
        }
        printer.end()?;
        Ok(())
    }

    async fn converse(&mut self) -> Result<()> {
        println!("{}: /help lists the commands, Ctrl-D leaves", self.engine.model_info().name);
        let mut lines = Lines::start()?;
        let mut interrupted = false;
        loop {
            let line = match lines.next().await? {
                Line::Text(line) => line,
                Line::Interrupted if !interrupted => {
                    println!("\nCtrl-C again or Ctrl-D leaves");
                    interrupted = true;
                    continue;
                }
                Line::Interrupted | Line::Closed => break,
            };
            interrupted = false;
            match Input::parse(&line) {
                Input::Nothing => {}
                Input::Say(text) => self.say(text).await?,
                Input::System(text) => {
                    self.system = text.map(str::to_owned);
                    self.turns.clear();
                }
                Input::Reset => self.turns.clear(),
                Input::Help => println!("{HELP}"),
                Input::Exit => return Ok(()),
                Input::Unknown(command) => println!("{command} is not known; /help lists what is"),
            }
        }
        println!();
        Ok(())
    }

    /// Adds a turn and its answer. A turn that fails is taken back.
    async fn say(&mut self, text: &str) -> Result<()> {
        self.turns.push(Message::user(text));
        let answer = match self.generate() {
            Ok(generation) => self.print(generation).await?,
            Err(error) => {
                eprintln!("error: {error}; /reset starts anew");
                None
            }
        };
        match answer {
            Some(message) => self.turns.push(message),
            None => drop(self.turns.pop()),
        }
        Ok(())
    }

    /// Prints an answer as it comes, up to its end or Ctrl-C; `None` when it failed.
    async fn print(&self, mut generation: Generation) -> Result<Option<Message>> {
        let mut printer = Printer::new(&generation, io::stdout().is_terminal());
        let interrupt = signal::ctrl_c();
        tokio::pin!(interrupt);
        loop {
            let piece = tokio::select! {
                piece = generation.next() => piece,
                result = &mut interrupt => {
                    result?;
                    None
                }
            };
            match piece {
                None => break,
                Some(Ok(piece)) => printer.print(&piece)?,
                Some(Err(error)) => {
                    printer.end()?;
                    eprintln!("error: {error}");
                    return Ok(None);
                }
            }
        }
        printer.end().map(Some)
    }
}

/// Shows an answer: its text as it comes, each call of a function on a line, and reasoning dimmed
/// where `shows_reasoning`.
struct Printer {
    parser: AnswerParser,
    shows_reasoning: bool,
    /// Style in which the terminal is.
    dimmed: bool,
    /// The cursor is at the start of a line.
    at_start: bool,
    content: String,
    calls: Vec<ToolCall>,
}

impl Printer {
    fn new(generation: &Generation, shows_reasoning: bool) -> Self {
        Self {
            parser: generation.answer_parser(),
            shows_reasoning,
            dimmed: false,
            at_start: true,
            content: String::new(),
            calls: Vec::new(),
        }
    }

    fn print(&mut self, piece: &Piece) -> Result<()> {
        let deltas = self.parser.push(&piece.text);
        self.show(deltas)
    }

    /// Prints what was held back and returns the turn.
    fn end(mut self) -> Result<Message> {
        let deltas = self.parser.finish();
        self.show(deltas)?;
        self.style(false)?;
        self.start_line()?;
        Ok(Message::assistant_calls(self.content, self.calls))
    }

    fn show(&mut self, deltas: Vec<AnswerDelta>) -> Result<()> {
        for delta in deltas {
            match delta {
                AnswerDelta::Reasoning(text) if self.shows_reasoning => {
                    self.style(true)?;
                    self.write(&text)?;
                }
                AnswerDelta::Reasoning(_) => {}
                AnswerDelta::Content(text) => {
                    self.style(false)?;
                    self.write(&text)?;
                    self.content.push_str(&text);
                }
                AnswerDelta::ToolCallStart { name, .. } => {
                    self.calls.push(ToolCall { name, arguments: Map::new() });
                }
                // A call's arguments come whole.
                AnswerDelta::ToolCallArguments { text, .. } => {
                    self.style(false)?;
                    self.start_line()?;
                    if let Some(call) = self.calls.last_mut() {
                        call.arguments = serde_json::from_str(&text)?;
                        let line = format!("{call}\n");
                        self.write(&line)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn style(&mut self, dimmed: bool) -> Result<()> {
        const DIM: &str = "\x1b[2m";
        const NORMAL: &str = "\x1b[0m";
        if dimmed == self.dimmed {
            return Ok(());
        }
        if !dimmed {
            self.start_line()?;
        }
        self.dimmed = dimmed;
        io::stdout().write_all(if dimmed { DIM } else { NORMAL }.as_bytes())?;
        Ok(())
    }

    fn start_line(&mut self) -> Result<()> {
        if self.at_start { Ok(()) } else { self.write("\n") }
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if !text.is_empty() {
            let mut output = io::stdout();
            output.write_all(text.as_bytes())?;
            output.flush()?;
            self.at_start = text.ends_with('\n');
        }
        Ok(())
    }
}

impl ChatArgs {
    /// Functions that the model may call: those of the file, or else those that the bundled models
    /// were trained on.
    fn tools(&self) -> Result<Vec<Value>> {
        let Some(path) = &self.tools else {
            return Ok(if self.engine.is_robot() { eitri::robot_tools() } else { Vec::new() });
        };
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let list = serde_json::from_str(&text);
        list.with_context(|| format!("{} must be a JSON list of tools", path.display()))
    }
}

/// Lines of standard input, read by a thread of their own because a read cannot be cancelled.
struct Lines {
    wanted: blocking::Sender<()>,
    received: mpsc::UnboundedReceiver<io::Result<Option<String>>>,
    /// A read is in progress that Ctrl-C left behind.
    reading: bool,
    is_terminal: bool,
}

impl Lines {
    fn start() -> io::Result<Self> {
        let (wanted, requests) = blocking::channel();
        let (sender, received) = mpsc::unbounded_channel();
        // The thread ends with the process if it is still reading then.
        thread::Builder::new().name("eitri-input".to_owned()).spawn(move || {
            while requests.recv().is_ok() {
                let mut line = String::new();
                let read = io::stdin().lock().read_line(&mut line);
                let line = read.map(|length| (length > 0).then_some(line));
                if sender.send(line).is_err() {
                    break;
                }
            }
        })?;
        let is_terminal = io::stdin().is_terminal();
        Ok(Self { wanted, received, reading: false, is_terminal })
    }

    async fn next(&mut self) -> io::Result<Line> {
        if self.is_terminal {
            print!("> ");
            io::stdout().flush()?;
        }
        if !self.reading {
            self.reading = self.wanted.send(()).is_ok();
        }
        tokio::select! {
            line = self.received.recv() => {
                self.reading = false;
                Ok(line.transpose()?.flatten().map_or(Line::Closed, Line::Text))
            }
            result = signal::ctrl_c() => result.map(|()| Line::Interrupted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_talk_or_commands() {
        for (line, expected) in [
            ("  \n", Input::Nothing),
            (" hello / world \n", Input::Say("hello / world")),
            ("/system  be brief \n", Input::System(Some("be brief"))),
            ("/system\n", Input::System(None)),
            ("/reset", Input::Reset),
            ("/help", Input::Help),
            ("/quit", Input::Exit),
            ("/nope x", Input::Unknown("/nope")),
        ] {
            assert_eq!(Input::parse(line), expected, "{line:?}");
        }
    }
}
