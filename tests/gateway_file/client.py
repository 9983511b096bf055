"""A provider's own client against a gateway: says hello, and prints what it is answered as JSON."""

import json
import sys

package, base_url, key = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "Hello"}]
OPTIONS = {"base_url": base_url, "api_key": key, "max_retries": 0, "timeout": 20}

if package == "openai":
    import openai

    answer = openai.OpenAI(**OPTIONS).chat.completions.create(model="demo", messages=MESSAGES)
    said = answer.choices[0].message.content
else:
    import anthropic

    answer = anthropic.Anthropic(**OPTIONS).messages.create(model="demo", max_tokens=9, messages=MESSAGES)
    said = answer.content[0].text
print(json.dumps(said))
