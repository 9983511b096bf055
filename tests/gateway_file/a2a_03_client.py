"""The official A2A client in the last version that speaks 0.3 only, against agents behind a gateway: prints what it saw, as JSON."""

import asyncio
import json
import sys
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import Message, Part, Role, Task, TaskArtifactUpdateEvent, TaskIdParams, TaskQueryParams, TextPart

base, tasks = sys.argv[1], int(sys.argv[2])


def message(text, **ids):
    return Message(role=Role.user, message_id=str(uuid.uuid4()), parts=[Part(root=TextPart(text=text))], **ids)


async def send(client, what):
    """The task that came of it, and what was streamed."""
    task, said = None, []
    async for event in client.send_message(what):
        task, update = event
        assert isinstance(task, Task)
        if isinstance(update, TaskArtifactUpdateEvent):
            said.append(update.artifact.parts[0].root.text)
    return task, said


async def converse(client):
    task, said = await send(client, message("hello"))
    seen = await client.get_task(TaskQueryParams(id=task.id))
    assert seen.status.state.value == "input-required", seen
    ended, _ = await send(client, message("more", context_id=task.context_id, task_id=task.id))
    done = [part.root.text for part in ended.status.message.parts]
    other, again = await send(client, message("again", context_id=task.context_id))
    try:
        cancelled = (await client.cancel_task(TaskIdParams(id=other.id))).status.state.value
    except Exception as error:
        cancelled = f"{type(error).__name__}: {error}"
    return {"said": said, "done": done, "again": again, "cancelled": cancelled}


async def main():
    async with httpx.AsyncClient(headers={"x-api-key": "key-of-acme"}, timeout=20) as http:
        card = await A2ACardResolver(http, base).get_agent_card()
        urls = [card.url, *(interface.url for interface in card.additional_interfaces or [])]
        client = ClientFactory(ClientConfig(httpx_client=http, streaming=True)).create(card)
        conversations = await asyncio.gather(*(converse(client) for _ in range(tasks)))
        print(json.dumps({"urls": urls, "conversations": conversations}))


asyncio.run(main())
