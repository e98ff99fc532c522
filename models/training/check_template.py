"""Checks that `conversation.py` writes byte for byte what Qwen3's chat template renders.

usage: python check_template.py     (needs jinja2)
"""

import json
import pathlib
import random

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

import conversation
from tools import TOOLS


def render(messages: list[dict], tools: list[dict], **more) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(pathlib.Path(__file__).with_name("chat_template.jinja").read_text())
    return template.render(messages=messages, tools=tools, add_generation_prompt=True, **more)


def messages_of(scene: conversation.Scene, branch: conversation.Branch) -> list[dict]:
    messages = [{"role": "system", "content": scene.system}] if scene.system else []
    for i, turn in enumerate(branch.turns):
        messages.append({"role": "user", "content": turn.user})
        if i + 1 < len(branch.turns):
            calls = [{"type": "function", "function": {"name": name, "arguments": arguments}} for name, arguments in turn.calls]
            messages.append({"role": "assistant", "content": turn.text, "tool_calls": calls})
    return messages


def main() -> None:
    rng, count = random.Random(7), 0
    for _ in range(100):
        scene = conversation.scene(rng, "train", 8)
        tools = [json.loads(line) for line in scene.prefix.split("<tools>\n", 1)[1].split("\n</tools>")[0].split("\n")] if "<tools>\n" in scene.prefix else TOOLS
        for branch in scene.branches:
            expected = render(messages_of(scene, branch), tools, **({} if branch.thinking else {"enable_thinking": False}))
            assert scene.prefix + branch.context == expected, (scene.prefix + branch.context, expected)
            count += 1
    print(f"{count} conversations equal the template's rendering")


if __name__ == "__main__":
    main()
