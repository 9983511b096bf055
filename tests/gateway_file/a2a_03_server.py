"""A small A2A agent of the official package in the last version that speaks 0.3 only, which keeps its tasks in its own memory. Prints its
port."""

import socket
import sys

import uvicorn
from a2a.server.agent_execution import AgentExecutor
from a2a.server.apps import A2AStarletteApplication
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, Part, TextPart
from a2a.utils import new_task

name = sys.argv[1]


def parts(text):
    return [Part(root=TextPart(text=text))]


class Teller(AgentExecutor):
    """Tells its name in three parts, and is then asked for more; what comes next ends the task."""

    async def execute(self, context, event_queue):
        task = context.current_task
        if task is None:
            task = new_task(context.message)
            await event_queue.enqueue_event(task)
            updater = TaskUpdater(event_queue, task.id, task.context_id)
            for part in range(3):
                await updater.add_artifact(parts(f"{name} {part}"), artifact_id="told", append=part > 0, last_chunk=part == 2)
            await updater.requires_input(updater.new_agent_message(parts("more?")), final=True)
        else:
            updater = TaskUpdater(event_queue, task.id, task.context_id)
            await updater.complete(updater.new_agent_message(parts(f"done by {name}")))

    async def cancel(self, context, event_queue):
        task = context.current_task
        await TaskUpdater(event_queue, task.id, task.context_id).cancel()


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
port = listener.getsockname()[1]
own = f"http://127.0.0.1:{port}"
card = AgentCard(
    name=name,
    description="Tells its name.",
    version="1.0.0",
    url=f"{own}/",
    preferred_transport="JSONRPC",
    additional_interfaces=[
        AgentInterface(url=f"{own}/", transport="JSONRPC"),
        AgentInterface(url=f"127.0.0.1:{port}", transport="GRPC"),
    ],
    capabilities=AgentCapabilities(streaming=True),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[],
)
handler = DefaultRequestHandler(agent_executor=Teller(), task_store=InMemoryTaskStore())
app = A2AStarletteApplication(agent_card=card, http_handler=handler).build()
print(port, flush=True)
config = uvicorn.Config(app, log_level="error", timeout_keep_alive=75)
uvicorn.Server(config).run(sockets=[listener])
