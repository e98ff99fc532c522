//! A 100 Hz control loop with a language model beside it in the same process.
//!
//! ```sh
//! cargo run --release --example robot_loop -- MODEL [CONTROL_CORE [ENGINE_CORES]]
//! ```
//!
//! Cores are numbers as in `taskset`, several separated by commas. The loop runs twice for
//! [`PHASE`]: with the engine at rest and with the engine generating; how late it woke is printed
//! for both. On a robot the loop's core would also be kept free of other work (`isolcpus`) and the
//! loop would run under a real-time scheduling class.

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use eitri::{Engine, GenerationOptions, Prompt, pin_current_thread};

const PERIOD: Duration = Duration::from_millis(10);
const PHASE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "smollm2".to_owned());
    let control_cores = arguments.next().map(|list| cores(&list)).transpose()?;
    let engine_cores = arguments.next().map(|list| cores(&list)).transpose()?;

    let mut builder = Engine::builder()
        .model(model)
        .max_num_seqs(1)
        .max_model_len(2048)
        // Long prompts are computed in pieces of this length.
        .max_step(Duration::from_millis(50));
    builder = match engine_cores {
        Some(cores) => builder.cores(cores),
        None => builder.threads(1),
    };
    let engine = builder.build()?;
    println!("{}", engine.memory_plan());

    let control_cores = control_cores.unwrap_or_default();
    let alone = Jitter::of(spawn_loop(control_cores.clone()).join().map_err(|_| "loop failed")??);
    let control = spawn_loop(control_cores);
    let tokens = generate_until(&engine, || control.is_finished())?;
    let beside = Jitter::of(control.join().map_err(|_| "loop failed")??);

    println!("lateness of {} ticks of {PERIOD:?}:", beside.ticks);
    println!("  engine at rest    {alone}");
    println!("  engine generating {beside}");
    println!("{:.1} tokens/s beside the loop", f64::from(tokens) / PHASE.as_secs_f64());
    Ok(())
}

fn cores(list: &str) -> Result<Vec<usize>, std::num::ParseIntError> {
    list.split(',').map(str::parse).collect()
}

type Lateness = Result<Vec<Duration>, eitri::Error>;

/// Starts the control loop on a thread of its own.
fn spawn_loop(cores: Vec<usize>) -> thread::JoinHandle<Lateness> {
    thread::spawn(move || {
        if !cores.is_empty() {
            pin_current_thread(&cores)?;
        }
        Ok(control_loop())
    })
}

/// Balances a simulated pendulum for [`PHASE`] and returns how late each tick began. Deadlines are
/// absolute, so that a late tick does not shift the following ones.
fn control_loop() -> Vec<Duration> {
    let ticks = (PHASE.as_nanos() / PERIOD.as_nanos()) as u32;
    let mut lateness = Vec::with_capacity(ticks as usize);
    let start = Instant::now();
    let mut pendulum = Pendulum { angle: 0.2, speed: 0.0 };
    for tick in 1..=ticks {
        let deadline = start + PERIOD * tick;
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        lateness.push(Instant::now().saturating_duration_since(deadline));
        pendulum.step(PERIOD.as_secs_f64());
    }
    assert!(pendulum.angle.abs() < 0.01, "the controller lost its balance: {pendulum:?}");
    lateness
}

/// An inverted pendulum of 1 m under a proportional-derivative controller.
#[derive(Debug)]
struct Pendulum {
    angle: f64,
    speed: f64,
}

impl Pendulum {
    fn step(&mut self, seconds: f64) {
        const GRAVITY: f64 = 9.81;
        let torque = -40.0 * self.angle - 10.0 * self.speed;
        self.speed += (GRAVITY * self.angle.sin() + torque) * seconds;
        self.angle += self.speed * seconds;
    }
}

/// Generates one text after the other until `done`, and returns the number of tokens.
fn generate_until(engine: &Engine, done: impl Fn() -> bool) -> Result<u32, eitri::Error> {
    let mut tokens = 0;
    while !done() {
        let prompt = Prompt::text("The robot looked around the room and");
        for piece in engine.generate_blocking(prompt, GenerationOptions::default())? {
            tokens += piece?.tokens.len() as u32;
            if done() {
                break;
            }
        }
    }
    Ok(tokens)
}

/// Percentiles of lateness.
struct Jitter {
    ticks: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl Jitter {
    fn of(mut lateness: Vec<Duration>) -> Self {
        lateness.sort_unstable();
        let last = lateness.len() - 1;
        let at = |percent: usize| lateness[last * percent / 100];
        Self { ticks: lateness.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

impl std::fmt::Display for Jitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:?}, p99 {:?}, max {:?}", self.p50, self.p99, self.max)
    }
}
