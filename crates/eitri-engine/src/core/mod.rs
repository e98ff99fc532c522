//! The engine without its thread: requests in, one step at a time, events out.

mod outcome;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    EngineConfig, EngineError, EngineStats, Executor, ExecutorError, FinishReason, Request,
    SequenceId, StepOutput, StepPlan, SubmitError, TokenEvent, TokenLogprobs, TokenStream,
    intake::{Intake, QueueTicket, RESERVED_EVENTS, Submission, Unwanted},
    prefix::{private_root, salted_root},
    scheduler::{Scheduler, class},
    sequence::{QueueKey, Sequence, SequenceState, Slots},
};

/// Steps that may fail in a row before the engine gives up on its executor.
const MAX_FAILURES: u32 = 3;

/// Tells the time; replaced in tests.
pub type Clock = Box<dyn Fn() -> Instant + Send>;

/// A request whose continuations are not all finished.
#[derive(Debug)]
struct ActiveRequest {
    events: mpsc::Sender<TokenEvent>,
    /// Held until the first continuation is started.
    ticket: Option<QueueTicket>,
    unwanted: Unwanted,
    /// Continuations that are not finished. While the others sleep, the first computes the prompt.
    slots: Vec<usize>,
    sleeping: bool,
    reserved_events: usize,
    wants_prompt_logprobs: Option<u32>,
    prompt_logprobs: Vec<TokenLogprobs>,
}

/// Scheduler, executor and what clients wait for, driven by calls to [`EngineCore::step`].
///
/// [`crate::Engine`] runs one on a thread of its own. Use this directly where the program owns the
/// loop, and in tests.
pub struct EngineCore {
    config: EngineConfig,
    executor: Box<dyn Executor>,
    scheduler: Scheduler,
    requests: Slots<ActiveRequest>,
    plan: StepPlan,
    output: StepOutput,
    slots: Vec<usize>,
    intake: Arc<Intake>,
    seen_cancelled: u64,
    /// Sequences with a deadline.
    timed: usize,
    next_arrival: u64,
    next_sequence: u64,
    failures: u32,
    clock: Clock,
    stats: EngineStats,
    published: watch::Sender<EngineStats>,
}

