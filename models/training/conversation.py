"""From worlds to training sequences: a system block shared by many independent short conversations.

Every piece of text is what Qwen3's chat template renders for the same messages (checked by `check_template.py`), so
that a server which renders requests through the template meets exactly what was trained.
"""

import json
import random
from dataclasses import dataclass

import names
import talk
from commands import World
from tools import TOOLS

_TOOLS_HEAD = ("# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures "
               "within <tools></tools> XML tags:\n<tools>")
_TOOLS_TAIL = ("\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n"
               "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n")


@dataclass
class Branch:
    """What follows the system block: text without loss, then the answer, which is learnt."""

    context: str
    answer: str
    kind: str
    turns: list
    thinking: bool


@dataclass
class Scene:
    """One system block and the conversations that share it."""

    system: str
    prefix: str
    branches: list[Branch]


def calls_text(calls: list[tuple[str, dict]]) -> str:
    return "\n".join(f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}\n</tool_call>' for name, arguments in calls)


def answer_text(turn: talk.Turn) -> str:
    return calls_text(turn.calls) if turn.calls else turn.text


def user_text(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n"


def branch(turns: list[talk.Turn], thinking: bool) -> Branch:
    """History as the template renders it, then the last answer with or without a plan."""
    context = "".join(user_text(t.user) + f"<|im_start|>assistant\n{answer_text(t)}<|im_end|>\n" for t in turns[:-1])
    last = turns[-1]
    context += user_text(last.user) + "<|im_start|>assistant\n"
    if thinking:
        answer = f"<think>\n{last.plan[0].upper() + last.plan[1:]}.\n</think>\n\n{answer_text(last)}<|im_end|>\n"
    else:
        context += "<think>\n\n</think>\n\n"
        answer = f"{answer_text(last)}<|im_end|>\n"
    return Branch(context, answer, last.kind, turns, thinking)


_OPENING = ["You are a robot.", "You control a small mobile robot with an arm.", "You are a helpful robot.", "You are the voice of a small mobile robot.",
            "You drive a robot with one arm. Answer briefly.", "You are a robot in a lab."]


def system_text(rng: random.Random, world: World, now: talk.State | None, lists: bool) -> str:
    parts = [rng.choice(_OPENING)] if rng.random() < 0.8 else []
    if lists:
        parts.append("Known places: " + ", ".join(world.places) + ".")
        if rng.random() < 0.6:
            parts.append("Objects: " + ", ".join(world.things) + ".")
    if now:
        parts.append(now.block())
    return "\n".join(parts)


def prefix_text(system: str, tools: list[dict]) -> str:
    lead = system + "\n\n" if system else ""
    return "<|im_start|>system\n" + lead + _TOOLS_HEAD + "".join("\n" + json.dumps(t, ensure_ascii=False) for t in tools) + _TOOLS_TAIL


def world_of(rng: random.Random, split: str) -> World:
    unique = lambda make, n: list(dict.fromkeys(names.draw(rng, make, split) for _ in range(n)))
    return World(unique(names.place, rng.randint(3, 8)), unique(names.thing, rng.randint(3, 8)), unique(names.spot, rng.randint(2, 5)))


def _turns(rng: random.Random, world: World, now: talk.State | None, lists: bool, split: str) -> list[talk.Turn]:
    kind = rng.random()
    if kind < 0.46:
        return [talk.single(rng, world)]
    if kind < 0.70:
        return [talk.several(rng, world)]
    if kind < 0.84:
        return list(talk.follow_up(rng, world))
    if kind < 0.90:
        return [talk.refused(rng, world)]
    if kind < 0.94 and lists:
        return [talk.unknown_place(rng, world, split)]
    if now:
        return [talk.asked(rng, now)]
    return [talk.asked_without_state(rng)]


def _admissible(turns: list[talk.Turn], split: str) -> bool:
    """Training never sees a held-out combination of words; the held-out split has nothing else."""
    return names.held_out(turns[-1].user.lower()) == (split == "held-out")


def scene(rng: random.Random, split: str, branches: int) -> Scene:
    """A system block with `branches` independent conversations."""
    world = world_of(rng, split)
    lists = rng.random() < 0.7
    now = talk.state(rng, world) if rng.random() < 0.5 else None
    tools = TOOLS if rng.random() < 0.8 else rng.sample(TOOLS, len(TOOLS))
    system = system_text(rng, world, now, lists)
    if not lists:  # then any name will do, and a wider choice teaches more
        world = World([names.draw(rng, names.place, split) for _ in range(40)], [names.draw(rng, names.thing, split) for _ in range(40)],
                      [names.draw(rng, names.spot, split) for _ in range(40)])
    made: list[Branch] = []
    while len(made) < branches:
        turns = _turns(rng, world, now, lists, split)
        if _admissible(turns, split):
            made.append(branch(turns, rng.random() < 0.3))
    return Scene(system, prefix_text(system, tools), made)
