"""Greedy tokens of Eitri and llama.cpp on the same GGUF files, written by the one and by the other. Standard library only.

usage: python gguf.py EITRI LLAMA_BIN_FOLDER MODEL PROMPTS.json [--types q4_0,q8_0,q4_k_m,q5_k_m,q6_k] [--tokens 32] [--count N] [--folder DIR] [--show]

EITRI is the program; LLAMA_BIN_FOLDER has `llama-server` and `llama-quantize`; MODEL is what `eitri quantize` takes, a directory or GGUF file;
PROMPTS.json is a list of objects whose `ids` or `prompt` are token ids (`tests/golden/smollm2_llama_cpp.json`, `tests/golden/robot.json`).
MODEL is first written as bf16 GGUF by Eitri; each type is made from that once by `eitri quantize` and once by `llama-quantize`. Every file is
then served by Eitri with `--activations exact --kv-cache-dtype float32`, and by llama.cpp with `-ctk f32 -ctv f32` after `llama-quantize` has widened it to
F32: with the file as it is, llama.cpp rounds activations to 8 bits, and its own answers change. Where answers part, the log-probabilities of llama.cpp's
best two tokens at that place are compared: a small difference is a near tie, which the two may break differently. Exit status 1 where one is above 0.05.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

NEAR_TIE = 0.05


def post(base: str, path: str, body: dict) -> dict:
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A program that serves on loopback, stopped at the end of a `with` block."""

    def __init__(self, command: list[str]):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stderr.fileno(), False)

    def __enter__(self) -> str:
        log = b""
        for _ in range(1200):
            log += self.process.stderr.read() or b""
            if self.process.poll() is not None:
                raise SystemExit(f"{self.process.args[0]} ended: {log.decode(errors='replace')[-2000:]}")
            try:
                with urllib.request.urlopen(self.base + "/health", timeout=5) as response:
                    if response.status == 200:
                        os.set_blocking(self.process.stderr.fileno(), True)
                        # Whatever the program writes from now on must not fill the pipe.
                        subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)
                        return self.base
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.1)
        raise SystemExit(f"{self.process.args[0]} is not ready after two minutes")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)


def of_llama(base: str, ids: list[int], count: int) -> tuple[list[int], list[list[float]]]:
    """Tokens, and the two best log-probabilities for each."""
    answer = post(base, "/completion", {"prompt": ids, "n_predict": count, "temperature": 0, "top_k": 1, "cache_prompt": False, "n_probs": 2,
                                        "return_tokens": True, "post_sampling_probs": False})
    best = [[top["logprob"] for top in step["top_logprobs"][:2]] for step in answer["completion_probabilities"]]
    return answer["tokens"], best


def of_eitri(base: str, ids: list[int], count: int) -> list[int]:
    body = {"prompt": ids, "max_tokens": count, "temperature": 0, "return_token_ids": True}
    return post(base, "/v1/completions", body)["choices"][0]["token_ids"]


def compare(a: argparse.Namespace, file: pathlib.Path, prompts: list[list[int]]) -> tuple[int, list[tuple[int, int, float]]]:
    """How many answers are equal; and of the others prompt, place and difference of the best two."""
    wide = file.with_suffix(".f32.gguf")
    subprocess.run([a.llama / "llama-quantize", "--allow-requantize", file, wide, "F32", "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Server([a.llama / "llama-server", "-m", wide, "--parallel", "1", "--cache-ram", "0", "-c", "4096", "-t", "1", "-ctk", "f32", "-ctv", "f32"]) as base:
        theirs = [of_llama(base, ids, a.tokens) for ids in prompts]
    wide.unlink()
    with Server([a.eitri, "serve", file, "--activations", "exact", "--kv-cache-dtype", "float32"]) as base:
        ours = [of_eitri(base, ids, a.tokens) for ids in prompts]
    equal, parted = 0, []
    for index, ((tokens, best), own) in enumerate(zip(theirs, ours)):
        place = next((i for i, (x, y) in enumerate(zip(tokens, own)) if x != y), None)
        if place is None and abs(len(tokens) - len(own)) <= 1:  # one of the two may count the token that ends the answer
            equal += 1
        elif place is None:
            raise SystemExit(f"{file.name}, prompt {index}: {len(tokens)} tokens by llama.cpp, {len(own)} by Eitri")
        else:
            parted.append((index, place, best[place][0] - best[place][1]))
    return equal, parted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eitri", type=pathlib.Path)
    parser.add_argument("llama", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("prompts", type=pathlib.Path)
    parser.add_argument("--types", default="q4_0,q8_0,q4_k_m,q5_k_m,q6_k")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--count", type=int, help="only so many of the prompts")
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--show", action="store_true", help="prompt, place and difference of every answer that parts")
    a = parser.parse_args()
    prompts = [entry.get("ids") or entry["prompt"] for entry in json.loads(a.prompts.read_text())][: a.count]
    far = False
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        folder = pathlib.Path(folder)
        base = folder / "base.gguf"
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([a.eitri, "quantize", a.model, "--to", "bf16", "--out", base], **quiet)
        print(f"{'type':8} {'written by':10} {'MB':>7}  equal answers  largest difference of llama.cpp's best two where they part")
        for kind in a.types.split(","):
            written = {"eitri": folder / f"{kind}-eitri.gguf", "llama.cpp": folder / f"{kind}-llama.gguf"}
            subprocess.run([a.eitri, "quantize", base, "--to", kind, "--out", written["eitri"]], **quiet)
            subprocess.run([a.llama / "llama-quantize", base, written["llama.cpp"], kind.upper(), "2"], **quiet)
            for writer, file in written.items():
                equal, parted = compare(a, file, prompts)
                most = max((gap for _, _, gap in parted), default=0.0)
                far |= most > NEAR_TIE
                print(f"{kind:8} {writer:10} {file.stat().st_size / 1e6:7.1f}  {equal:4} of {len(prompts):3}    {most:8.3f}", flush=True)
                for index, place, gap in parted if a.show else []:
                    print(f"         prompt {index}, token {place}: {gap:.3f}")
                file.unlink()
    sys.exit(1 if far else 0)


if __name__ == "__main__":
    main()
