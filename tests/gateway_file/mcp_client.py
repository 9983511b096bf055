"""The official MCP client against a gateway, in the protocol's form that has sessions: prints what it saw, as a line of JSON for
each word that comes in."""

import asyncio
import contextlib
import json
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

url, sessions, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def count(client):
    result = await client.call_tool("count", {})
    assert not result.is_error, result
    return result.content[0].text.split()


async def begin(stack):
    http = httpx2.AsyncClient(headers={"x-api-key": "key-of-acme"}, timeout=20, verify=False)
    await stack.enter_async_context(http)
    transport = streamable_http_client(url, http_client=http)
    return await stack.enter_async_context(Client(transport, mode="legacy"))


async def converse(client):
    """Several calls at a time, which need several connections."""
    try:
        counted = await asyncio.gather(*(count(client) for _ in range(calls)))
    except MCPError as error:
        return {"error": error.error.message}
    return {
        "replicas": sorted({replica for replica, _ in counted}),
        "counts": sorted(int(number) for _, number in counted),
    }


async def main():
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for word in sys.stdin:
            if word.strip() == "begin":
                clients = [await begin(stack) for _ in range(sessions)]
            seen = await asyncio.gather(*(converse(client) for client in clients))
            print(json.dumps(seen), flush=True)


asyncio.run(main())
