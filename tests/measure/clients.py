"""Many clients at once against their solo runs, with memory and preemptions counted. Standard library only.

usage: python clients.py BASE_URL [--pid PID] [--clients 64] [--longest 2000] [--tokens 32] [--rounds 3] [--vocabulary 2000]

Prompts are 1 to LONGEST random tokens, every second client samples with a seed, every fifth leaves after its first tokens. Each answer that is
finished must equal, token by token, what the same request gets alone. Prints preemptions, blocks in use afterwards, and with --pid the
server's resident memory after each round: a leak grows with the rounds. Exit status 1 where an answer differs or blocks stay taken.
"""

import argparse
import http.client
import json
import pathlib
import random
import threading
import time
import urllib.parse


def request(base: str, path: str, body: dict | None = None) -> http.client.HTTPResponse:
    url = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=3600)
    if body is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{path}: status {response.status}: {response.read().decode()}")
    response.connection = connection  # closing the response alone would leave the socket open
    return response


def body(client: int, a: argparse.Namespace) -> dict:
    rng = random.Random(client)
    prompt = [rng.randrange(a.vocabulary) for _ in range(rng.randint(1, a.longest))]
    return {"prompt": prompt, "max_tokens": a.tokens, "ignore_eos": True, "seed": client, "temperature": 0.0 if client % 2 else 0.8,
            "return_token_ids": True}


def answer(base: str, client: int, a: argparse.Namespace) -> list[int]:
    return json.load(request(base, "/v1/completions", body(client, a)))["choices"][0]["token_ids"]


def vanish(base: str, client: int, a: argparse.Namespace) -> None:
    response = request(base, "/v1/completions", body(client, a) | {"stream": True, "max_tokens": 10 * a.tokens})
    response.readline()
    response.connection.close()
    response.close()


def metrics(base: str) -> dict[str, float]:
    lines = request(base, "/metrics").read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {key.split("{")[0]: float(value) for key, value in pairs}


def resident_mb(pid: int | None) -> float:
    if pid is None:
        return float("nan")
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("--pid", type=int)
    for name, default in (("clients", 64), ("longest", 2000), ("tokens", 32), ("rounds", 3), ("vocabulary", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    start = time.monotonic()
    alone = {client: answer(a.base, client, a) for client in range(a.clients) if client % 5 != 4}
    print(f"{len(alone)} solo runs in {time.monotonic() - start:.1f} s; resident {resident_mb(a.pid):.1f} MB", flush=True)
    wrong = 0
    for round_number in range(a.rounds):
        start, got = time.monotonic(), {}
        before = metrics(a.base)["vllm:num_preemptions_total"]

        def client_thread(client: int) -> None:
            if client % 5 == 4:
                vanish(a.base, client, a)
            else:
                got[client] = answer(a.base, client, a)

        threads = [threading.Thread(target=client_thread, args=(client,)) for client in range(a.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        different = [client for client, tokens in alone.items() if got.get(client) != tokens]
        wrong += len(different)
        for _ in range(1000):  # those who left are noticed at the next token
            after = metrics(a.base)
            if after["vllm:num_requests_running"] + after["vllm:num_requests_waiting"] == 0:
                break
        used = after["vllm:kv_cache_usage_perc"]
        wrong += used != 0
        print(f"round {round_number + 1}: {time.monotonic() - start:.1f} s, {len(different)} answers differ {different[:5]}, "
              f"{after['vllm:num_preemptions_total'] - before:.0f} preemptions, {100 * used:.1f} % of blocks in use, "
              f"resident {resident_mb(a.pid):.1f} MB", flush=True)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
