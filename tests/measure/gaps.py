"""Gaps between tokens of decoding clients while a long prompt arrives. Standard library only.

usage: python gaps.py BASE_URL [--clients 8] [--prompt 4000] [--tokens 200] [--bound-ms 200]

Starts the clients, waits until each has its first tokens, sends the long prompt, and prints the histogram of all clients' gaps
between two tokens, with and without the prompt. The bound is only compared and printed: give the server's --max-step-ms.
"""

import argparse
import http.client
import json
import threading
import time
import urllib.parse


def stream(base: str, prompt: list[int], tokens: int, arrivals: list[float], started: threading.Event) -> None:
    url = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)
    body = json.dumps({"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"status {response.status}: {response.read().decode()}")
    for line in response:
        if line.startswith(b"data: {"):
            arrivals.append(time.monotonic())
            if len(arrivals) == 3:
                started.set()


def gaps_ms(arrivals: list[list[float]], start: float, end: float) -> list[float]:
    return [1e3 * (b - a) for each in arrivals for a, b in zip(each, each[1:]) if start <= b and a <= end]


def show(title: str, gaps: list[float], bound: float) -> None:
    gaps = sorted(gaps)
    if not gaps:
        print(f"{title}: no gaps")
        return
    at = lambda share: gaps[min(len(gaps) - 1, int(share * len(gaps)))]
    print(f"{title}: {len(gaps)} gaps, p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms, longest {gaps[-1]:.1f} ms, over {bound:.0f} ms: {sum(g > bound for g in gaps)}")
    edge, width = 0.0, 5.0
    while edge < gaps[-1]:
        upper = edge + width
        count = sum(edge <= g < upper for g in gaps)
        if count:
            print(f"  {edge:6.0f} to {upper:6.0f} ms  {count:5}  {'#' * max(1, round(60 * count / len(gaps)))}")
        edge, width = upper, width * 1.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--bound-ms", type=float, default=200.0)
    a = parser.parse_args()
    ids = lambda seed, n: [1000 + (seed * 7919 + i * 104729) % 40000 for i in range(n)]
    arrivals: list[list[float]] = [[] for _ in range(a.clients)]
    started = [threading.Event() for _ in range(a.clients)]
    threads = [threading.Thread(target=stream, args=(a.base, ids(c, 32), a.tokens, arrivals[c], started[c])) for c in range(a.clients)]
    for thread in threads:
        thread.start()
    for event in started:
        event.wait(600)
    late: list[float] = []
    sent = time.monotonic()
    long = threading.Thread(target=stream, args=(a.base, ids(99, a.prompt), 4, late, threading.Event()))
    long.start()
    long.join()
    for thread in threads:
        thread.join()
    print(f"first token of the {a.prompt}-token prompt after {late[0] - sent:.2f} s")
    show("while the prompt is computed", gaps_ms(arrivals, sent, late[0]), a.bound_ms)
    show("afterwards", gaps_ms(arrivals, late[-1], float("inf")), a.bound_ms)


if __name__ == "__main__":
    main()
