"""Checks that `conversation.py` writes byte for byte what Qwen3's chat template renders.

usage: python check_template.py     (needs jinja2)
"""

import json
import pathlib
import random

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

import conversation


def template():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return environment.from_string(pathlib.Path(__file__).with_name("chat_template.jinja").read_text())


def main() -> None:
    rng, count, rendering = random.Random(7), 0, template()
    for i in range(150):
        scene = conversation.scene(rng, ["train", "held-out"][i % 2], 8)
        for branch in scene.branches:
            messages = ([{"role": "system", "content": scene.system}] if scene.system else []) + conversation.messages_of(branch)
            mode = {} if branch.thinking else {"enable_thinking": False}
            expected = rendering.render(messages=messages, tools=scene.tools, add_generation_prompt=True, **mode)
            assert scene.prefix + branch.context == expected, (scene.prefix + branch.context, expected)
            count += 1
    print(f"{count} conversations equal the template's rendering")


if __name__ == "__main__":
    main()
