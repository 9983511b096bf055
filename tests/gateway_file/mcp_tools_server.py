"""A small MCP server of the official package, which has some tools. Prints its port."""

import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

name = sys.argv[1]
server = MCPServer("files")


@server.tool(name="files.read")
async def read(path: str) -> str:
    """Reads a file."""
    return f"{name} read {path}"


@server.tool(name="files.write")
async def write(path: str) -> str:
    """Writes a file."""
    return f"{name} wrote {path}"


@server.tool(name="count")
async def count(to: int, ctx: Context) -> str:
    """Tells of each step."""
    for step in range(to):
        await ctx.report_progress(step + 1, to)
    return f"{name} counted to {to}"


@server.prompt(name="greeting")
def greeting(of: str) -> str:
    """Greets."""
    return f"Hello {of}"


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
# Longer than Envoy keeps an idle connection: else one may be closed just as a request goes out on it.
app = server.streamable_http_app(stateless_http=sys.argv[2] == "stateless")
config = uvicorn.Config(app, log_level="error", timeout_keep_alive=75)
uvicorn.Server(config).run(sockets=[listener])
