//! `eitri chat`.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    sync::mpsc as blocking,
    thread,
};

use anyhow::Result;
use eitri::{Engine, Generation, GenerationOptions, Message, Prompt};
use tokio::{signal, sync::mpsc};

use crate::{cli::ChatArgs, console::LoadMeter};

const HELP: &str = "\
/system TEXT  set the instructions and start anew (without TEXT: none)
/reset        start anew
/help         this text
/exit         leave, as Ctrl-D does
Ctrl-C stops an answer; pressed twice at the prompt it leaves.";

pub(crate) fn run(arguments: &ChatArgs) -> Result<()> {
    let builder = arguments.engine.for_one_user(arguments.engine.builder()?);
    let planned = builder.plan()?;
    let meter = LoadMeter::new();
    let is_interactive = arguments.prompt.is_none();
    let progress = |progress| {
        if is_interactive {
            meter.show(progress);
        }
    };
    let loaded = planned.load(Some(&progress));
    if is_interactive {
        meter.clear();
    }
    let engine = loaded?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut chat = Chat::new(&engine, arguments);
    match &arguments.prompt {
        Some(prompt) => runtime.block_on(chat.answer_once(prompt)),
        None => runtime.block_on(chat.converse()),
    }
}

/// A conversation with its settings.
struct Chat<'a> {
    engine: &'a Engine,
    options: GenerationOptions,
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
    fn new(engine: &'a Engine, arguments: &ChatArgs) -> Self {
        // A model that recommends nothing answers best without chance.
        let recommended = engine.sampling_defaults().temperature;
        let options = GenerationOptions {
            max_tokens: arguments.max_tokens,
            temperature: arguments.temperature.or(recommended).or(Some(0.0)),
            ..GenerationOptions::default()
        };
        Self { engine, options, system: arguments.system.clone(), turns: Vec::new() }
    }

    fn prompt(&self) -> Prompt {
        let system = self.system.iter().map(Message::system);
        Prompt::chat(system.chain(self.turns.iter().cloned()))
    }

    fn generate(&self) -> Result<Generation, eitri::Error> {
        self.engine.generate(self.prompt(), self.options.clone())
    }

    async fn answer_once(&mut self, prompt: &str) -> Result<()> {
        self.turns.push(Message::user(prompt));
        let mut answer = self.generate()?;
        let mut output = io::stdout().lock();
        while let Some(piece) = answer.next().await {
            output.write_all(piece?.text.as_bytes())?;
            output.flush()?;
        }
        writeln!(output)?;
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
            Some(text) => self.turns.push(Message::assistant(text)),
            None => drop(self.turns.pop()),
        }
        Ok(())
    }

    /// Prints an answer as it comes, up to its end or Ctrl-C; `None` when it failed.
    async fn print(&self, mut generation: Generation) -> Result<Option<String>> {
        let mut text = String::new();
        let mut output = io::stdout();
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
                Some(Ok(piece)) => {
                    output.write_all(piece.text.as_bytes())?;
                    output.flush()?;
                    text.push_str(&piece.text);
                }
                Some(Err(error)) => {
                    eprintln!("\nerror: {error}");
                    return Ok(None);
                }
            }
        }
        println!();
        Ok(Some(text))
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
