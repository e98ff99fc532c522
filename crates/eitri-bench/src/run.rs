//! A run: the server is asked what it is, requests are sent when they are due, and what came back
//! becomes an outcome.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use eitri_text::Tokenizer;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, sleep_until},
};

use crate::{
    BenchError, Certificates,
    arrivals::Arrival,
    client::{Client, Http, Limits, RequestOptions, Turn},
    clock,
    dataset::Sample,
    outcome::{
        BenchOutcome, Failure, FailureKind, Metrics, RateChange, RequestRecord, RunSettings,
    },
    progress::Progress,
    server::{Counters, server_facts},
};

/// Between two tries of the initial request.
const RETRY: Duration = Duration::from_secs(5);

/// Everything that a run needs besides its prompts.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// `http://HOST:PORT` or `https://HOST:PORT`, with a path where the API does not lie at the top.
    pub base_url: String,
    /// Whether the server has to show who it is.
    pub certificates: Certificates,
    /// How long is waited for the server.
    pub limits: Limits,
    /// What the requests look like.
    pub request: RequestOptions,
    /// How long the first prompt is tried before the run, so that a server can start meanwhile;
    /// none does not try. Where it is tried, the server has met that prompt before the run.
    pub ready_timeout: Option<Duration>,
    /// `--num-warmups`: how often the first prompt is sent before the run.
    pub num_warmups: usize,
    /// What is reported, and how.
    pub settings: RunSettings,
}

/// Follows a run and stops it.
#[derive(Debug, Clone)]
pub struct RunControl {
    /// Grows while the run goes on.
    pub progress: Arc<Progress>,
    /// Once this is true, no more is sent and what was measured by then is the outcome.
    pub stop: watch::Receiver<bool>,
}

impl RunControl {
    /// Resolves when the run is to end early.
    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // No one is left who could stop it.
            std::future::pending::<()>().await;
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }
}

/// What happens before and between requests, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunEvent {
    /// The first prompt is tried.
    WaitingForServer,
    /// It failed and is tried again.
    NotReady(Failure),
    /// It was answered.
    Ready,
    /// Requests are sent to warm the server up.
    WarmingUp(usize),
    /// The measured part begins.
    Started,
}

/// Sends all samples, each at the time of its arrival, and measures. `tokenizer` counts the tokens
/// of answers without a usage record.
///
/// # Errors
/// When the address is not usable, or the server does not answer the first prompt properly within
/// [`RunOptions::ready_timeout`]. Requests that fail during the run are recorded instead.
pub async fn run(
    options: RunOptions,
    samples: Vec<Sample>,
    arrivals: &[Arrival],
    tokenizer: Option<&Tokenizer>,
    control: &RunControl,
    mut on_event: impl FnMut(RunEvent),
) -> Result<BenchOutcome, BenchError> {
    let RunOptions {
        base_url,
        certificates,
        limits,
        request,
        ready_timeout,
        num_warmups,
        mut settings,
    } = options;
    let concurrency = settings.max_concurrency;
    let http = Http::new(&base_url, certificates, limits)?;
    let client = Arc::new(Client::new(http, request, Arc::clone(&control.progress))?);
    let first = samples.first().cloned().ok_or_else(|| {
        BenchError::flag("--num-prompts", "the data set has no prompt: at least 1 is needed")
    })?;
    if let Some(limit) = ready_timeout {
        on_event(RunEvent::WaitingForServer);
        wait_until_ready(&client, &first, limit, control, &mut on_event).await?;
        on_event(RunEvent::Ready);
    }
    if num_warmups > 0 && !control.is_stopped() {
        on_event(RunEvent::WarmingUp(num_warmups));
        warm_up(&client, &first, num_warmups, concurrency, control).await;
    }
    let mut server = server_facts(&client).await;
    let before = Counters::read(&client).await;
    on_event(RunEvent::Started);
    let origin = Instant::now();
    let ramps = settings.ramp_up.is_some();
    let sender = Sender { client: Arc::clone(&client), concurrency, ramps, origin, control };
    let (mut requests, rate_changes) = sender.send_all(samples, arrivals).await;
    let duration = origin.elapsed().as_secs_f64();
    let interrupted = control.is_stopped();
    Counters::read(&client).await.since(&before, &mut server);
    for record in &mut requests {
        count_tokens(record, tokenizer)?;
    }
    settings.date = clock::file_stamp();
    let metrics = Metrics::new(&requests, duration, &settings);
    Ok(BenchOutcome { settings, server, requests, duration, metrics, rate_changes, interrupted })
}

/// Without a usage record the client's own tokenizer counts what was generated, or the events do
/// where there is no tokenizer.
fn count_tokens(
    record: &mut RequestRecord,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), BenchError> {
    if !record.output_tokens_from_usage && record.success() {
        record.output_tokens = match tokenizer {
            Some(tokenizer) => tokenizer.encode(&record.generated_text, false)?.len(),
            None => record.itl.len() + 1,
        };
    }
    Ok(())
}

