"""Exact-match accuracy of a run, by category: on the generator's held-out split, or on a file of hand-written commands.

usage: python evaluate.py RUN_DIR --tokenizer TOK_DIR [--scenes 40] [--hand-written FILE] [--show 5]

An answer is right where the most probable token is the expected one at every position: then, and only then, greedy
decoding writes the expected answer.  One pass per scene is enough.  Of a thinking answer the plan must match too, which is
stricter than need be; hand-written commands are judged without thinking, a refusal by its first word.
The judge of record is `cargo xtask eval robot`, which goes through the server; this one is for the time of training.
"""

import argparse
import collections
import json
import pathlib
import random

import torch
from tokenizers import Tokenizer

import check_template
import conversation
import model
from tools import TOOLS

Case = tuple[str, str, str, str]  # category, what was asked, context, answer


@torch.no_grad()
def judge(robot: model.Robot, tokenizer: Tokenizer, prefix: str, cases: list[Case]) -> list[tuple[bool, str]]:
    """For each case whether the answer is right, and the text up to the first wrong token."""
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    batch = model.make_batch(robot.s, ids(prefix), [(ids(context), ids(answer)) for _, _, context, answer in cases])
    best = robot(batch).argmax(-1)
    verdicts = []
    for i in range(len(cases)):
        own = batch.owner == i
        wanted, got = batch.targets[own].tolist(), best[own].tolist()
        end = next((at for at, (w, g) in enumerate(zip(wanted, got)) if w != g), len(wanted))
        verdicts.append((end == len(wanted), tokenizer.decode(got[: end + 1], skip_special_tokens=False)))
    return verdicts


def generated(scenes: int):
    """The held-out split as (prefix, cases)."""
    for index in range(scenes):
        scene = conversation.scene(random.Random(f"held-out-{index}"), "held-out", 24)
        yield scene.prefix, [(b.kind, " | ".join(t.user for t in b.turns), b.context, b.answer.removesuffix("\n")) for b in scene.branches]


def hand_written(path: pathlib.Path):
    """The commands of a file, one group each, rendered by the chat template."""
    template = check_template.template()
    for entry in json.loads(path.read_text()):
        expected, messages = entry["expected"], [dict(m) for m in entry["messages"]]
        for message in messages:  # OpenAI's calls hold their arguments as text, which the template takes as it is
            message["content"] = message.get("content") or ""
        context = template.render(messages=messages, tools=TOOLS, add_generation_prompt=True, enable_thinking=False)
        calls = [(call["name"], call["arguments"]) for call in expected.get("calls", [])]
        answer = conversation.calls_text(calls) + "<|im_end|>" if calls else "Sorry" if expected.get("refusal") else expected["text"] + "<|im_end|>"
        yield "", [(entry["category"], f"{entry['id']}: {messages[-1]['content']}", context, answer)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--hand-written", type=pathlib.Path)
    parser.add_argument("--show", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    state = torch.load(a.run / "state.pt", weights_only=True)
    robot = model.Robot(model.Shape(**state["shape"]))
    robot.load_state_dict(state["model"])
    tokenizer = Tokenizer.from_file(str(a.tokenizer / "tokenizer.json"))
    right, total, shown = collections.Counter(), collections.Counter(), 0
    for prefix, cases in hand_written(a.hand_written) if a.hand_written else generated(a.scenes):
        for (kind, asked, _, answer), (same, got) in zip(cases, judge(robot, tokenizer, prefix, cases)):
            total[kind] += 1
            right[kind] += same
            if not same and shown < a.show:
                shown += 1
                print(f"{asked!r}\n  wanted {answer!r}\n  got    {got!r} ...")
    for kind in sorted(total):
        print(f"{kind:15} {right[kind]:4} of {total[kind]:4}  {100 * right[kind] / total[kind]:5.1f} %")
    print(f"{'all':15} {right.total():4} of {total.total():4}  {100 * right.total() / total.total():5.1f} %")


if __name__ == "__main__":
    main()
