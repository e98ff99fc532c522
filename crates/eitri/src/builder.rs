//! From settings to a running engine.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use eitri_engine::{EngineConfig, SchedulingPolicy, TokenId};
use eitri_kernels::Activations;
use eitri_models::{GenerationConfig, GgufTokenizer, LoadProgress, ModelFiles, TokenizerSource};
use eitri_runner::{KvDtype, MemoryPlan, Runner, RunnerConfig};
use eitri_text::{ChatTemplate, GgufVocab, TextError, Tokenizer};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::{
    Engine, Error, GenerationSource, ModelInfo, SamplingDefaults, affinity, bundled,
    resolve::Places,
};

/// Settings of an engine. Made by [`Engine::builder`].
#[derive(Clone, Default)]
pub struct EngineBuilder {
    model: Option<PathBuf>,
    revision: Option<String>,
    tokenizer: Option<PathBuf>,
    chat_template: Option<String>,
    generation: GenerationSource,
    generation_override: Map<String, Value>,
    threads: Option<usize>,
    cores: Vec<usize>,
    on_thread_start: Option<ThreadHook>,
    runner: RunnerConfig,
    max_num_seqs: Option<usize>,
    max_num_batched_tokens: Option<usize>,
    no_prefix_caching: bool,
    policy: SchedulingPolicy,
    max_step: Option<Duration>,
    long_prefill_token_threshold: Option<usize>,
    max_queued: Option<usize>,
    seed: u64,
}

/// Bound of a step's time where none is set: short enough that text seems to flow, long enough that
/// a prompt's chunks stay efficient.
pub const DEFAULT_MAX_STEP: Duration = Duration::from_millis(200);

type ThreadHook = Arc<dyn Fn(usize) + Send + Sync>;

impl EngineBuilder {
    /// The model: a directory (`config.json`, safetensors, `tokenizer.json`), a GGUF file, a hub id,
    /// or a short name: `robot`, which is part of the program and taken if none is set, or one that
    /// `cargo xtask models` knows.
    ///
    /// A hub id is `ORG/NAME`, `ORG/NAME:TYPE` or `ORG/NAME/FILE.gguf`, such as `Qwen/Qwen3-0.6B` or
    /// `Qwen/Qwen3-8B-GGUF:Q5_K_M`. What the local Hugging Face cache lacks is downloaded into it
    /// (with the feature `hub`, and unless `HF_HUB_OFFLINE=1`); [`crate::fetch`] does that with
    /// progress.
    #[must_use]
    pub fn model(mut self, model: impl Into<PathBuf>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Branch, tag or commit of a hub id; `main` if not set.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Takes `tokenizer.json` and its companions from this directory instead of the model.
    #[must_use]
    pub fn tokenizer(mut self, directory: impl Into<PathBuf>) -> Self {
        self.tokenizer = Some(directory.into());
        self
    }

    /// The chat template, as the path of a file or as its text, instead of the model's.
    #[must_use]
    pub fn chat_template(mut self, file_or_text: impl Into<String>) -> Self {
        self.chat_template = Some(file_or_text.into());
        self
    }

    /// Where sampling defaults come from; the model if not set.
    #[must_use]
    pub fn generation_config(mut self, source: GenerationSource) -> Self {
        self.generation = source;
        self
    }

    /// Replaces single sampling defaults, with the names of `generation_config.json`.
    #[must_use]
    pub fn override_generation_config(mut self, fields: Map<String, Value>) -> Self {
        self.generation_override = fields;
        self
    }

    /// Threads that compute, the engine's own included. If not set: one per core of
    /// [`EngineBuilder::cores`], or else one per core of the machine.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Binds the engine's threads to these cores, one after the other; the engine's own is first.
    #[must_use]
    pub fn cores(mut self, cores: impl Into<Vec<usize>>) -> Self {
        self.cores = cores.into();
        self
    }

    /// Runs on each computing thread when it starts, with its index; 0 is the engine's own. For
    /// example to set a scheduling priority.
    #[must_use]
    pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_thread_start = Some(Arc::new(hook));
        self
    }

