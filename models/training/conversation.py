"""From worlds to training sequences: a system block shared by many independent short conversations.

Every piece of text is what Qwen3's chat template renders for the same messages (checked by `check_template.py`), so
that a server which renders requests through the template meets exactly what was trained.
"""

import json
import random
from dataclasses import dataclass

import follow_ups
import names
import questions
import refusals
import talk
from commands import World
from tools import TOOLS

_TOOLS_HEAD = ("# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures "
               "within <tools></tools> XML tags:\n<tools>")
_TOOLS_TAIL = ("\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n"
               "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n")


@dataclass
class Branch:
    """What follows the system block: text without loss, then the answer, which is learnt.

    The last of `turns` is the one to be answered: by its calls or text, or where `after_tools` by its reply.
    """

    context: str
    answer: str
    kind: str
    turns: list[talk.Turn]
    thinking: bool
    after_tools: bool = False


@dataclass
class Scene:
    """One system block and the conversations that share it; `tools` is empty where the request has none."""

    system: str
    tools: list[dict]
    prefix: str
    branches: list[Branch]


def calls_text(calls: list[tuple[str, dict]]) -> str:
    return "\n".join(f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}\n</tool_call>' for name, arguments in calls)


def answer_text(turn: talk.Turn) -> str:
    return calls_text(turn.calls) if turn.calls else turn.text


