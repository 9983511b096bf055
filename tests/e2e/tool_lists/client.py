"""The official MCP client, as two callers in each of the protocol's forms: prints in JSON which tools each sees, and what a call comes to."""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

url = sys.argv[1]


async def seen(key, mode):
    async with httpx2.AsyncClient(headers={"x-api-key": key}, timeout=20) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            tools = await client.list_tools()
            progress = []

            async def on_progress(done, total, message):
                progress.append(done)

            called = await client.call_tool("look", {}, progress_callback=on_progress)
            return {
                "tools": [tool.name for tool in tools.tools],
                "called": called.content[0].text,
                "progress": progress,
                "private": tools.cache_scope == "private",
            }


async def main():
    callers = ["demo-standard", "demo-admin"]
    modes = ["legacy", "2026-07-28", "auto"]
    print(json.dumps({key: {mode: await seen(key, mode) for mode in modes} for key in callers}))


asyncio.run(main())
