"""OpenAI's own client against a gateway, at this url and with this key: has conversations of the Responses API, and prints who has answered each turn."""

import json
import sys

import openai

url, key = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=20)


def conversation():
    first = client.responses.create(model="m", input="Hello")
    turns = [first.output_text]
    second = client.responses.create(model="m", input="And then?", previous_response_id=first.id)
    turns.append(second.output_text)
    with client.responses.stream(model="m", input="Go on", previous_response_id=second.id) as stream:
        for event in stream:
            if event.type == "response.created":
                # The stream ends when something else was asked.
                other = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=20)
                turns.append(other.responses.retrieve(event.response.id).output_text)
        third = stream.get_final_response()
    turns.append(third.output_text)
    last = client.responses.create(model="m", input="Thanks", previous_response_id=third.id)
    turns.append(last.output_text)
    turns.append(client.responses.retrieve(last.id).output_text)
    client.responses.delete(last.id)
    return turns


print(json.dumps([conversation() for _ in range(8)]))
