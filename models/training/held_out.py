"""Writes the held-out split as requests, for `cargo xtask eval robot`: names and combinations of words that training never sees.

usage: python held_out.py [--scenes 48] [--branches 20] [--out ../robot-held-out.json]

The file is a list of scenes {"system", "tools", "cases"}; `tools` names the functions of the request in their order. A case is
{"category", "messages", "thinking", "expected"} as in ../robot-commands.json, its messages without the system message.
"""

import argparse
import json
import pathlib
import random

import conversation


def case(branch: conversation.Branch) -> dict:
    messages = conversation.messages_of(branch)
    for message in messages:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    last = branch.turns[-1]
    if branch.after_tools or not last.calls:
        expected = {"text": last.reply if branch.after_tools else last.text}
    else:
        expected = {"calls": [{"name": name, "arguments": arguments} for name, arguments in last.calls]}
    return {"category": branch.kind, "messages": messages, "thinking": branch.thinking, "expected": expected}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--branches", type=int, default=20)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "robot-held-out.json")
    a = parser.parse_args()
    scenes = []
    for index in range(a.scenes):
        scene = conversation.scene(random.Random(f"held-out-{index}"), "held-out", a.branches)
        scenes.append({"system": scene.system, "tools": [tool["function"]["name"] for tool in scene.tools], "cases": [case(b) for b in scene.branches]})
    lines = ",\n".join(json.dumps(scene, ensure_ascii=False) for scene in scenes)
    a.out.write_text(f"[\n{lines}\n]\n")
    print(f"{sum(len(scene['cases']) for scene in scenes)} cases in {a.out.name}, {a.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
