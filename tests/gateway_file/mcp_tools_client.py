"""The official MCP client against a gateway that lets not everybody call every tool: prints what it saw, as a line of JSON for each
word that comes in, which is a key."""

import asyncio
import json
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

url, mode = sys.argv[1], sys.argv[2]


async def text(what):
    try:
        return (await what).content[0].text
    except MCPError as error:
        return {"code": error.error.code, "message": error.error.message, "status": (error.error.data or {}).get("status")}


async def seen(key):
    steps = []

    async def step(progress, total, message):
        steps.append([progress, total])

    async with httpx2.AsyncClient(headers={"x-api-key": key}, timeout=20) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            tools = await client.list_tools()
            return {
                "tools": sorted(tool.name for tool in tools.tools),
                "read": await text(client.call_tool("files.read", {"path": "a"})),
                "write": await text(client.call_tool("files.write", {"path": "a"})),
                "count": await text(client.call_tool("count", {"to": 3}, progress_callback=step)),
                "steps": steps,
                "prompt": (await client.get_prompt("greeting", {"of": "you"})).messages[0].content.text,
                # Still of use behind a refusal.
                "again": await text(client.call_tool("files.read", {"path": "b"})),
                "limited": [await text(client.call_tool("files.read", {"path": "c"})) for _ in range(3)],
            }


async def main():
    for key in sys.stdin:
        print(json.dumps(await seen(key.strip())), flush=True)


asyncio.run(main())