    /// Bytes for weights, KV cache and workspace together. A model that does not fit is refused.
    #[must_use]
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.runner.memory_budget = Some(bytes);
        self
    }

    /// Bytes of the KV cache, whatever the budget would allow.
    #[must_use]
    pub fn kv_cache_bytes(mut self, bytes: u64) -> Self {
        self.runner.kv_cache_bytes = Some(bytes);
        self
    }

    /// Blocks of 16 tokens in the KV cache, whatever the budget would allow.
    #[must_use]
    pub fn num_blocks(mut self, blocks: usize) -> Self {
        self.runner.num_blocks = Some(blocks);
        self
    }

    /// Element type of the KV cache. If not set: FP8 where the checkpoint declares that, or else
    /// bf16.
    #[must_use]
    pub fn kv_cache_dtype(mut self, dtype: KvDtype) -> Self {
        self.runner.kv_dtype = Some(dtype);
        self
    }

    /// Arithmetic of the activations that meet quantised weights; 8-bit if not set.
    #[must_use]
    pub fn activations(mut self, activations: Activations) -> Self {
        self.runner.activations = activations;
        self
    }

    /// Most tokens of one generation, prompt included. If not set: the model's limit, or less if
    /// memory is short.
    #[must_use]
    pub fn max_model_len(mut self, tokens: usize) -> Self {
        self.runner.max_model_len = Some(tokens);
        self
    }

    /// Most generations that run at once; more wait. 64 if not set.
    #[must_use]
    pub fn max_num_seqs(mut self, sequences: usize) -> Self {
        self.max_num_seqs = Some(sequences);
        self
    }

    /// Most tokens computed in one step; 2048 if not set.
    #[must_use]
    pub fn max_num_batched_tokens(mut self, tokens: usize) -> Self {
        self.max_num_batched_tokens = Some(tokens);
        self
    }

    /// Longest time that a step should take while a generation waits for its next token; prompts
    /// are cut into chunks accordingly. [`DEFAULT_MAX_STEP`] if not set, zero for no bound.
    #[must_use]
    pub fn max_step(mut self, time: Duration) -> Self {
        self.max_step = Some(time);
        self
    }

    /// Most prompt tokens of one generation in one step.
    #[must_use]
    pub fn long_prefill_token_threshold(mut self, tokens: usize) -> Self {
        self.long_prefill_token_threshold = Some(tokens);
        self
    }

    /// Order of service; first come, first served if not set.
    #[must_use]
    pub fn scheduling_policy(mut self, policy: SchedulingPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Most generations that wait; more are refused. Without limit if not set.
    #[must_use]
    pub fn max_queued(mut self, requests: usize) -> Self {
        self.max_queued = Some(requests);
        self
    }

    /// Whether prompts may reuse what earlier ones computed; true if not set.
    #[must_use]
    pub fn prefix_caching(mut self, on: bool) -> Self {
        self.no_prefix_caching = !on;
        self
    }

    /// Source of the seeds of generations that bring none; 0 if not set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Finds and checks the model's files and plans memory. Loads nothing.
    ///
    /// # Errors
    /// When the model is not found, damaged or of an unknown kind, does not fit, or a setting is
    /// out of range.
    pub fn plan(self) -> Result<PlannedEngine, Error> {
        let bundled = bundled::find(bundled::ROBOT).map(|model| Path::new(model.name));
        let model = self.model.as_deref().or(bundled).ok_or(Error::NoModel)?;
        if !self.cores.is_empty() {
            affinity::check(&self.cores)?;
        }
        let location = Places::of_environment().locate(model, self.revision.as_deref(), &|_| {})?;
        let files = location.open()?;
        let runner = self.runner_config();
        let mut defaults = SamplingDefaults::load(&self.generation, files.generation())?;
        defaults.override_with(&self.generation_override)?;
        let info = ModelInfo::of(&files, location)?;
        let plan = MemoryPlan::compute(&files, &runner)?;
        Ok(PlannedEngine { settings: self, files, runner, plan, info, defaults })
    }

    /// Loads the model and starts the engine. Blocks for as long as reading the weights takes.
    ///
    /// # Errors
    /// As for [`EngineBuilder::plan`] and [`PlannedEngine::load`].
    pub fn build(self) -> Result<Engine, Error> {
        self.plan()?.load(None)
    }

    /// [`EngineBuilder::build`] on a thread of its own. Dropping the future abandons the result.
    ///
    /// # Errors
    /// As for [`EngineBuilder::build`].
    pub async fn build_async(self) -> Result<Engine, Error> {
        let (sender, receiver) = oneshot::channel();
        // The receiver may be gone; then the engine ends at once.
        let load = move || drop(sender.send(self.build()));
        thread::Builder::new()
            .name("eitri-load".to_owned())
            .spawn(load)
            .map_err(|error| Error::LoadThread(error.to_string()))?;
        receiver.await.map_err(|_| Error::LoadThread("it panicked".to_owned()))?
    }

    /// What the runner gets; a limit that was not set follows one that was.
    fn runner_config(&self) -> RunnerConfig {
        let usual = &self.runner;
        let max_num_seqs = self.max_num_seqs.unwrap_or_else(|| {
            usual.max_num_seqs.min(self.max_num_batched_tokens.unwrap_or(usize::MAX))
        });
        let max_num_batched_tokens =
            self.max_num_batched_tokens.unwrap_or(usual.max_num_batched_tokens.max(max_num_seqs));
        let pinned = (!self.cores.is_empty()).then_some(self.cores.len());
        RunnerConfig {
            threads: self.threads.or(pinned).unwrap_or(usual.threads),
            on_thread_start: self.thread_start(),
            max_num_seqs,
            max_num_batched_tokens,
            ..usual.clone()
        }
    }

    /// What each computing thread does first; the engine's own has index 0.
    fn thread_start(&self) -> Option<ThreadHook> {
        if self.cores.is_empty() {
            return self.on_thread_start.clone();
        }
        let (cores, hook) = (self.cores.clone(), self.on_thread_start.clone());
        Some(Arc::new(move |index| {
            let core = cores[index % cores.len()];
            if let Err(error) = affinity::pin_current_thread(&[core]) {
                tracing::warn!(thread = index, "{error}");
            }
            if let Some(hook) = &hook {
                hook(index);
            }
        }))
    }

    fn engine_config(&self, runner: &RunnerConfig, plan: &MemoryPlan) -> EngineConfig {
        let hook = self.thread_start();
        EngineConfig {
            block_size: plan.block_size,
            max_num_seqs: runner.max_num_seqs,
            max_num_batched_tokens: runner.max_num_batched_tokens,
            prefix_caching: !self.no_prefix_caching,
            policy: self.policy,
            max_step: Some(self.max_step.unwrap_or(DEFAULT_MAX_STEP))
                .filter(|time| !time.is_zero()),
            long_prefill_token_threshold: self.long_prefill_token_threshold,
            max_queued: self.max_queued,
            seed: self.seed,
            on_thread_start: hook.map(|hook| Arc::new(move || hook(0)) as _),
            ..EngineConfig::new(plan.num_blocks, plan.max_model_len)
        }
    }
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("model", &self.model)
            .field("cores", &self.cores)
            .field("runner", &self.runner_config())
            .finish_non_exhaustive()
    }
}

