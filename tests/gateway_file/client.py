"""A provider's own client against a gateway, at this url and with this key or as its environment says: says hello, and prints what it is answered as JSON."""

import json
import sys

package, *given = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "Hello"}]
OPTIONS = {"max_retries": 0, "timeout": 20}
if given:
    OPTIONS["base_url"], OPTIONS["api_key"] = given

if package == "openai":
    import openai

    answer = openai.OpenAI(**OPTIONS).chat.completions.create(model="demo", messages=MESSAGES)
    said = answer.choices[0].message.content
else:
    import anthropic

    answer = anthropic.Anthropic(**OPTIONS).messages.create(model="demo", max_tokens=9, messages=MESSAGES)
    said = answer.content[0].text
print(json.dumps(said))
