//! Execution: CTAs, warps, lanes.

mod access;
mod atomics;
mod barrier;
mod block;
mod bulk;
mod compute;
mod copies;
mod exchange;
mod matrix;
mod mbarrier;
mod product;
mod special;
mod traffic;
mod warp;
mod whole;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::block::{Block, Progress};
use crate::check::global::GlobalRaces;
use crate::check::proxy::GlobalProxies;
use crate::config::{Config, Order};
use crate::counters::Counters;
use crate::error::{Fault, FaultKind};
use crate::gpu::Launch;
use crate::memory::Memory;
use crate::program::{Op, Program};
use crate::schedule::{Random, mix};

/// Warps of a launch, by thread of the host, for which threads are started at once.
const WORTH_A_THREAD: u64 = 64;

/// How long a launch with fewer warps may take before threads are started for what is left of it:
/// most are over before a thread has started, and all must wait for those that were.
const PATIENCE: Duration = Duration::from_micros(200);

/// What all CTAs of a launch share.
pub(crate) struct Env<'e> {
    pub(crate) config: &'e Config,
    pub(crate) memory: &'e Memory,
    pub(crate) program: &'e Program,
    pub(crate) launch: &'e Launch,
    pub(crate) params: &'e [u8],
    /// History of global memory, if races are looked for.
    pub(crate) races: Option<&'e Mutex<Box<GlobalRaces>>>,
    /// History of writes that bulk copies may not see, if the kernel has such copies.
    pub(crate) proxies: Option<Mutex<GlobalProxies>>,
    /// Warp instructions of the whole launch.
    executed: AtomicU64,
    /// A fault elsewhere ends the launch.
    stop: AtomicBool,
}

/// A fault inside an instruction, before its place is known.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: FaultKind,
    pub(crate) lane: usize,
    pub(crate) address: Option<u64>,
    pub(crate) message: String,
}

/// Result of a part of an instruction.
pub(crate) type Run<T> = Result<T, Box<Trouble>>;

/// A fault of a lane.
pub(crate) fn trouble<T>(
    kind: FaultKind,
    lane: usize,
    address: Option<u64>,
    message: impl Into<String>,
) -> Run<T> {
    Err(Box::new(Trouble { kind, lane, address, message: message.into() }))
}

/// Runs all CTAs of a launch. With a history of global memory, races are looked for in it.
pub(crate) fn run(
    config: &Config,
    memory: &Memory,
    program: &Program,
    launch: &Launch,
    params: &[u8],
    races: Option<&Mutex<Box<GlobalRaces>>>,
) -> Result<Counters, Fault> {
    let blocks: u64 = launch.grid.iter().map(|&n| u64::from(n)).product();
    let copies = || program.code.iter().any(|i| matches!(i.op, Op::CopyBulk(_)));
    let proxies = config.checks.proxy_fences && copies();
    let env = Env {
        config,
        memory,
        program,
        launch,
        params,
        races,
        proxies: proxies.then(|| Mutex::new(GlobalProxies::default())),
        executed: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let alone = launch.cooperative || races.is_some();
    let workers = if alone { 1 } else { (config.threads as u64).clamp(1, blocks) };
    let next = AtomicU64::new(0);
    if workers == 1 {
        return worker(&env, &next, blocks, || {});
    }
    let warps = blocks * u64::from(launch.block.iter().product::<u32>().div_ceil(32));
    let start = Instant::now();
    let results: Vec<Result<Counters, Fault>> = std::thread::scope(|scope| {
        let mut helpers = Vec::new();
        let mut help = |due: bool| {
            if due && helpers.is_empty() {
                let work = || worker(&env, &next, blocks, || {});
                helpers.extend((1..workers).map(|_| scope.spawn(work)));
            }
        };
        help(warps >= workers * WORTH_A_THREAD);
        let own = worker(&env, &next, blocks, || {
            help(start.elapsed() > PATIENCE && next.load(Relaxed) < blocks);
        });
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        std::iter::once(own).chain(helpers.into_iter().map(join)).collect()
    });
    let mut sum = Counters::default();
    for result in results {
        sum.add(&result?);
    }
    Ok(sum)
}

/// Number of the CTA that is the `index`-th to start.
fn nth_block(order: Order, index: u64, blocks: u64) -> u64 {
    match order {
        Order::LowestFirst => index,
        Order::HighestFirst => blocks - 1 - index,
        Order::Random(seed) => {
            // A bijection: multiply by a number that shares no factor with the count, and shift.
            let mut factor = mix(seed) | 1;
            while gcd(factor % blocks.max(1), blocks) != 1 && blocks > 1 {
                factor = factor.wrapping_add(2);
            }
            let start = u128::from(mix(seed ^ 0x5bd1));
            let position = u128::from(index) * u128::from(factor % blocks.max(1)) + start;
            (position % u128::from(blocks)) as u64
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Runs CTAs until none is left. A CTA that waits for another keeps its place while the next ones
/// are started, as resident CTAs of hardware do. `after_each` is called when a CTA has ended.
fn worker(
    env: &Env<'_>,
    next: &AtomicU64,
    blocks: u64,
    mut after_each: impl FnMut(),
) -> Result<Counters, Fault> {
    let order = env.config.schedule.order;
    let mut random = Random::new(match order {
        Order::Random(seed) => seed ^ 0xb10c,
        _ => 0,
    });
    let window = match order {
        _ if env.launch.cooperative => blocks as usize,
        Order::Random(_) => 4,
        _ => 1,
    };
    let mut counters = Counters::default();
    let mut resident: Vec<Block<'_>> = Vec::new();
    let mut spare: Vec<Block<'_>> = Vec::new();
    let mut widened = 0;
    loop {
        while resident.len() < (window + widened) && !env.stop.load(Relaxed) {
            let index = next.fetch_add(1, Relaxed);
            if index >= blocks {
                break;
            }
            let mut block = spare.pop().unwrap_or_else(|| Block::new(env));
            block.start(nth_block(order, index, blocks));
            resident.push(block);
        }
        if resident.is_empty() || env.stop.load(Relaxed) {
            break;
        }
        let chosen = match order {
            Order::Random(_) => random.below(resident.len()),
            _ => 0,
        };
        match resident[chosen].run() {
            Ok(Progress::Done) => {
                let mut block = resident.swap_remove(chosen);
                block.finish(&mut counters);
                spare.push(block);
                widened = 0;
                after_each();
            }
            Ok(Progress::Slice) => {
                // It may wait for a CTA that has not started.
                let block = resident.remove(chosen);
                resident.push(block);
                widened = (widened + 1).min(64);
            }
            Err(fault) => {
                env.stop.store(true, Relaxed);
                return Err(*fault);
            }
        }
    }
    Ok(counters)
}

impl Env<'_> {
    /// Counts instructions and tells whether the launch has exceeded its limit.
    fn exceeds_limit(&self, more: u64) -> bool {
        let before = self.executed.fetch_add(more, Relaxed);
        before.saturating_add(more) > self.config.instruction_limit
    }

    pub(crate) fn with_races<T>(&self, f: impl FnOnce(&mut GlobalRaces) -> T) -> Option<T> {
        let races = self.races?;
        Some(f(&mut races.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn with_proxies<T>(&self, f: impl FnOnce(&mut GlobalProxies) -> T) -> Option<T> {
        let proxies = self.proxies.as_ref()?;
        Some(f(&mut proxies.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