/// An engine whose model was found, checked and planned for, and not loaded yet.
#[derive(Debug)]
pub struct PlannedEngine {
    settings: EngineBuilder,
    files: ModelFiles,
    runner: RunnerConfig,
    plan: MemoryPlan,
    info: ModelInfo,
    defaults: SamplingDefaults,
}

impl PlannedEngine {
    /// What the model is.
    pub fn model_info(&self) -> &ModelInfo {
        &self.info
    }

    /// Where memory will go.
    pub fn memory_plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// Threads that will compute.
    pub fn threads(&self) -> usize {
        self.runner.threads
    }

    /// Most generations that will run at once.
    pub fn max_num_seqs(&self) -> usize {
        self.runner.max_num_seqs
    }

    /// Most tokens of one step.
    pub fn max_num_batched_tokens(&self) -> usize {
        self.runner.max_num_batched_tokens
    }

    /// The tokenizer alone, without loading the model.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn tokenizer(&self) -> Result<Arc<Tokenizer>, Error> {
        let source = match &self.settings.tokenizer {
            Some(directory) => &TokenizerSource::Directory(directory.clone()),
            None => self.files.tokenizer(),
        };
        Ok(load_text(source, None)?.0)
    }

    /// Loads the weights and starts the engine. `progress` is called on this thread.
    ///
    /// # Errors
    /// When a file is damaged, the tokenizer is missing, or a kernel fails its probe.
    pub fn load(self, progress: Option<&dyn Fn(LoadProgress)>) -> Result<Engine, Error> {
        let Self { settings, files, runner: runner_config, plan, info, defaults } = self;
        let source = match &settings.tokenizer {
            Some(directory) => &TokenizerSource::Directory(directory.clone()),
            None => files.tokenizer(),
        };
        check_tokenizer(source)?;
        let template = settings.chat_template.as_deref();
        // Building a tokenizer of 150,000 tokens takes a good part of a second.
        let (text, runner) = thread::scope(|scope| {
            let text = scope.spawn(|| load_text(source, template));
            let runner = Runner::load(&files, &runner_config, &plan, progress);
            let panicked = |_| Err(Error::LoadThread("it panicked".to_owned()));
            (text.join().unwrap_or_else(panicked), runner)
        });
        let ((tokenizer, chat_template), runner) = (text?, runner?);
        let report = runner.load_report().clone();
        let eos_token_ids = eos_token_ids(files.generation(), &tokenizer);
        let config = settings.engine_config(&runner_config, &plan);
        let handle = eitri_engine::Engine::spawn(config, Box::new(runner))?;
        Ok(Engine { handle, tokenizer, chat_template, info, plan, report, defaults, eos_token_ids })
    }
}

