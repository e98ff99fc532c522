"""Checks the hand-written test set: well formed, in keeping with the tools, and made of texts that training never sees.

usage: python check_hand_written.py FILE [--turns 20000]

Texts are compared without case and punctuation; every user message of the file counts but the earlier turns of a
conversation, which are plain commands on purpose.
"""

import argparse
import collections
import json
import pathlib
import random
import re

import conversation
from tools import TOOLS

CATEGORIES = "move turn go_to pick place set_speed stop report say several follow-up question refusal".split()
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
TYPES = {"string": str, "number": (int, float)}


def plain(text: str) -> str:
    """The words alone, in lower case."""
    return " ".join(re.findall(r"[\w'%°/-]+(?:\.\d+)?", text.lower()))


def check_call(name: str, arguments: dict) -> None:
    schema = SCHEMAS[name]
    assert set(arguments) == set(schema["properties"]) == set(schema["required"]), (name, arguments)
    for key, value in arguments.items():
        described = schema["properties"][key]
        assert isinstance(value, TYPES[described["type"]]) and value in described.get("enum", [value]), (name, key, value)


def check_entry(entry: dict) -> None:
    assert set(entry) == {"id", "category", "messages", "expected", "thinking"} and entry["category"] in CATEGORIES, entry
    assert isinstance(entry["thinking"], bool) and entry["messages"][-1]["role"] in ("user", "tool"), entry["id"]
    expected = entry["expected"]
    assert len(expected) == 1 and next(iter(expected)) in ("calls", "text", "refusal"), entry["id"]
    for call in expected.get("calls", []):
        check_call(call["name"], call["arguments"])
    for message in entry["messages"]:
        for call in message.get("tool_calls", []):
            check_call(call["function"]["name"], json.loads(call["function"]["arguments"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--turns", type=int, default=20_000)
    a = parser.parse_args()
    entries = json.loads(a.file.read_text())
    for entry in entries:
        check_entry(entry)
    assert len({entry["id"] for entry in entries}) == len(entries), "an id occurs twice"
    texts = {plain(entry["messages"][-1]["content"]): entry["id"] for entry in entries if entry["messages"][-1]["role"] == "user"}
    seen, index, met = 0, 0, {}
    while seen < a.turns:
        for branch in conversation.scene(random.Random(f"check-{index}"), "train", 32).branches:
            seen += len(branch.turns)
            met |= {texts[plain(t.user)]: t.user for t in branch.turns if plain(t.user) in texts}
        index += 1
    count = collections.Counter(entry["category"] for entry in entries)
    print(f"{len(entries)} commands: " + ", ".join(f"{kind} {count[kind]}" for kind in CATEGORIES))
    assert not met, f"the generator writes hand-written texts: {met}"
    print(f"none among {seen} generated turns")


if __name__ == "__main__":
    main()
