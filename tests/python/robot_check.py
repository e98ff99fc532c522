"""Drives the bundled robot model through the OpenAI Python SDK: the tool loop, whole and streamed, sync and async.

usage: python robot_check.py BASE_URL ROBOT_TOOLS_JSON      (needs `openai`; see requirements.txt)

Prints one line per check and fails at the first that does not hold.
"""

import asyncio
import json
import pathlib
import sys

import openai

COMMAND = "Please drive forward two metres and then turn left by 90 degrees."
EXPECTED = [("move", {"direction": "forward", "distance_m": 2}), ("turn", {"degrees": 90})]
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


def calls_of(message) -> list[tuple[str, dict]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]


def whole(client: openai.OpenAI, tools: list, messages: list):
    return client.chat.completions.create(model="robot", messages=messages, tools=tools, temperature=0, extra_body=NO_THINKING).choices[0]


def streamed(client: openai.OpenAI, tools: list, messages: list):
    """The same through the SDK's own accumulation of deltas."""
    with client.chat.completions.stream(model="robot", messages=messages, tools=tools, temperature=0, extra_body=NO_THINKING) as stream:
        kinds = [event.type for event in stream]
        choice = stream.get_final_completion().choices[0]
    if choice.message.tool_calls:
        assert "tool_calls.function.arguments.delta" in kinds, kinds
    return choice


def loop(client: openai.OpenAI, tools: list, ask) -> None:
    """Call, tool results, answer, and a turn that needs the one before."""
    messages = [{"role": "user", "content": COMMAND}]
    choice = ask(client, tools, messages)
    assert choice.finish_reason == "tool_calls", choice
    assert calls_of(choice.message) == EXPECTED, choice.message
    ids = [call.id for call in choice.message.tool_calls]
    assert len(set(ids)) == 2, ids
    messages.append(choice.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
    messages += [{"role": "tool", "tool_call_id": call_id, "content": "ok"} for call_id in ids]
    choice = ask(client, tools, messages)
    assert choice.finish_reason == "stop" and not choice.message.tool_calls, choice
    assert choice.message.content == "Done.", choice.message
    messages += [{"role": "assistant", "content": choice.message.content}, {"role": "user", "content": "Now pick up the red cup."}]
    assert calls_of(ask(client, tools, messages).message) == [("pick", {"object": "red cup"})], messages


def thinking(client: openai.OpenAI, tools: list) -> None:
    choice = client.chat.completions.create(model="robot", messages=[{"role": "user", "content": "Pick up the red cup."}], tools=tools, temperature=0).choices[0]
    assert choice.message.reasoning and choice.message.reasoning == choice.message.reasoning_content, choice.message
    assert calls_of(choice.message) == [("pick", {"object": "red cup"})], choice.message


def no_call(client: openai.OpenAI, tools: list) -> None:
    message = whole(client, tools, [{"role": "system", "content": "Battery: 62 %\nPosition: x 1.0 m, y 2.0 m\nSpeed: 0.0 m/s\nStatus: idle\nHolding: nothing"},
                                    {"role": "user", "content": "How much battery is left?"}]).message
    assert message.content == "The battery is at 62 %." and not message.tool_calls, message
    none = client.chat.completions.create(model="robot", messages=[{"role": "user", "content": COMMAND}], tools=tools, tool_choice="none", temperature=0,
                                          extra_body=NO_THINKING).choices[0]
    assert none.finish_reason == "stop" and not none.message.tool_calls, none
    for choice in ("required", {"type": "function", "function": {"name": "move"}}):
        try:
            client.chat.completions.create(model="robot", messages=[{"role": "user", "content": COMMAND}], tools=tools, tool_choice=choice)
            raise AssertionError(f"{choice} must be refused")
        except openai.BadRequestError as error:
            assert "tool_choice" in str(error), error


async def many(base: str, tools: list) -> None:
    """Streams of several clients at once, each with its own call."""
    async with openai.AsyncOpenAI(base_url=base + "/v1", api_key="none", max_retries=0) as client:
        async def ask(metres: int) -> list:
            content = f"Move forward {metres} metres."
            stream = await client.chat.completions.create(model="robot", messages=[{"role": "user", "content": content}], tools=tools, temperature=0, stream=True,
                                                          extra_body=NO_THINKING)
            arguments, names, finish = "", [], None
            async for chunk in stream:
                for call in chunk.choices[0].delta.tool_calls or []:
                    names += [call.function.name] if call.function.name else []
                    arguments += call.function.arguments or ""
                finish = chunk.choices[0].finish_reason or finish
            assert finish == "tool_calls" and names == ["move"], (finish, names)
            return json.loads(arguments)

        answers = await asyncio.gather(*(ask(metres) for metres in range(2, 10)))
        assert answers == [{"direction": "forward", "distance_m": metres} for metres in range(2, 10)], answers


def main() -> None:
    base, tools = sys.argv[1].rstrip("/"), json.loads(pathlib.Path(sys.argv[2]).read_text())
    client = openai.OpenAI(base_url=base + "/v1", api_key="none", max_retries=0)
    loop(client, tools, whole)
    print("ok  loop", flush=True)
    loop(client, tools, streamed)
    print("ok  streamed loop", flush=True)
    thinking(client, tools)
    print("ok  thinking", flush=True)
    no_call(client, tools)
    print("ok  no call", flush=True)
    asyncio.run(many(base, tools))
    print("ok  many")


if __name__ == "__main__":
    main()
