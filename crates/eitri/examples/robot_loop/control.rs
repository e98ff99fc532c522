//! The 100 Hz loop that drives the robot, on a thread of its own.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use eitri::pin_current_thread;

use crate::robot::{Action, Robot};

const PERIOD: Duration = Duration::from_millis(10);
/// Ticks that are kept; more would have to be allocated inside the loop.
const MOST_TICKS: usize = 1 << 20;

enum Order {
    Begin(Action, mpsc::Sender<String>),
    Mark(&'static str),
    Stop,
}

/// The running loop.
pub(crate) struct Control {
    orders: mpsc::Sender<Order>,
    robot: Arc<Mutex<Robot>>,
    thread: thread::JoinHandle<Result<Vec<(&'static str, Lateness)>, eitri::Error>>,
}

impl Control {
    /// Starts the loop, bound to `cores` unless there are none.
    pub(crate) fn start(robot: Robot, cores: Vec<usize>) -> io::Result<Self> {
        let robot = Arc::new(Mutex::new(robot));
        let (orders, inbox) = mpsc::channel();
        let shared = Arc::clone(&robot);
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            if !cores.is_empty() {
                pin_current_thread(&cores)?;
            }
            Ok(control_loop(&shared, &inbox))
        })?;
        Ok(Self { orders, robot, thread })
    }

    /// The robot as it is now.
    pub(crate) fn robot(&self) -> Robot {
        lock(&self.robot).clone()
    }

    /// Waits until the robot has carried out an action and returns what came of it.
    pub(crate) fn carry_out(&self, action: Action) -> Result<String, String> {
        let (sender, done) = mpsc::channel();
        let gone = |_| "the control loop has ended".to_owned();
        self.orders.send(Order::Begin(action, sender)).map_err(|_| gone(mpsc::RecvError))?;
        done.recv().map_err(gone)
    }

    /// From now on ticks count for `phase`.
    pub(crate) fn mark(&self, phase: &'static str) {
        // A loop that has ended says so when it is stopped.
        let _ = self.orders.send(Order::Mark(phase));
    }

    /// Ends the loop: how late its ticks began, by phase.
    pub(crate) fn stop(self) -> Result<Vec<(&'static str, Lateness)>, Box<dyn std::error::Error>> {
        let _ = self.orders.send(Order::Stop);
        Ok(self.thread.join().map_err(|_| "the control loop failed")??)
    }
}

fn lock(robot: &Mutex<Robot>) -> MutexGuard<'_, Robot> {
    robot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deadlines are absolute, so that a late tick does not shift the following ones.
fn control_loop(
    robot: &Mutex<Robot>,
    inbox: &mpsc::Receiver<Order>,
) -> Vec<(&'static str, Lateness)> {
    let mut phases: Vec<(&'static str, usize)> = vec![("carrying out", 0)];
    let mut late: Vec<Duration> = Vec::with_capacity(MOST_TICKS);
    let mut waiting: Option<mpsc::Sender<String>> = None;
    let start = Instant::now();
    for tick in 1.. {
        let deadline = start + PERIOD * tick;
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        if late.len() < MOST_TICKS {
            late.push(Instant::now().saturating_duration_since(deadline));
        }
        let mut robot = lock(robot);
        if robot.step(PERIOD.as_secs_f64())
            && let Some(client) = waiting.take()
        {
            // A client that does not wait does not care.
            let _ = client.send("ok".to_owned());
        }
        match inbox.try_recv() {
            Ok(Order::Begin(action, client)) => match robot.begin(action) {
                Some(result) => drop(client.send(result)),
                None => waiting = Some(client),
            },
            Ok(Order::Mark(phase)) => phases.push((phase, late.len())),
            Err(mpsc::TryRecvError::Empty) => {}
            Ok(Order::Stop) | Err(mpsc::TryRecvError::Disconnected) => break,
        }
    }
    let ends = phases.iter().skip(1).map(|(_, at)| *at).chain([late.len()]);
    let parts = phases.iter().zip(ends).map(|((name, from), to)| (*name, &late[*from..to]));
    parts.filter(|(_, ticks)| !ticks.is_empty()).map(|(name, t)| (name, Lateness::of(t))).collect()
}

/// Percentiles of lateness.
pub(crate) struct Lateness {
    ticks: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl Lateness {
    fn of(ticks: &[Duration]) -> Self {
        let mut ticks = ticks.to_vec();
        ticks.sort_unstable();
        let last = ticks.len() - 1;
        let at = |percent: usize| ticks[last * percent / 100];
        Self { ticks: ticks.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ticks, p50, p99, max } = self;
        write!(f, "{ticks} ticks of {PERIOD:?}, late by p50 {p50:?}, p99 {p99:?}, worst {max:?}")
    }
}