impl EngineCore {
    /// An engine that has nothing to do yet.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn new(config: EngineConfig, executor: Box<dyn Executor>) -> Result<Self, EngineError> {
        Self::with_clock(config, executor, Box::new(Instant::now))
    }

    /// The same with another source of time for deadlines and step times.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn with_clock(
        config: EngineConfig,
        executor: Box<dyn Executor>,
        clock: Clock,
    ) -> Result<Self, EngineError> {
        config.validate()?;
        let stats = EngineStats {
            total_blocks: config.num_blocks,
            free_blocks: config.num_blocks,
            ..EngineStats::default()
        };
        Ok(Self {
            executor,
            scheduler: Scheduler::new(config.clone()),
            requests: Slots::new(),
            plan: StepPlan::default(),
            output: StepOutput::default(),
            slots: Vec::new(),
            intake: Arc::new(Intake::new(&config)),
            seen_cancelled: 0,
            timed: 0,
            next_arrival: 0,
            next_sequence: 0,
            failures: 0,
            clock,
            stats,
            published: watch::Sender::new(stats),
            config,
        })
    }

    pub(crate) fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    pub(crate) fn watch(&self) -> watch::Receiver<EngineStats> {
        self.published.subscribe()
    }

    /// Counters as of the last step.
    pub fn stats(&self) -> EngineStats {
        self.stats
    }

    /// Whether there is nothing to compute and nothing to tell the executor.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// The plan of the last step.
    pub fn last_plan(&self) -> &StepPlan {
        &self.plan
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// When it is refused; the message says why.
    pub fn submit(&mut self, request: Request) -> Result<TokenStream, SubmitError> {
        let (submission, stream) = self.intake.accept(request, (self.clock)())?;
        self.admit(submission);
        Ok(stream)
    }

    pub(crate) fn admit(&mut self, submission: Submission) {
        let Submission { request, events, ticket, unwanted, submitted } = submission;
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let owner = self.requests.insert(ActiveRequest {
            events,
            ticket: Some(ticket),
            unwanted,
            slots: Vec::with_capacity(request.n as usize),
            sleeping: request.n > 1,
            reserved_events: RESERVED_EVENTS * request.n as usize,
            wants_prompt_logprobs: request.params.prompt_logprobs,
            prompt_logprobs: Vec::new(),
        });
        for index in 0..request.n {
            let sequence = self.new_sequence(&request, owner, arrival, index, submitted);
            self.timed += usize::from(sequence.is_timed());
            let slot = self.scheduler.sequences.insert(sequence);
            self.requests[owner].slots.push(slot);
        }
        self.scheduler.enqueue(self.requests[owner].slots[0]);
        self.stats.requests += 1;
    }

    fn new_sequence(
        &mut self,
        request: &Request,
        owner: usize,
        arrival: u64,
        index: u32,
        submitted: Instant,
    ) -> Sequence {
        self.next_sequence += 1;
        let mut params = request.params.clone();
        let seed = params
            .seed
            .unwrap_or_else(|| xxh3_64_with_seed(&arrival.to_le_bytes(), self.config.seed));
        params.seed = Some(seed.wrapping_add(u64::from(index)));
        if index > 0 {
            // The first continuation computes them for all.
            params.prompt_logprobs = None;
        }
        let (caching, prompt_len) = (self.config.prefix_caching, request.prompt.len());
        let shares_prompt = request.n > 1;
        let max_len = prompt_len.saturating_add(params.max_tokens as usize);
        Sequence {
            id: SequenceId(self.next_sequence),
            request: owner,
            key: QueueKey { class: class(&self.config, request.priority), arrival, index },
            state: SequenceState::Sleeping,
            tokens: request.prompt.clone(),
            prompt_len,
            max_len: max_len.min(self.config.max_sequence_len()),
            computed: 0,
            scheduled: 0,
            blocks: Vec::new(),
            planned_blocks: 0,
            resident: false,
            preempted_in: 0,
            root: if caching {
                salted_root(request.cache_salt.as_deref())
            } else {
                private_root(arrival)
            },
            chain: Vec::new(),
            offered: 0,
            cacheable: caching || shares_prompt,
            reads_cache: (caching || shares_prompt) && params.prompt_logprobs.is_none(),
            params: Arc::new(params),
            cached: None,
            unsent: Vec::new(),
            prompt_event_sent: request.params.prompt_logprobs.is_none(),
            submitted,
            started: None,
            first_token: None,
            last_token: None,
            deadline: request.deadline.and_then(|after| submitted.checked_add(after)),
            first_token_due: request.max_ttft.and_then(|after| submitted.checked_add(after)),
        }
    }

    /// Carries out one step. Returns false when there was nothing to do.
    ///
    /// A failed step ends all sequences with [`FinishReason::Error`], and the engine goes on.
    ///
    /// # Errors
    /// When the executor panicked, or failed in three steps in a row: the engine is of no use any
    /// more. All sequences have been ended.
    pub fn step(&mut self) -> Result<bool, EngineError> {
        let now = (self.clock)();
        self.drop_cancelled(now);
        self.expire(now);
        if self.scheduler.is_idle() {
            self.publish();
            return Ok(false);
        }
        self.scheduler.plan(&mut self.plan, now);
        for &slot in &self.scheduler.row_slots {
            self.requests[self.scheduler.sequences[slot].request].ticket = None;
        }
        let begun = (self.clock)();
        let result = if self.plan.is_empty() {
            Err(StepFailure::Failed("the scheduler found nothing that can run".into()))
        } else {
            self.execute()
        };
        let ended = (self.clock)();
        let outcome = match result {
            Ok(()) => {
                self.failures = 0;
                self.count_step(ended.saturating_duration_since(begun));
                self.apply(ended);
                Ok(true)
            }
            Err(failure) => self.step_failed(failure, ended),
        };
        self.publish();
        outcome
    }

    fn execute(&mut self) -> Result<(), StepFailure> {
        self.output.clear();
        let Self { executor, plan, output, .. } = self;
        let run = || -> Result<(), ExecutorError> {
            executor.submit(plan)?;
            executor.collect(output)
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) if output.step == plan.step => match (output.computed, plan.limit) {
                (None, _) => Ok(()),
                (Some(computed), Some(limit)) if computed >= limit.tokens => Ok(()),
                (Some(computed), _) => Err(StepFailure::Failed(format!(
                    "the executor computed {computed} of {} tokens, which is too few",
                    plan.tokens.len()
                ))),
            },
            Ok(Ok(())) => Err(StepFailure::Failed(format!(
                "the executor answered step {} instead of step {}",
                output.step, plan.step
            ))),
            Ok(Err(error)) => Err(StepFailure::Failed(error.to_string())),
            Err(payload) => Err(StepFailure::Panicked(panic_message(payload.as_ref()))),
        }
    }

    fn step_failed(&mut self, failure: StepFailure, now: Instant) -> Result<bool, EngineError> {
        self.stats.failed_steps += 1;
        self.failures += 1;
        let (message, fatal) = match failure {
            StepFailure::Failed(message) => (message, self.failures >= MAX_FAILURES),
            StepFailure::Panicked(message) => (format!("the executor panicked: {message}"), true),
        };
        tracing::error!(step = self.plan.step, fatal, "{message}");
        let message: Arc<str> = message.into();
        self.scheduler.step_failed(&self.plan);
        self.end_all(&FinishReason::Error(Arc::clone(&message)), now);
        if fatal { Err(EngineError::Executor(message)) } else { Ok(true) }
    }

    fn count_step(&mut self, elapsed: Duration) {
        let computed = self.output.computed.unwrap_or(self.plan.tokens.len());
        self.scheduler.step_done(&self.plan, computed, elapsed);
        self.stats.steps += 1;
        self.stats.cut_steps += u64::from(self.output.computed.is_some());
        self.stats.last_step = elapsed;
        self.stats.step_time += elapsed;
        self.stats.last_step_tokens = computed;
        self.stats.computed_tokens += computed as u64;
        self.stats.block_copies += self.plan.copies.len() as u64;
    }

    /// Ends every sequence.
    pub fn abort_all(&mut self) {
        let now = (self.clock)();
        self.end_all(&FinishReason::Abort, now);
        self.publish();
    }

    fn end_all(&mut self, reason: &FinishReason, now: Instant) {
        self.end_where(reason, now, |_, _| true);
    }

    /// Ends sequences in the order of their keys, so that blocks come back in one order.
    fn end_where(
        &mut self,
        reason: &FinishReason,
        now: Instant,
        condition: impl Fn(&Sequence, &ActiveRequest) -> bool,
    ) {
        let mut slots = std::mem::take(&mut self.slots);
        let sequences = &self.scheduler.sequences;
        let chosen = sequences.iter().filter(|(_, s)| condition(s, &self.requests[s.request]));
        slots.extend(chosen.map(|(slot, _)| slot));
        slots.sort_unstable_by_key(|&slot| sequences[slot].key);
        for slot in slots.drain(..) {
            self.end(slot, reason.clone(), true, now);
        }
        self.slots = slots;
    }

    fn drop_cancelled(&mut self, now: Instant) {
        let cancelled = self.intake.cancelled.load(Ordering::Acquire);
        if cancelled != self.seen_cancelled {
            self.seen_cancelled = cancelled;
            self.end_where(&FinishReason::Abort, now, |sequence, request| {
                request.events.is_closed()
                    || request.unwanted[sequence.index() as usize].load(Ordering::Acquire)
            });
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.timed > 0 {
            self.end_where(&FinishReason::Deadline, now, |sequence, _| sequence.is_late(now));
        }
    }

    /// Forgets all cached prefixes and returns the number of blocks that held one. Running
    /// sequences go on, and nothing they computed so far is reused.
    pub fn reset_prefix_cache(&mut self) -> usize {
        let forgotten = self.scheduler.reset_prefix_cache();
        self.publish();
        forgotten
    }

    fn publish(&mut self) {
        let (scheduler, stats) = (&self.scheduler, &mut self.stats);
        stats.running = scheduler.queues.running.len();
        stats.waiting = scheduler.sequences.len() - stats.running;
        stats.free_blocks = scheduler.kv.free();
        stats.cached_blocks = scheduler.kv.cached();
        stats.prefix_query_tokens = scheduler.prefix_queries;
        stats.prefix_hit_tokens = scheduler.prefix_hits;
        stats.preemptions = scheduler.preemptions;
        self.published.send_replace(*stats);
    }

    /// Checks everything that must hold between steps: reference counts, the free list, the cache,
    /// the queues. Meant for tests; its cost grows with the pool.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.scheduler.check()?;
        for (owner, request) in self.requests.iter() {
            let owned =
                request.slots.iter().all(|&slot| self.scheduler.sequences[slot].request == owner);
            if !owned || request.slots.is_empty() {
                return Err(format!("request {owner} lost its sequences"));
            }
        }
        let listed: usize = self.requests.iter().map(|(_, request)| request.slots.len()).sum();
        if listed != self.scheduler.sequences.len() {
            return Err("a sequence belongs to no request".to_owned());
        }
        Ok(())
    }
}

enum StepFailure {
    Failed(String),
    Panicked(String),
}

pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
