"""Records what NumPy and Python draw.

usage: python make_draws.py > draws.json

Made with Python 3.11.7 and NumPy 2.4.6. A test of eitri-bench runs it again where Python has NumPy.
"""

import json
import random

import numpy as np

SEEDS = [0, 1, 42, 12345, 2**32 - 1]
RANGES = [(0, 1), (0, 2), (5, 8), (0, 151643), (1843, 2254), (0, 2**31 + 11), (-3, 4)]


def legacy(seed):
    np.random.seed(seed)
    integers = [np.random.randint(low, high, size=9).tolist() for low, high in RANGES]
    gamma = [np.random.gamma(shape=shape, scale=0.25) for shape in (1.0, 0.3, 2.5, 1.0, 0.9, 1.0001) for _ in range(7)]
    return {"integers": integers, "gamma": gamma, "permutation": np.random.permutation(23).tolist(), "after": np.random.randint(0, 1000, size=3).tolist()}


def generator(seed):
    rng = np.random.default_rng(seed)
    return {"integers": [rng.integers(low, high, size=9).tolist() for low, high in RANGES]}


def python(seed):
    random.seed(seed)
    items = list(range(29))
    random.shuffle(items)
    return {"shuffled": items, "chosen": random.choices(range(1000), k=12), "again": [random.randrange(count) for count in (1, 2, 7, 1000, 2**31)]}


print(json.dumps({"ranges": RANGES, "seeds": [{"seed": seed, "legacy": legacy(seed), "generator": generator(seed), "python": python(seed)} for seed in SEEDS]}))
