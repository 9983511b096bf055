"""Anthropic's client against a gateway: does what the argument says and prints what it saw as JSON."""

import json
import sys

import anthropic

base_url, case = sys.argv[1:]
MESSAGE = {"model": "demo", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello there"}]}


def client(key, **options):
    return anthropic.Anthropic(base_url=base_url, api_key=key, timeout=20, **options)


def error(attempt):
    """The error that a call ends with."""
    try:
        attempt()
    except anthropic.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "message": error.message,
            "request_id": error.request_id,
            "x_request_id": error.response.headers.get("x-request-id"),
            "retry_after": error.response.headers.get("retry-after"),
        }
    return None


def answers():
    premium = client("demo-premium")
    whole = premium.messages.create(**MESSAGE)
    with premium.messages.stream(**MESSAGE) as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    events = list(premium.messages.create(stream=True, **MESSAGE))
    counted = premium.messages.count_tokens(model="demo", messages=MESSAGE["messages"])
    models = premium.models.list()
    return {
        "whole": whole.content[0].text,
        "stop_reason": whole.stop_reason,
        "usage": [whole.usage.input_tokens, whole.usage.output_tokens],
        "streamed": streamed,
        "streamed_usage": [final.usage.input_tokens, final.usage.output_tokens],
        "events": list(dict.fromkeys(event.type for event in events)),
        "counted": counted.input_tokens,
        "models": [(model.id, model.type, model.display_name) for model in models],
        "model": premium.models.retrieve("demo").id,
    }


def allowed_models():
    premium = client("demo-premium")

    def page(**options):
        page = premium.models.list(**options)
        return [[model.id for model in page.data], page.has_more, page.first_id, page.last_id]

    one = premium.models.retrieve("gpt-4o")
    return {
        "all": [model.id for model in premium.models.list()],
        "by two": [model.id for model in premium.models.list(limit=2)],
        "first": page(limit=2),
        "last": page(limit=1, before_id="qwen3-4b"),
        "none": page(after_id="qwen3-4b"),
        "one": [one.id, one.type, one.display_name],
        "another's": error(lambda: premium.models.retrieve("secret")),
        "no page": error(lambda: premium.models.list(after_id="secret")),
    }


def bad_question():
    """What an agent itself refuses."""
    return error(lambda: client("demo-premium").messages.create(extra_body={"messages": "no list"}, **MESSAGE))


def bad_key():
    return error(lambda: client("unheard-of").messages.create(**MESSAGE))


def long_wait():
    standard = client("demo-standard")
    standard.messages.create(**MESSAGE)
    return error(lambda: standard.messages.create(**MESSAGE))


def headers():
    """Has the client send all headers that it knows."""
    own = client("demo-premium", max_retries=0)
    own.messages.create(user_profile_id="u", workspace_id="w", **MESSAGE)
    own.messages.with_raw_response.create(**MESSAGE)
    with own.messages.with_streaming_response.create(**MESSAGE):
        pass
    with own.messages.stream(**MESSAGE) as stream:
        list(stream)
    own.beta.messages.create(betas=["b"], **MESSAGE)
    with own.beta.messages.stream(betas=["b"], **MESSAGE) as stream:
        list(stream)
    token = anthropic.Anthropic(base_url=base_url, auth_token="demo-premium", max_retries=0)
    token.messages.create(**MESSAGE)


cases = [allowed_models, answers, bad_question, bad_key, long_wait, headers]
print(json.dumps({each.__name__: each for each in cases}[case]()))
