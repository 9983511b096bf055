"""Anthropic's client against a gateway: does what the argument says and prints what it saw as JSON."""

import json
import sys

import anthropic

base_url, case = sys.argv[1:]
# The demo's agents answer in any shape, if they are asked to.
SHAPE = {"x-demo-usage": "anthropic"}
MESSAGE = {"model": "demo", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello there"}]}


def client(key, **options):
    return anthropic.Anthropic(base_url=base_url, api_key=key, default_headers=SHAPE, timeout=20, **options)


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
    whole = client("demo-premium").messages.create(**MESSAGE)
    with client("demo-premium").messages.stream(**MESSAGE) as stream:
        streamed = "".join(stream.text_stream)
    return {"whole": whole.content[0].text, "streamed": streamed}


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
    token = anthropic.Anthropic(base_url=base_url, auth_token="demo-premium", default_headers=SHAPE, max_retries=0)
    token.messages.create(**MESSAGE)


cases = [answers, bad_key, long_wait, headers]
print(json.dumps({each.__name__: each for each in cases}[case]()))
