"""Drives a running server through the OpenAI Python SDK: sync, async, streaming, errors.

usage: python sdk_check.py BASE_URL      (needs `openai`; see requirements.txt)

Prints one line per check and fails at the first that does not hold.
"""

import asyncio
import sys

import openai


def models(client: openai.OpenAI) -> str:
    listed = client.models.list().data
    assert len(listed) >= 1 and listed[0].object == "model", listed
    return listed[0].id


def chat(client: openai.OpenAI, model: str) -> None:
    messages = [{"role": "user", "content": "What is the capital of Italy?"}]
    whole = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=12)
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and choice.message.content, whole
    assert choice.finish_reason in ("stop", "length"), whole
    assert whole.usage.completion_tokens <= 12 and whole.usage.prompt_tokens > 5, whole.usage
    pieces, finish, usage = [], None, None
    stream = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=12, stream=True,
                                            stream_options={"include_usage": True})
    for chunk in stream:
        usage = chunk.usage or usage
        for c in chunk.choices:
            pieces.append(c.delta.content or "")
            finish = c.finish_reason or finish
    assert "".join(pieces) == choice.message.content, (pieces, choice.message.content)
    assert finish == choice.finish_reason and usage.completion_tokens == whole.usage.completion_tokens


def chat_logprobs(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Say hello."}], temperature=0, max_tokens=4,
                                            logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens, content
    for entry in content:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.token == entry.top_logprobs[0].token, "greedy takes the most likely token"


def completions(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt=["The sun rises in the", "1, 2, 3, 4,"], max_tokens=6, temperature=0)
    assert [c.index for c in answer.choices] == [0, 1]
    alone = client.completions.create(model=model, prompt="1, 2, 3, 4,", max_tokens=6, temperature=0)
    assert alone.choices[0].text == answer.choices[1].text
    echoed = client.completions.create(model=model, prompt="The sun rises in the", max_tokens=1, temperature=0, echo=True, logprobs=1)
    logprobs = echoed.choices[0].logprobs
    assert echoed.choices[0].text.startswith("The sun rises in the")
    assert logprobs.token_logprobs[0] is None and len(logprobs.tokens) == echoed.usage.prompt_tokens + 1


def seeded(client: openai.OpenAI, model: str) -> None:
    draw = lambda seed: client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, temperature=1.0, seed=seed).choices[0].text
    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(5)}) > 1, "different seeds should differ"


def several(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Name a colour."}], n=3, max_tokens=8, temperature=1.0, seed=3)
    assert [c.index for c in answer.choices] == [0, 1, 2]


def stops(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt="1, 2, 3, 4,", max_tokens=32, temperature=0, stop=[", 7"])
    assert ", 7" not in answer.choices[0].text and answer.choices[0].finish_reason == "stop", answer


def errors(client: openai.OpenAI, model: str) -> None:
    try:
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "x"}])
        raise AssertionError("an unknown model must be refused")
    except openai.NotFoundError as error:
        assert "no-such-model" in str(error)
    for body in ({"temperature": -1}, {"max_tokens": -5}, {"top_p": 2}, {"extra_body": {"guided_regex": "a+"}}):
        try:
            client.completions.create(model=model, prompt="x", **{"max_tokens": 2, **body})
            raise AssertionError(f"{body} must be refused")
        except openai.BadRequestError as error:
            field = next(iter(body.get("extra_body", body)))
            assert field in str(error), (field, str(error))


async def many(base: str, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=base + "/v1", api_key="none", max_retries=0) as client:
        ask = lambda i: client.completions.create(model=model, prompt=f"{i}, {i + 1}, {i + 2},", max_tokens=8, temperature=0)
        together = await asyncio.gather(*(ask(i) for i in range(16)))
        alone = await ask(3)
        assert together[3].choices[0].text == alone.choices[0].text
        stream = await client.completions.create(model=model, prompt="Tell me", max_tokens=200, temperature=0, stream=True)
        async for _ in stream:
            await stream.close()  # leaving early must not disturb anyone
            break


def main() -> None:
    base = sys.argv[1].rstrip("/")
    client = openai.OpenAI(base_url=base + "/v1", api_key="none", max_retries=0)
    model = models(client)
    for check in (chat, chat_logprobs, completions, seeded, several, stops, errors):
        check(client, model)
        print(f"ok  {check.__name__}", flush=True)
    asyncio.run(many(base, model))
    print("ok  many")


if __name__ == "__main__":
    main()
