"""Exact-match accuracy of a run on the generator's held-out split, by category, with torch and greedy decoding.

usage: python evaluate.py RUN_DIR --tokenizer TOK_DIR [--scenes 20] [--show 5]

The judge of record is `cargo xtask eval robot`, which goes through the server; this one is for the time of training.
"""

import argparse
import collections
import pathlib
import random

import torch
from tokenizers import Tokenizer

import conversation
import model


@torch.no_grad()
def answers(robot: model.Robot, tokenizer: Tokenizer, scene: conversation.Scene, most: int = 120) -> list[str]:
    """Greedy answers to all branches; recomputes the whole scene per token, which is slow and simple."""
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    end = tokenizer.token_to_id("<|im_end|>")
    prefix, contexts = ids(scene.prefix), [ids(b.context) for b in scene.branches]
    made: list[list[int]] = [[] for _ in contexts]
    open_ = set(range(len(contexts)))
    for _ in range(most):
        if not open_:
            break
        order = sorted(open_)
        for i in order:
            batch = model.make_batch(robot.s, prefix, [(contexts[i], made[i])]) if len(order) == 1 else None
            if batch is not None:
                made[i].append(int(robot.logits(robot.hidden(batch)[-1]).argmax()))
        if len(order) > 1:
            # make_batch sorts by length, so sort here the same way to know which row is whose.
            order.sort(key=lambda i: len(contexts[i]) + len(made[i]))
            batch = model.make_batch(robot.s, prefix, [(contexts[i], made[i]) for i in order])
            ends = torch.tensor([len(contexts[i]) + len(made[i]) for i in order]).cumsum(0) + len(prefix) - 1
            best = robot.logits(robot.hidden(batch)[ends]).argmax(-1)
            for i, token in zip(order, best.tolist()):
                made[i].append(token)
        open_ -= {i for i in order if made[i][-1] == end}
    return [tokenizer.decode([t for t in m if t != end], skip_special_tokens=False) for m in made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--show", type=int, default=5)
    a = parser.parse_args()
    torch.set_num_threads(2)
    state = torch.load(a.run / "state.pt", weights_only=True)
    robot = model.Robot(model.Shape(**state["shape"]))
    robot.load_state_dict(state["model"])
    tokenizer = Tokenizer.from_file(str(a.tokenizer / "tokenizer.json"))
    right, total, shown = collections.Counter(), collections.Counter(), 0
    for index in range(a.scenes):
        scene = conversation.scene(random.Random(f"held-out-{index}"), "held-out", 16)
        for branch, answer in zip(scene.branches, answers(robot, tokenizer, scene)):
            expected = branch.answer.removesuffix("<|im_end|>\n")
            # The plan is free text; what counts is what follows it.
            same = answer.split("</think>")[-1].strip() == expected.split("</think>")[-1].strip()
            total[branch.kind] += 1
            right[branch.kind] += same
            if not same and shown < a.show:
                shown += 1
                print(f"{branch.turns[-1].user!r}\n  wanted {expected!r}\n  got    {answer!r}")
    for kind in sorted(total):
        print(f"{kind:15} {right[kind]:4} of {total[kind]:4}  {100 * right[kind] / total[kind]:5.1f} %")
    print(f"{'all':15} {right.total():4} of {total.total():4}  {100 * right.total() / total.total():5.1f} %")


if __name__ == "__main__":
    main()
