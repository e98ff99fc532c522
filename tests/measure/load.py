"""Load rate and peak memory on a synthetic Qwen3-8B in 4 bits, beside `cat` of the same files. Linux; standard library only.

usage: python load.py EITRI [--layers 20] [--folder DIR] [--rounds 2] [--threads N]

EITRI is the program. In a new folder under DIR (the system's folder for temporary files if not given; it must be on a disk) it writes
shards of Qwen3-8B's shapes as compressed-tensors makes them (`pack-quantized`, groups of 128, embeddings and head in bf16; 20 of 36
layers are 4.5 GB; values are a repeated random megabyte), then in each round measures `cat` of the shards and `eitri serve`, each with a
cold page cache and again with a warm one. Cold means that the files were synchronised and given to posix_fadvise(DONTNEED) before; warm,
that they were read to the end just before. The rate is the files' bytes over the time that the program itself reports for the weights; processor seconds, which a busy machine
does not lengthen, are those of `cat` and those of the program, start included, until its memory is as large as the weights.
Then it interrupts a load half-way and checks that the process is gone and no file is new. The folder is removed in any case. Exit
status 1 where the peak is above 1.05 x the planned memory + 256 MB or an interrupted load leaves something behind.
"""

import argparse
import ctypes
import json
import mmap
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 4096, 12288, 32, 8, 128, 151936
GROUP = 128
SHARD_BYTES = 1_500_000_000
MEGABYTE = 1 << 20
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "hidden_act": "silu", "rms_norm_eps": 1e-06,
    "rope_theta": 1000000, "rope_scaling": None, "max_position_embeddings": 40960, "attention_bias": False, "tie_word_embeddings": False,
    "bos_token_id": 151643, "eos_token_id": 151645, "torch_dtype": "bfloat16",
    "quantization_config": {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": None, "output_activations": None, "weights": {
            "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}}}},
}


def tensors(layers: int):
    """Name, dtype, shape and bytes per value of all tensors, in the order of the model."""
    yield "model.embed_tokens.weight", "BF16", [VOCABULARY, HIDDEN], 2
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}.{norm}.weight", "BF16", [HIDDEN], 2
        for norm in ("q_norm", "k_norm"):
            yield f"{prefix}.self_attn.{norm}.weight", "BF16", [HEAD_DIM], 2
        for module, n, k in (("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN), ("self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN),
                             ("self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN), ("self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM),
                             ("mlp.gate_proj", INTERMEDIATE, HIDDEN), ("mlp.up_proj", INTERMEDIATE, HIDDEN), ("mlp.down_proj", HIDDEN, INTERMEDIATE)):
            yield f"{prefix}.{module}.weight_packed", "I32", [n, k // 8], 4
            yield f"{prefix}.{module}.weight_scale", "BF16", [n, k // GROUP], 2
            yield f"{prefix}.{module}.weight_shape", "I64", [n, k], 8
    yield "model.norm.weight", "BF16", [HIDDEN], 2
    yield "lm_head.weight", "BF16", [VOCABULARY, HIDDEN], 2


def write_checkpoint(folder: pathlib.Path, layers: int) -> list[pathlib.Path]:
    rng = random.Random(1)
    codes = rng.randbytes(MEGABYTE)
    signs = [0x3C, 0xBC]  # high bytes of bf16 values between 0.0078 and 0.031
    values = bytes(byte if i % 2 == 0 else signs[byte & 1] for i, byte in enumerate(codes))
    shards, current, size = [], [], 0
    for name, dtype, shape, width in tensors(layers):
        length = 16 if dtype == "I64" else shape[0] * (shape[1] if len(shape) == 2 else 1) * width
        if current and size + length > SHARD_BYTES:
            shards.append(current)
            current, size = [], 0
        current.append((name, dtype, shape, length))
        size += length
    shards.append(current)
    files, weight_map = [], {}
    for number, shard in enumerate(shards):
        path = folder / f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        files.append(path)
        header, at = {}, 0
        for name, dtype, shape, length in shard:
            header[name] = {"dtype": dtype, "shape": [2] if dtype == "I64" else shape, "data_offsets": [at, at + length]}
            weight_map[name], at = path.name, at + length
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb", buffering=MEGABYTE) as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, dtype, shape, length in shard:
                if dtype == "I64":
                    file.write(struct.pack("<2q", *shape))
                    continue
                content = codes if dtype == "I32" else values
                for start in range(0, length, MEGABYTE):
                    file.write(content[:min(MEGABYTE, length - start)])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}))
    robot = pathlib.Path(__file__).parents[2] / "models" / "robot"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(robot / name, folder / name)
    return files


