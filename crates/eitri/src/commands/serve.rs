//! `eitri serve`.

use std::{
    env, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use eitri::{Engine, EngineHandle, PlannedEngine, SamplingDefaults};
use eitri_server::{AppState, GenerationDefaults, ServedModel};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal,
};

use super::stats_log;
use crate::{
    cli::ServeArgs,
    console::{self, Meter},
};

/// Threads that parse requests and write answers; the engine has its own.
const HTTP_THREADS: usize = 2;

/// Variables of vLLM that are heeded.
const KNOWN_VARIABLES: [&str; 4] =
    ["VLLM_API_KEY", "VLLM_LOGGING_LEVEL", "VLLM_LOG_STATS_INTERVAL", "VLLM_SERVER_DEV_MODE"];

pub(crate) fn run(arguments: &ServeArgs, start: Instant) -> Result<()> {
    note_unknown_variables();
    arguments.engine.fetch()?;
    let planned = arguments.builder()?.plan()?;
    introduce(&planned);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .thread_name("eitri-http")
        .enable_all()
        .build()?;
    // The port is taken before the model is loaded: a wrong one is found out at once, and clients
    // that come early wait instead of being turned away.
    let listener = runtime.block_on(async { listen(&arguments.host, arguments.port) })?;
    let meter = Meter::new();
    let loaded = planned.load(Some(&|progress| meter.loading(progress)));
    meter.clear();
    let engine = loaded?;
    let served = runtime.block_on(serve(&engine, arguments, listener, start));
    // Tells why the engine ended, if that was not foreseen.
    let ended = engine.shutdown(Duration::ZERO);
    runtime.shutdown_background();
    served?;
    Ok(ended?)
}

fn introduce(planned: &PlannedEngine) {
    let info = planned.model_info();
    eprintln!(
        "{} ({}): {} parameters, {} on {} threads ({})",
        info.name,
        info.place(),
        console::parameters(info.parameters()),
        info.config.architecture.name,
        planned.threads(),
        info.instruction_set
    );
    eprintln!("{}", planned.memory_plan());
}

fn note_unknown_variables() {
    let is_unknown =
        |name: &String| name.starts_with("VLLM_") && !KNOWN_VARIABLES.contains(&name.as_str());
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown: Vec<String> = names.filter(is_unknown).collect();
    if !unknown.is_empty() {
        eprintln!("note: these variables have no effect: {}", unknown.join(", "));
    }
}

/// Takes the first of the host's addresses on which it is possible to listen.
fn listen(host: &str, port: u16) -> Result<TcpListener> {
    // Many clients may connect at the same instant.
    const BACKLOG: u32 = 1024;
    let open = |address: SocketAddr| -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted server shall not wait for the connections of the one before.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let context = || format!("cannot listen on {host}:{port} (set --host or --port)");
    let addresses = (host, port).to_socket_addrs().with_context(context)?;
    let mut result = Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "it has no address"));
    for address in addresses {
        result = open(address);
        if result.is_ok() {
            break;
        }
    }
    result.with_context(context)
}

async fn serve(
    engine: &Engine,
    arguments: &ServeArgs,
    listener: TcpListener,
    start: Instant,
) -> Result<()> {
    let variable = |name: &str| env::var(name).ok();
    let dev_mode = variable("VLLM_SERVER_DEV_MODE").is_some_and(|value| value == "1");
    let config = arguments.server_config(dev_mode);
    let state = AppState::new(engine.handle().clone(), served_model(engine, arguments), config);
    if !arguments.disable_log_stats {
        let seconds = variable("VLLM_LOG_STATS_INTERVAL").and_then(|value| value.parse().ok());
        let interval = seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|interval| !interval.is_zero())
            .unwrap_or(Duration::from_secs(10));
        tokio::spawn(stats_log::run(engine.handle().clone(), interval));
    }
    let mut signals = Signals::new()?;
    let drain = arguments.shutdown_timeout;
    let handle = engine.handle().clone();
    let (first, second) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        wait_for_end(&mut signals, &handle, drain).await;
        // Whoever waits for the second signal may be gone.
        let _ = first.send(signals);
    };
    let address = listener.local_addr()?;
    eprintln!("ready on http://{address} after {:.2} s", start.elapsed().as_secs_f64());
    tokio::select! {
        result = eitri_server::serve(listener, state, shutdown, drain) => Ok(result?),
        () = wait_for_second(second) => {
            tracing::warn!("second signal: aborting what is in progress");
            engine.handle().shutdown(None);
            Ok(())
        }
    }
}

/// Waits for a signal to stop, or for the engine to stop by itself.
async fn wait_for_end(signals: &mut Signals, handle: &EngineHandle, drain: Duration) {
    tokio::select! {
        name = signals.next() => tracing::info!(
            "{name}: requests in progress may take {} s more; a second signal aborts them",
            drain.as_secs_f64()
        ),
        () = handle.closed() => tracing::error!("the engine has stopped; shutting down"),
    }
}

async fn wait_for_second(first: tokio::sync::oneshot::Receiver<Signals>) {
    match first.await {
        Ok(mut signals) => {
            signals.next().await;
        }
        // The server has ended before any signal.
        Err(_) => std::future::pending().await,
    }
}

fn served_model(engine: &Engine, arguments: &ServeArgs) -> ServedModel {
    let info = engine.model_info();
    let mut names = arguments.names().into_iter();
    ServedModel {
        name: names.next().unwrap_or_else(|| info.name.clone()),
        aliases: names.collect(),
        root: info
            .path
            .as_ref()
            .map_or_else(|| info.name.clone(), |path| path.display().to_string()),
        tokenizer: Arc::clone(engine.tokenizer()),
        answer_format: arguments.answer_format(
            engine.chat_template().map(|template| template.answer_format()).unwrap_or_default(),
        ),
        chat_template: engine.chat_template().cloned(),
        vocab_size: u32::try_from(info.config.vocab_size).unwrap_or(u32::MAX),
        max_model_len: engine.memory_plan().max_model_len,
        kv_block_size: engine.memory_plan().block_size,
        defaults: generation_defaults(engine.sampling_defaults(), engine.eos_token_ids()),
    }
}

fn generation_defaults(defaults: &SamplingDefaults, eos_token_ids: &[u32]) -> GenerationDefaults {
    GenerationDefaults {
        temperature: defaults.temperature.map(f64::from),
        top_p: defaults.top_p.map(f64::from),
        top_k: defaults.top_k.map(i64::from),
        min_p: defaults.min_p.map(f64::from),
        repetition_penalty: defaults.repetition_penalty.map(f64::from),
        max_new_tokens: defaults.max_tokens,
        eos_token_ids: eos_token_ids.to_vec(),
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    #[cfg(unix)]
    interrupt: signal::unix::Signal,
    #[cfg(unix)]
    terminate: signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps, reason = "registering fails on other systems only")]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next signal and returns its name.
    #[cfg(unix)]
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> &'static str {
        if signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