type ModelText = (Arc<Tokenizer>, Option<Arc<ChatTemplate>>);

pub(crate) fn load_text(
    source: &TokenizerSource,
    template: Option<&str>,
) -> Result<ModelText, Error> {
    let tokenizer = match source {
        TokenizerSource::Directory(directory) => Tokenizer::from_dir(directory)?,
        TokenizerSource::Gguf(vocab) => Tokenizer::from_gguf(gguf_vocab(vocab))?,
        TokenizerSource::Embedded { tokenizer, tokenizer_config } => {
            Tokenizer::from_bytes(tokenizer, *tokenizer_config, None)?
        }
    };
    let template = ChatTemplate::load(template, &tokenizer)?;
    Ok((Arc::new(tokenizer), template.map(Arc::new)))
}

/// A missing tokenizer shall not be found out after loading many gigabytes.
fn check_tokenizer(source: &TokenizerSource) -> Result<(), TextError> {
    const FILE: &str = "tokenizer.json";
    match source {
        TokenizerSource::Directory(dir) if !dir.join(FILE).exists() => {
            Err(TextError::NoTokenizer { dir: dir.clone(), looked_for: FILE })
        }
        _ => Ok(()),
    }
}

/// The same metadata in the type of the other half, which knows no checkpoints.
fn gguf_vocab(vocab: &GgufTokenizer) -> GgufVocab {
    let vocab = vocab.clone();
    GgufVocab {
        model: vocab.model,
        pre: vocab.pre,
        tokens: vocab.tokens,
        token_types: vocab.token_types,
        merges: vocab.merges,
        scores: vocab.scores,
        bos: vocab.bos,
        eos: vocab.eos,
        eot: vocab.eot,
        unk: vocab.unk,
        pad: vocab.pad,
        add_bos: vocab.add_bos,
        add_eos: vocab.add_eos,
        add_space_prefix: vocab.add_space_prefix,
        chat_template: vocab.chat_template,
        hugging_face: vocab.hugging_face,
    }
}

/// End tokens that the tokenizer or the model's configuration names. The tokenizer's own is the
/// primary one and comes first, as in vLLM.
fn eos_token_ids(generation: &GenerationConfig, tokenizer: &Tokenizer) -> Arc<[TokenId]> {
    let primary = tokenizer.special_tokens().eos.as_ref().map(|token| token.id);
    let others = generation.eos_token_ids.iter().copied().filter(|&id| Some(id) != primary);
    primary.into_iter().chain(others).collect()
}
