"""A small MCP server of the official package, which keeps what belongs to a session in its own memory. Prints its port."""

import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

name = sys.argv[1]
server = MCPServer("counter")
counts = {}


@server.tool()
async def count(ctx: Context) -> str:
    """How often this session has counted, and where."""
    session = ctx.request_context.request.headers["mcp-session-id"]
    counts[session] = counts.get(session, 0) + 1
    return f"{name} {counts[session]}"


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
# Longer than Envoy keeps an idle connection: else one may be closed just as a request goes out on it.
config = uvicorn.Config(server.streamable_http_app(), log_level="error", timeout_keep_alive=75)
uvicorn.Server(config).run(sockets=[listener])
