"""An MCP server of the official package with tools that are not for everybody. Prints its port."""

import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("lists")


@server.tool()
async def look(ctx: Context) -> str:
    """Looks."""
    await ctx.report_progress(1, 2)
    return "seen"


@server.tool()
def admin_reset() -> str:
    """Resets."""
    return "reset"


@server.tool()
def admin_wipe() -> str:
    """Wipes."""
    return "wiped"


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
app = server.streamable_http_app(json_response="json" in sys.argv, stateless_http="stateless" in sys.argv)
# Longer than Envoy keeps an idle connection: else one may be closed just as a request goes out on it.
uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_keep_alive=75)).run(sockets=[listener])
