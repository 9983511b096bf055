"""A small A2A agent of the official package, of both versions of the protocol and two of its bindings, which keeps its tasks in its own
memory. Prints its port. Its card says where it is itself, which callers of a gateway should never see."""

import socket
import sys

import uvicorn
from a2a.helpers import new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette

name = sys.argv[1]


class Teller(AgentExecutor):
    """Tells its name in three parts, and is then asked for more; what comes next ends the task."""

    async def execute(self, context, event_queue):
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
            updater = TaskUpdater(event_queue, task.id, task.context_id)
            for part in range(3):
                parts = [new_text_part(f"{name} {part}")]
                await updater.add_artifact(parts, artifact_id="told", append=part > 0, last_chunk=part == 2)
            await updater.requires_input(updater.new_agent_message([new_text_part("more?")]))
        else:
            updater = TaskUpdater(event_queue, task.id, task.context_id)
            await updater.complete(updater.new_agent_message([new_text_part(f"done by {name}")]))

    async def cancel(self, context, event_queue):
        task = context.current_task
        await TaskUpdater(event_queue, task.id, task.context_id).cancel()


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
port = listener.getsockname()[1]
own = f"http://127.0.0.1:{port}"
interfaces = [
    AgentInterface(url=f"{own}/rpc", protocol_binding="JSONRPC", protocol_version="1.0"),
    AgentInterface(url=f"{own}/rpc", protocol_binding="JSONRPC", protocol_version="0.3"),
    AgentInterface(url=f"{own}/rest", protocol_binding="HTTP+JSON", protocol_version="1.0"),
    AgentInterface(url=f"127.0.0.1:{port}", protocol_binding="GRPC", protocol_version="1.0"),
]
card = AgentCard(
    name=name,
    description="Tells its name.",
    version="1.0.0",
    supported_interfaces=interfaces,
    capabilities=AgentCapabilities(streaming=True, extended_agent_card=True),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[AgentSkill(id="tell", name="Tell", description="Tells its name.", tags=["name"])],
)
extended = AgentCard()
extended.CopyFrom(card)
extended.description = "Tells its name to those it knows."
handler = DefaultRequestHandler(
    agent_executor=Teller(), task_store=InMemoryTaskStore(), agent_card=card, extended_agent_card=extended
)
routes = [
    *create_agent_card_routes(card),
    *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True),
    *create_rest_routes(handler, path_prefix="/rest", enable_v0_3_compat=True),
]
print(port, flush=True)
# Longer than Envoy keeps an idle connection: else one may be closed just as a request goes out on it.
config = uvicorn.Config(Starlette(routes=routes), log_level="error", timeout_keep_alive=75)
uvicorn.Server(config).run(sockets=[listener])