def drop(files: list[pathlib.Path]) -> None:
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_bytes(files: list[pathlib.Path]) -> int:
    """Bytes of the files in the page cache, by mincore(2)."""
    libc, total = ctypes.CDLL(None, use_errno=True), 0
    for path in files:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
            pages = (len(view) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
            resident = (ctypes.c_ubyte * pages)()
            address = ctypes.c_char.from_buffer(view)
            if libc.mincore(ctypes.c_void_p(ctypes.addressof(address)), ctypes.c_size_t(len(view)), resident) != 0:
                raise OSError(ctypes.get_errno(), "mincore")
            del address
            total += mmap.PAGESIZE * sum(byte & 1 for byte in resident)
    return total


def cat(files: list[pathlib.Path]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    start, before = time.monotonic(), os.times()
    subprocess.run(["cat", *map(str, files)], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return time.monotonic() - start, after.children_user + after.children_system - before.children_user - before.children_system


class Load:
    """A started `eitri serve`, whose memory a thread samples."""

    FIELDS = ("VmHWM", "RssAnon", "RssFile")

    def __init__(self, eitri: str, folder: pathlib.Path, threads: int | None, weights: int) -> None:
        arguments = [eitri, "serve", str(folder), "--host", "127.0.0.1", "--port", "0", "--log-level", "info", "--max-model-len", "256",
                     "--max-num-seqs", "1", "--max-num-batched-tokens", "16", "--num-gpu-blocks-override", "32"]
        arguments += ["--threads", str(threads)] if threads else []
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.peak = dict.fromkeys(self.FIELDS, 0)
        self.weights, self.processor = weights, 0.0
        self.sampler = threading.Thread(target=self.sample, daemon=True)
        self.sampler.start()
        self.printed: list[str] = []

    def sample(self) -> None:
        while self.process.poll() is None:
            try:
                status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
            except OSError:
                return
            for field in self.FIELDS:
                found = re.search(rf"^{field}:\s+(\d+) kB", status, re.M)
                self.peak[field] = max(self.peak[field], 1024 * int(found[1]) if found else 0)
            if self.peak["RssAnon"] < self.weights:
                self.processor = self.processor_seconds()
            time.sleep(0.01)

    def processor_seconds(self) -> float:
        """Of all threads until now."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_for(self, text: str) -> str:
        for line in self.process.stderr:
            self.printed.append(line)
            if text in line:
                return line
        raise SystemExit("the program ended:\n" + "".join(self.printed))

    def end(self, with_signal: int) -> int:
        self.process.send_signal(with_signal)
        status = self.process.wait(60)
        self.sampler.join()
        return status


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(ns|µs|ms|s)", text).groups()
    return float(number) * {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1}[unit]


def memory_plan(eitri: str, folder: pathlib.Path) -> dict:
    flags = ["--max-model-len", "256", "--max-num-seqs", "1", "--max-num-batched-tokens", "16", "--num-gpu-blocks-override", "32"]
    command = [eitri, "inspect", "--json", str(folder), *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["memory_plan"]


def measure(a: argparse.Namespace, folder: pathlib.Path) -> bool:
    start = time.monotonic()
    files = write_checkpoint(folder, a.layers)
    size = sum(path.stat().st_size for path in files)
    plan = memory_plan(a.eitri, folder)
    planned = plan["total"]
    print(f"{len(files)} shards, {size / 1e9:.2f} GB, written in {time.monotonic() - start:.0f} s; memory plan: "
          f"{planned / 1e9:.2f} GB", flush=True)
    good = True
    for _ in range(a.rounds):
        for state in ("cold", "warm"):
            drop(files)
            if state == "warm":
                cat(files)
            before = cached_bytes(files) / size
            cat_time, cat_processor = cat(files)
            cat_rate = size / cat_time
            drop(files)
            if state == "warm":
                cat(files)
            start = time.monotonic()
            load = Load(a.eitri, folder, a.threads, plan["weights"])
            line = load.wait_for("model loaded")
            plain = re.sub(r"\x1b\[[\d;]*m", "", line)
            rate = size / seconds(re.search(r"weights=(\S+)", plain)[1])
            load.wait_for("ready on")
            ready = time.monotonic() - start
            left = cached_bytes(files)
            load.end(signal.SIGTERM)
            peak, bound = load.peak["VmHWM"], 1.05 * planned + 256e6
            good &= peak <= bound
            print(f"{state} ({100 * before:.0f} % of the files in the page cache before): cat {cat_rate / 1e9:.2f} GB/s, load {rate / 1e9:.2f} GB/s = "
                  f"{rate / cat_rate:.2f} of it (processor: {cat_processor:.2f} s and {load.processor:.2f} s), ready after {ready:.2f} s; peak RSS {peak / 1e9:.2f} GB = {peak / planned:.3f} x "
                  f"(bound {bound / 1e9:.2f}; anonymous {load.peak['RssAnon'] / 1e9:.2f}, of files {load.peak['RssFile'] / 1e9:.2f}), "
                  f"{left / 1e6:.0f} MB of the files left in the page cache", flush=True)
    return good


def interrupt(a: argparse.Namespace, folder: pathlib.Path) -> bool:
    """Whether Ctrl-C in the middle of a load ends the process and leaves no file."""
    temporary = pathlib.Path(tempfile.gettempdir())
    before = {*folder.iterdir(), *temporary.iterdir()}
    load = Load(a.eitri, folder, a.threads, 0)
    while load.peak["RssAnon"] < 500e6 and load.process.poll() is None:
        time.sleep(0.01)
    status = load.end(signal.SIGINT)
    new = {*folder.iterdir(), *temporary.iterdir()} - before
    finished = any("ready on" in line for line in load.process.stderr)
    print(f"interrupted at {load.peak['RssAnon'] / 1e9:.2f} GB: status {status}, new files: {sorted(map(str, new)) or 'none'}")
    return status != 0 and not new and not finished


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eitri")
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--folder")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eitri-load-", dir=a.folder) as name:
        good = measure(a, pathlib.Path(name))
        good &= interrupt(a, pathlib.Path(name))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
