"""A small MCP server of the official package, one of several behind one address. Tells its tools two at a time. Prints its port."""

import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ListToolsResult

name, mode = sys.argv[1], sys.argv[2]
counts = {}


class Paged(MCPServer):
    async def _handle_list_tools(self, ctx, params):
        first = int((params.cursor if params else None) or 0)
        tools = await self.list_tools()
        more = {"next_cursor": str(first + 2)} if len(tools) > first + 2 else {}
        return ListToolsResult(tools=tools[first : first + 2], **more)


server = Paged(name, instructions=f'Ask "{name}".')


@server.tool(name="read")
async def read(path: str) -> str:
    """Reads a file."""
    return f"{name} read {path}"


@server.tool(name="secret")
async def secret() -> str:
    """Not for everybody."""
    return f"{name} told"


@server.tool(name="steps")
async def steps(to: int, ctx: Context) -> str:
    """Tells of each step."""
    for step in range(to):
        await ctx.report_progress(step + 1, to)
    return f"{name} made {to}"


@server.tool(name="count")
async def count(ctx: Context) -> str:
    """How often this session has counted."""
    session = ctx.request_context.request.headers.get("mcp-session-id", "")
    counts[session] = counts.get(session, 0) + 1
    return f"{name} {counts[session]}"


@server.tool(name="can")
async def can(ctx: Context) -> str:
    """What the client is said to be able to."""
    return f"{name} {ctx.session.client_params.capabilities.model_dump(exclude_none=True)}"


@server.prompt(name="greeting")
def greeting(of: str) -> str:
    """Greets."""
    return f"{name} greets {of}"


@server.resource("memo://list", name="memo")
def memo() -> str:
    """A memo."""
    return f"memo of {name}"


@server.resource("memo://of/{person}", name="memo of")
def memo_of(person: str) -> str:
    """Somebody's."""
    return f"{name} has a memo of {person}"


listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[3]) if len(sys.argv) > 3 else 0))
print(listener.getsockname()[1], flush=True)
# Longer than Envoy keeps an idle connection: else one may be closed just as a request goes out on it.
app = server.streamable_http_app(stateless_http=mode == "stateless")
config = uvicorn.Config(app, log_level="error", timeout_keep_alive=75)
uvicorn.Server(config).run(sockets=[listener])
