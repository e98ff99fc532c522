"""Records what llama.cpp answers, greedily, for the same GGUF file that Eitri's tests load.

usage: python make_llama_cpp.py BASE_URL > smollm2_llama_cpp.json

BASE_URL is a `llama-server -m smollm2-135m-instruct-q4_1.gguf --parallel 1 --cache-ram 0` on this machine; for smollm2_llama_cpp_f32.json the
file is first widened with `llama-quantize --allow-requantize IN OUT F32` and the server has `-ctk f32 -ctv f32`. Each entry has the prompt's
token ids, the 64 (or fewer, if the model ended) generated ids, and for every generated token the two best log-probabilities, so that a test
can tell a near tie from a mistake. Standard library only.
"""

import json
import sys
import urllib.request

RAW = [
    "The capital of France is", "Once upon a time, there was a little robot who", "To make a cup of tea, first", "def fibonacci(n):\n",
    "The three laws of robotics are", "Water boils at a temperature of", "In the year 1969,", "My favourite animal is the", "1, 2, 3, 4, 5,",
    "The quick brown fox", "Q: What is 12 plus 7?\nA:", "A list of European countries:\n-", "The sun rises in the", "To sort a list in Python, you can",
    "Dear Sir or Madam,\n", "The robot turned left and", "import numpy as np\n", "Gravity is a force that", "Ein Beispiel für", "HTTP status code 404 means",
]
CHAT = [
    "What is the capital of Italy?", "Write a haiku about the sea.", "Explain gravity to a child.", "Name three colours.", "Who wrote Romeo and Juliet?",
    "How do I boil an egg?", "Translate 'good morning' into Spanish.", "What is 15 times 4?", "Give me a short greeting.", "List two uses of a hammer.",
    "What is a robot?", "Why is the sky blue?", "Tell me a fact about cats.", "How many days are in a week?", "What does CPU stand for?",
    "Suggest a name for a small robot.", "What is the opposite of hot?", "Write one sentence about rain.", "What is machine learning?", "Say hello in French.",
]


def post(base: str, path: str, body: dict) -> dict:
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)


def record(base: str, kind: str, text: str) -> dict:
    prompt = text
    if kind == "chat":
        prompt = post(base, "/apply-template", {"messages": [{"role": "user", "content": text}]})["prompt"]
    ids = post(base, "/tokenize", {"content": prompt, "add_special": False, "parse_special": True})["tokens"]
    answer = post(base, "/completion", {"prompt": ids, "n_predict": 64, "temperature": 0, "top_k": 1, "cache_prompt": False, "n_probs": 2,
                                        "return_tokens": True, "post_sampling_probs": False})
    steps = answer["completion_probabilities"]
    return {"kind": kind, "text": text, "prompt": prompt, "ids": ids, "tokens": answer["tokens"],
            "top": [[[t["id"], round(t["logprob"], 5)] for t in step["top_logprobs"][:2]] for step in steps], "content": answer["content"]}


def main() -> None:
    base = sys.argv[1].rstrip("/")
    cases = [record(base, "raw", t) for t in RAW] + [record(base, "chat", t) for t in CHAT]
    rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    print("[\n" + rows + "\n]")


if __name__ == "__main__":
    main()
