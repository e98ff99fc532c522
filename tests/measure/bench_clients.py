"""vLLM's own bench client and `eitri bench serve` in turns against one server.

usage: python bench_clients.py BASE_URL MODEL TOKENIZER_DIR EITRI CACHE [--version 0.10.1.1] [--rounds 5] [-- FLAG...]

EITRI is the binary; CACHE and what Python needs: see tests/python/vllm_client.py. Every round has a seed of its own, which both clients
get, the second of them in the even rounds first, so that a cache of prompts favours neither. FLAG are flags of both clients. Prints
each metric's median over the rounds and the median of the ratios Eitri / vLLM.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

COMPAT = {"0.10.1.1": "vllm-0.10", "0.11.0.post2": "vllm-0.11", "0.32.0": "vllm-0.32"}
ORACLE = pathlib.Path(__file__).resolve().parent.parent / "python" / "vllm_client.py"


def measure(command: list[str], flags: list[str], folder: str) -> dict[str, float]:
    saved = ["--save-result", "--result-dir", folder, "--result-filename", "result.json", "--percentile-metrics", "ttft,tpot,itl,e2el"]
    subprocess.run([*command, *flags, *saved, "--disable-tqdm"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    result = json.loads((pathlib.Path(folder) / "result.json").read_text())
    keys = [key for key in result if key.endswith(("_ms", "throughput")) and not key.startswith("std")]
    return {key: result[key] for key in [*keys, "duration", "total_input_tokens", "total_output_tokens"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("base_url", "model", "tokenizer", "eitri", "cache"):
        parser.add_argument(name)
    parser.add_argument("--version", default="0.10.1.1", choices=COMPAT)
    parser.add_argument("--rounds", type=int, default=5)
    own, flags = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, flags = own[:at], own[at + 1:]
    a = parser.parse_args(own)
    clients = {
        "eitri": [a.eitri, "bench", "serve", "--compat", COMPAT[a.version]],
        "vllm": [sys.executable, str(ORACLE), a.cache, "run", a.version],
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    with tempfile.TemporaryDirectory() as folder:
        for round_number in range(a.rounds):
            names = list(clients) if round_number % 2 else list(reversed(clients))
            for name in names:
                common = ["--base-url", a.base_url, "--model", a.model, "--tokenizer", a.tokenizer, "--seed", str(round_number)]
                results[name].append(measure(clients[name], [*common, *flags], folder))
    print(f"{'metric':<28} {'vllm':>12} {'eitri':>12} {'ratio':>8}")
    worst = 0.0
    for key in results["vllm"][0]:
        pairs = [(ours[key], theirs[key]) for ours, theirs in zip(results["eitri"], results["vllm"])]
        ratio = statistics.median(ours / theirs if theirs else 1.0 for ours, theirs in pairs)
        worst = max(worst, abs(ratio - 1))
        print(f"{key:<28} {statistics.median(t for _, t in pairs):>12.3f} {statistics.median(o for o, _ in pairs):>12.3f} {ratio:>8.4f}")
    print(f"largest difference: {worst:.2%}")


if __name__ == "__main__":
    main()
