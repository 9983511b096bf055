"""The official A2A client (1.0) against agents behind a gateway: prints what it saw, as JSON."""

import asyncio
import json
import sys

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.helpers import new_text_message
from a2a.types import CancelTaskRequest, GetExtendedAgentCardRequest, GetTaskRequest, Role, SendMessageRequest
from a2a.types import TaskState
from google.protobuf.json_format import MessageToDict

base, binding, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3])
old = len(sys.argv) > 4


async def converse(client):
    """A task in two messages, asked for between them, and what was streamed of it."""
    said, task = [], None
    async for event in client.send_message(SendMessageRequest(message=new_text_message("hello", role=Role.ROLE_USER))):
        if event.HasField("task"):
            task = event.task
        if event.HasField("artifact_update"):
            said.append(event.artifact_update.artifact.parts[0].text)
    seen = await client.get_task(GetTaskRequest(id=task.id))
    assert seen.status.state == TaskState.TASK_STATE_INPUT_REQUIRED, seen
    # It goes on in the same context, and knows the task.
    message = new_text_message("more", role=Role.ROLE_USER, context_id=task.context_id, task_id=task.id)
    done = []
    async for event in client.send_message(SendMessageRequest(message=message)):
        if event.HasField("status_update"):
            done += [part.text for part in event.status_update.status.message.parts]
    # Another task of the same context.
    message = new_text_message("again", role=Role.ROLE_USER, context_id=task.context_id)
    again, other = [], None
    async for event in client.send_message(SendMessageRequest(message=message)):
        if event.HasField("task"):
            other = event.task
        if event.HasField("artifact_update"):
            again.append(event.artifact_update.artifact.parts[0].text)
    try:
        cancelled = TaskState.Name((await client.cancel_task(CancelTaskRequest(id=other.id))).status.state)
    except Exception as error:
        cancelled = f"{type(error).__name__}: {error}"
    return {"said": said, "done": done, "again": again, "cancelled": cancelled}


async def main():
    async with httpx.AsyncClient(headers={"x-api-key": "key-of-acme"}, timeout=20) as http:
        card = await A2ACardResolver(http, base).get_agent_card()
        urls = [interface.url for interface in card.supported_interfaces]
        if old:
            kept = [it for it in card.supported_interfaces if it.protocol_version.startswith("0.3")]
            del card.supported_interfaces[:]
            card.supported_interfaces.extend(kept)
        config = ClientConfig(httpx_client=http, supported_protocol_bindings=[binding], streaming=True)
        client = ClientFactory(config).create(card)
        conversations = await asyncio.gather(*(converse(client) for _ in range(tasks)))
        extended = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
        told = MessageToDict(extended)
        print(json.dumps({"urls": urls, "extended": told, "conversations": conversations}))


asyncio.run(main())
