"""Records greedy answers of the bundled model to 30 fixed conversations.

usage: python make_robot.py BASE_URL > robot.json

BASE_URL is `eitri serve robot` with `--activations exact --kv-cache-dtype float32`. The tokens are Eitri's own; a test of
eitri-models lets candle-transformers (f32) choose each of them anew, so that the file is no oracle by itself. Standard library only.
"""

import json
import pathlib
import sys
import urllib.request

CONVERSATIONS = 30


def main() -> None:
    models = pathlib.Path(__file__).resolve().parent.parent.parent / "models"
    tools = json.loads((models / "robot-tools.json").read_text())
    commands = json.loads((models / "robot-commands.json").read_text())
    chosen = commands[:: max(1, len(commands) // CONVERSATIONS)][:CONVERSATIONS]
    lines = []
    for i, entry in enumerate(chosen):
        body = {"messages": entry["messages"], "tools": tools, "temperature": 0, "max_tokens": 200, "return_token_ids": True,
                "chat_template_kwargs": {"enable_thinking": i % 3 == 0}}
        request = urllib.request.Request(sys.argv[1].rstrip("/") + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)
        del body["return_token_ids"]
        lines.append(json.dumps({"id": entry["id"], "request": {k: v for k, v in body.items() if k != "tools"},
                                 "prompt": answer["prompt_token_ids"], "tokens": answer["choices"][0]["token_ids"]}, ensure_ascii=False))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