/// Tries the first prompt until it is answered. vLLM's client tries again whatever the failure was;
/// here a request that the server understood and refused ends the wait, since it will be refused
/// again.
async fn wait_until_ready(
    client: &Client,
    first: &Sample,
    limit: Duration,
    control: &RunControl,
    on_event: &mut impl FnMut(RunEvent),
) -> Result<(), BenchError> {
    let start = Instant::now();
    loop {
        let turn = Turn { origin: start, due: 0.0 };
        let record = client.ask(first, 0, turn, control.stopped()).await;
        let Some(failure) = record.failure else { return Ok(()) };
        let may_pass = matches!(
            failure.kind,
            FailureKind::Connect
                | FailureKind::Disconnected
                | FailureKind::Timeout
                | FailureKind::Status
        );
        if !may_pass || start.elapsed() + RETRY > limit || control.is_stopped() {
            let url = client.url();
            let message = format!("the first request failed: {}", failure.message);
            return Err(BenchError::Server { url, message });
        }
        on_event(RunEvent::NotReady(failure));
        tokio::select! {
            () = sleep(RETRY) => {}
            () = control.stopped() => {}
        }
    }
}

async fn warm_up(
    client: &Arc<Client>,
    first: &Sample,
    count: usize,
    concurrency: Option<usize>,
    control: &RunControl,
) {
    let turns = Arc::new(Semaphore::new(concurrency.unwrap_or(Semaphore::MAX_PERMITS)));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (client, first, turns) = (Arc::clone(client), first.clone(), Arc::clone(&turns));
        let control = control.clone();
        tasks.spawn(async move {
            let _turn = turns.acquire().await;
            let turn = Turn { origin: Instant::now(), due: 0.0 };
            client.ask(&first, 0, turn, control.stopped()).await
        });
    }
    tasks.join_all().await;
}

/// Sends the measured requests.
struct Sender<'a> {
    client: Arc<Client>,
    concurrency: Option<usize>,
    /// Whether the rate changes.
    ramps: bool,
    origin: Instant,
    control: &'a RunControl,
}

impl Sender<'_> {
    async fn send_all(
        &self,
        samples: Vec<Sample>,
        arrivals: &[Arrival],
    ) -> (Vec<RequestRecord>, Vec<RateChange>) {
        let turns = self.concurrency.map(|limit| Arc::new(Semaphore::new(limit)));
        let mut tasks = JoinSet::new();
        let mut changes = RateChanges::default();
        for (index, (sample, arrival)) in samples.into_iter().zip(arrivals).enumerate() {
            if arrival.time > 0.0 {
                let due = self.origin + Duration::from_secs_f64(arrival.time);
                tokio::select! {
                    biased;
                    () = self.control.stopped() => {}
                    () = sleep_until(due.into()) => {}
                }
            }
            if self.control.is_stopped() {
                break;
            }
            if self.ramps {
                changes.reach(arrival.rate);
            }
            tasks.spawn(self.request(sample, index, turns.clone()));
        }
        let records = tasks.join_all().await.into_iter().flatten();
        let by_index: BTreeMap<usize, RequestRecord> =
            records.map(|record| (record.index, record)).collect();
        (by_index.into_values().collect(), changes.events)
    }

    /// Gives no record where the run was stopped before the request was sent.
    fn request(
        &self,
        sample: Sample,
        index: usize,
        turns: Option<Arc<Semaphore>>,
    ) -> impl Future<Output = Option<RequestRecord>> + Send + 'static {
        let (client, control, origin) =
            (Arc::clone(&self.client), self.control.clone(), self.origin);
        let due = origin.elapsed().as_secs_f64();
        async move {
            let _permit = match &turns {
                None => None,
                Some(turns) => tokio::select! {
                    permit = turns.acquire() => permit.ok(),
                    () = control.stopped() => None,
                },
            };
            if control.is_stopped() {
                return None;
            }
            control.progress.count_start();
            let turn = Turn { origin, due };
            let record = client.ask(&sample, index, turn, control.stopped()).await;
            control.progress.count_end(record.success());
            Some(record)
        }
    }
}

/// Notes when the rate of a ramp-up passes whole numbers.
#[derive(Default)]
struct RateChanges {
    events: Vec<RateChange>,
}

impl RateChanges {
    fn reach(&mut self, rate: f64) {
        let reached = rate as u32;
        let next = self.events.last().map_or(reached, |event| event.rps + 1);
        if next > reached {
            return;
        }
        let timestamp = clock::iso_stamp();
        let steps = (next..=reached).map(|rps| RateChange { rps, timestamp: timestamp.clone() });
        self.events.extend(steps);
    }
}