def messages_of(branch: Branch) -> list[dict]:
    """The conversation before its last answer as OpenAI messages, without the system message."""
    messages: list[dict] = []
    for turn in branch.turns:
        last = turn is branch.turns[-1]
        messages.append({"role": "user", "content": turn.user})
        if last and not branch.after_tools:
            break
        calls = [{"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}} for i, (name, arguments) in enumerate(turn.calls)]
        messages.append({"role": "assistant", "content": turn.text} | ({"tool_calls": calls} if calls else {}))
        messages += [{"role": "tool", "tool_call_id": f"call_{i}", "content": result} for i, result in enumerate(turn.results)]
        if turn.results and not last:
            messages.append({"role": "assistant", "content": turn.reply})
    return messages


def _message_text(message: dict) -> str:
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", [])]
    return f"<|im_start|>{message['role']}\n{message['content']}{calls_text(calls)}<|im_end|>\n"


def _context(messages: list[dict]) -> str:
    """The messages as the template renders them; the results of one answer share a user block."""
    text = ""
    for i, message in enumerate(messages):
        if message["role"] != "tool":
            text += _message_text(message)
            continue
        text += "<|im_start|>user" if messages[i - 1]["role"] != "tool" else ""
        text += f"\n<tool_response>\n{message['content']}\n</tool_response>"
        text += "<|im_end|>\n" if i + 1 == len(messages) or messages[i + 1]["role"] != "tool" else ""
    return text


def branch(turns: list[talk.Turn], thinking: bool, after_tools: bool = False) -> Branch:
    """History as the template renders it, then the last answer with or without a plan."""
    last = turns[-1]
    made = Branch("", "", "reply" if after_tools else last.kind, turns, thinking, after_tools)
    plan, answer = ("say what came of it", last.reply) if after_tools else (last.plan, answer_text(last))
    made.context = _context(messages_of(made)) + "<|im_start|>assistant\n"
    if thinking:
        made.answer = f"<think>\n{plan[0].upper() + plan[1:]}.\n</think>\n\n{answer}<|im_end|>\n"
    else:
        made.context += "<think>\n\n</think>\n\n"
        made.answer = f"{answer}<|im_end|>\n"
    return made


_OPENING = ["You are a robot.", "You control a small mobile robot with an arm.", "You are a helpful robot.", "You are the voice of a small mobile robot.",
            "You drive a robot with one arm. Answer briefly.", "You are a robot in a lab.", "You are Eitri, a small robot.", "You are a service robot.",
            "You are a helpful assistant.", "You are a mobile manipulator. Use the functions.", "You are the robot of a warehouse.", "You help people at home."]
_PLACES = ["Known places: {}.", "Known places: {}.", "Places: {}.", "You know these places: {}.", "The places you can go to are {}.", "Locations: {}.",
           "You can go to: {}.", "Map: {}.", "Places:\n- {}"]
_OBJECTS = ["Objects: {}.", "Objects: {}.", "You see: {}.", "Known objects: {}.", "Objects around you: {}.", "The objects here are {}.", "Items: {}.",
            "Objects:\n- {}"]


def _listed(form: str, items: list[str]) -> str:
    return form.format(("\n- " if "\n" in form else ", ").join(items))


def system_text(rng: random.Random, world: World, now: questions.State | None, lists: bool) -> str:
    parts = [rng.choice(_OPENING)] if rng.random() < 0.8 else []
    facts = []
    if lists:
        facts.append(_listed(rng.choice(_PLACES), world.places))
        if rng.random() < 0.6:
            facts.append(_listed(rng.choice(_OBJECTS), world.things))
    if now:
        facts.append(now.block(rng.choice([0, 0, 0, 1, 2, 3])))
    rng.shuffle(facts)
    return rng.choice(["\n", "\n", "\n\n", " "] if not any("\n" in fact for fact in facts) else ["\n", "\n\n"]).join(parts + facts)


def prefix_text(system: str, tools: list[dict]) -> str:
    if not tools:
        return f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    lead = system + "\n\n" if system else ""
    return "<|im_start|>system\n" + lead + _TOOLS_HEAD + "".join("\n" + json.dumps(t, ensure_ascii=False) for t in tools) + _TOOLS_TAIL


def _unique(rng: random.Random, make, split: str, count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[names.draw(rng, make, split)] = None
    return list(found)


def _world(rng: random.Random, split: str) -> World:
    return World(*(_unique(rng, make, split, rng.randint(2, most)) for make, most in ((names.place, 8), (names.thing, 8), (names.spot, 5))))


def _turns(rng: random.Random, world: World, now: questions.State | None, lists: bool, split: str) -> list[talk.Turn]:
    kind = rng.random()
    if kind < 0.40:
        return [talk.single(rng, world)]
    if kind < 0.61:
        return [talk.several(rng, world)]
    if kind < 0.65:
        return [talk.corrected(rng, world)]
    if kind < 0.80:
        turns = follow_ups.follow_up(rng, world, now)
        answered = rng.random() < 0.4
        return [questions.with_results(rng, t, world) if answered and t.calls else t for t in turns[:-1]] + turns[-1:]
    if kind < 0.88:
        return [refusals.refused(rng, world)]
    if kind < 0.90:
        return [questions.small_talk(rng)]
    if kind < 0.93 and lists:
        return [refusals.unknown_place(rng, world, split)]
    if kind < 0.94 and lists:
        return [questions.asked_places(rng, world)]
    return [questions.asked(rng, now) if now else questions.asked_without_state(rng)]


def _after_tools(rng: random.Random, world: World) -> list[talk.Turn]:
    """A command or question whose results have come in; only where nothing is known can a question have led to a call."""
    kinds = [talk.single, talk.single, talk.several] + ([] if world.informed else [lambda r, _: questions.asked_without_state(r)] * 2)
    turn = rng.choice(kinds)(rng, world)
    return [questions.with_results(rng, turn, world)]


def _without_tools(rng: random.Random, world: World, now: questions.State | None) -> list[talk.Turn]:
    """Where the request has no functions, the robot can only talk."""
    if rng.random() < 0.3:
        return [questions.small_talk(rng)]
    if now and rng.random() < 0.5:
        return [questions.asked(rng, now)]
    turn = rng.choice([talk.single, talk.several, refusals.refused])(rng, world)
    return [talk.Turn(turn.user, [], refusals.REFUSAL, "there are no functions", "refusal")]


def _admissible(turns: list[talk.Turn], split: str) -> bool:
    """Training never sees a held-out combination of words; the held-out split has nothing else."""
    return names.held_out("\n".join(turn.user.lower() for turn in turns)) == (split == "held-out")


def scene(rng: random.Random, split: str, branches: int) -> Scene:
    """A system block with `branches` independent conversations."""
    world = _world(rng, split)
    lists = rng.random() < 0.6
    now = questions.state(rng, world) if rng.random() < 0.5 else None
    kind = rng.random()
    tools = TOOLS if kind < 0.85 else rng.sample(TOOLS, len(TOOLS)) if kind < 0.97 else []
    system = system_text(rng, world, now, lists)
    if not lists:  # then any name will do, and a wider choice teaches more
        world = World(*(_unique(rng, make, split, 30) for make in (names.place, names.thing, names.spot)))
    world.informed, world.varied = now is not None, split == "train"
    made: list[Branch] = []
    while len(made) < branches:
        after_tools = bool(tools) and rng.random() < 0.05
        turns = _after_tools(rng, world) if after_tools else _turns(rng, world, now, lists, split) if tools else _without_tools(rng, world, now)
        if _admissible(turns, split):
            made.append(branch(turns, rng.random() < 0.3, after_tools))
    return Scene(system, tools, prefix_text(system, tools), made)
