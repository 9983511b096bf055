"""OpenAI's client against a gateway: does what the argument says and prints what it saw as JSON."""

import json
import sys

import openai

base_url, case = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "Hello there"}]


def client(key, max_retries=0):
    return openai.OpenAI(base_url=base_url, api_key=key, max_retries=max_retries, timeout=20)


def ask(client, **options):
    return client.chat.completions.create(model="demo", messages=MESSAGES, **options)


def error(attempt):
    """The error that a call ends with."""
    try:
        attempt()
    except openai.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "type": error.type,
            "message": error.message,
            "request_id": error.request_id,
            "retry_after": error.response.headers.get("retry-after"),
        }
    return None


def answers():
    premium = client("demo-premium")
    whole = ask(premium)
    pieces = list(ask(premium, stream=True, stream_options={"include_usage": True}))
    raw = premium.chat.completions.with_raw_response.create(model="demo", messages=MESSAGES)
    return {
        "whole": whole.choices[0].message.content,
        "finish_reason": whole.choices[0].finish_reason,
        "usage": whole.usage.total_tokens,
        "agent": whole.system_fingerprint,
        "streamed": "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices),
        "streamed_pieces": len(pieces),
        "streamed_usage": pieces[-1].usage.total_tokens,
        "raw": raw.parse().choices[0].message.content,
        "headers": dict(raw.headers),
    }


def allowed_models():
    keys = ["demo-standard", "demo-premium", "demo-admin"]
    seen = {key: [model.id for model in client(key).models.list()] for key in keys}
    one = client("demo-standard").models.retrieve("org/embed")
    return seen | {
        "one": [one.id, one.object],
        "another's": error(lambda: client("demo-standard").models.retrieve("gpt-4o")),
        "nobody's": error(lambda: client("unheard-of").models.list()),
    }


def first_tries():
    """What people try first beside chats."""
    premium = client("demo-premium")
    models = premium.models.list()
    texts = ["the cat sat", "the cat sat", "tax returns"]
    # The client asks for base64 unless it is told otherwise.
    vectors = premium.embeddings.create(model="demo", input=texts)
    numbers = premium.embeddings.create(model="demo", input=texts[0], encoding_format="float", dimensions=8)
    whole = premium.responses.create(model="demo", instructions="Be brief.", input="Hello there")
    events = list(premium.responses.create(model="demo", input=MESSAGES, stream=True))
    with premium.responses.stream(model="demo", input="Hello there") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    return {
        "models": [(model.id, model.object) for model in models],
        "model": premium.models.retrieve("demo").id,
        "dimensions": [len(vector.embedding) for vector in vectors.data],
        "same": vectors.data[0].embedding == vectors.data[1].embedding != vectors.data[2].embedding,
        "embedding_usage": vectors.usage.total_tokens,
        "numbers": numbers.data[0].embedding,
        "whole": whole.output_text,
        "whole_status": whole.status,
        "whole_usage": [whole.usage.input_tokens, whole.usage.output_tokens, whole.usage.total_tokens],
        "streamed": "".join(event.delta for event in events if event.type == "response.output_text.delta"),
        "streamed_usage": events[-1].response.usage.total_tokens,
        "kinds": list(dict.fromkeys(kinds)),
        "final": final.output_text,
        "bad": error(lambda: premium.embeddings.create(model="demo", input="")),
    }


def bad_key():
    return error(lambda: ask(client("unheard-of")))


def limit():
    standard = client("demo-standard")
    ask(standard)
    return error(lambda: ask(standard))


def long_wait():
    standard = client("demo-standard", max_retries=2)
    ask(standard)
    return error(lambda: ask(standard))


def headers():
    """Has the client send all headers that it knows, to whatever answers."""
    own = openai.OpenAI(base_url=base_url, api_key="demo-premium", organization="o", project="p", max_retries=0)
    ask(own)
    ask(own, timeout=20)
    list(ask(own, stream=True))
    own.chat.completions.with_raw_response.create(model="demo", messages=MESSAGES)
    with own.chat.completions.with_streaming_response.create(model="demo", messages=MESSAGES):
        pass
    with own.chat.completions.stream(model="demo", messages=MESSAGES) as stream:
        list(stream)
    azure = openai.AzureOpenAI(
        azure_endpoint=base_url.removesuffix("/v1"), api_version="v", api_key="demo-premium", max_retries=0
    )
    ask(azure)
    # What comes back is none of their answers.
    for attempt in [
        lambda: own.beta.assistants.list(),
        lambda: own.beta.threads.runs.stream(thread_id="t", assistant_id="a").__enter__(),
        lambda: own.vector_stores.files.poll("f", vector_store_id="v"),
        lambda: own.vector_stores.files.poll("f", vector_store_id="v", poll_interval_ms=1),
    ]:
        try:
            attempt()
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)


def patience():
    premium = client("demo-premium", max_retries=1)
    return [ask(premium).choices[0].finish_reason for _ in range(2)]


cases = [allowed_models, answers, first_tries, bad_key, limit, long_wait, headers, patience]
print(json.dumps({each.__name__: each for each in cases}[case]()))
