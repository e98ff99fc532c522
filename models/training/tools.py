"""The robot's functions, in OpenAI's format; `python tools.py` writes robot-tools.json."""

import json
import pathlib


def _function(name: str, description: str, **parameters: dict) -> dict:
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": parameters, "required": list(parameters)}}}


TOOLS = [
    _function("move", "Drive a distance in a direction.",
              direction={"type": "string", "enum": ["forward", "backward", "left", "right"]},
              distance_m={"type": "number", "description": "Metres."}),
    _function("turn", "Turn on the spot.", degrees={"type": "number", "description": "Left is positive, right is negative."}),
    _function("go_to", "Drive to a known place.", place={"type": "string"}),
    _function("pick", "Pick up an object with the arm.", object={"type": "string"}),
    _function("place", "Put the held object down.", object={"type": "string"}, location={"type": "string"}),
    _function("set_speed", "Set the driving speed.", mps={"type": "number", "description": "Metres per second."}),
    _function("stop", "Stop at once."),
    _function("report", "Report a value.", what={"type": "string", "enum": ["battery", "position", "speed", "status"]}),
    _function("say", "Say a text aloud.", text={"type": "string"}),
]

if __name__ == "__main__":
    target = pathlib.Path(__file__).resolve().parent.parent / "robot-tools.json"
    target.write_text(json.dumps(TOOLS, indent=2, ensure_ascii=False) + "\n")
    print(f"{len(TOOLS)} functions in {target.name}")
