"""The official MCP client against several servers behind one address: prints what it saw, as a line of JSON for each word that
comes in. `KEY` looks at everything; `count` has all sessions that were begun count, and begins them the first time; `some` looks at
what is there of two servers; `raw` tries a session in others' hands, and ends it."""

import asyncio
import contextlib
import json
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

url, mode, sessions = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def text(what):
    try:
        return (await what).content[0].text
    except MCPError as error:
        return {"code": error.error.code, "message": error.error.message}


@contextlib.asynccontextmanager
async def connected(key):
    async with httpx2.AsyncClient(headers={"x-api-key": key}, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            yield client


async def tools(client):
    pages, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        pages.append([tool.name for tool in page.tools])
        cursor = page.next_cursor
        if cursor is None:
            return pages


async def seen(key):
    steps = []

    async def step(progress, total, message):
        steps.append([progress, total])

    async with connected(key) as client:
        found = {
            "version": client.protocol_version,
            "instructions": client.instructions,
            "tools": await tools(client),
            "read": await text(client.call_tool("web__read", {"path": "a__b"})),
            "secret": await text(client.call_tool("files__secret", {})),
            "steps_of": await text(client.call_tool("files__steps", {"to": 3}, progress_callback=step)),
            "steps": steps,
            "nobody": await text(client.call_tool("read", {"path": "a"})),
            "elsewhere": await text(client.call_tool("other__read", {"path": "a"})),
            "prompts": [prompt.name for prompt in (await client.list_prompts()).prompts],
            "prompt": (await client.get_prompt("files__greeting", {"of": "you"})).messages[0].content.text,
            "resources": [str(it.uri) for it in (await client.list_resources()).resources],
            "resource": (await client.read_resource("web+memo://list")).contents[0].text,
            "templates": [it.uri_template for it in (await client.list_resource_templates()).resource_templates],
            "of": (await client.read_resource("files+memo://of/me")).contents[0].text,
        }
        if mode == "legacy":
            await client.send_ping()
            await client.set_logging_level("debug")
            found["can"] = await text(client.call_tool("files__can", {}))
        return found


async def some():
    async with connected("key-of-user") as client:
        page = await client.list_tools()
        return {
            "tools": [tool.name for tool in page.tools],
            "meta": page.meta,
            "files": await text(client.call_tool("files__read", {"path": "a"})),
            "web": await text(client.call_tool("web__read", {"path": "a"})),
        }


async def raw():
    async with httpx2.AsyncClient(timeout=30) as http:

        async def post(method, session=None, key="key-of-user", verb="POST", **params):
            headers = {"x-api-key": key, "accept": "application/json, text/event-stream"}
            if session:
                headers["mcp-session-id"] = session
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            return await http.request(verb, url, headers=headers, **({"json": message} if verb == "POST" else {}))

        client = {"capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}, "protocolVersion": "2025-11-25"}
        session = (await post("initialize", **client)).headers["mcp-session-id"]
        statuses = {}

        async def status(what, *arguments, **named):
            statuses[what] = (await post(*arguments, **named)).status_code

        call = {"name": "files__read", "arguments": {"path": "a"}}
        await status("initialized", "notifications/initialized", session)
        await status("own", "tools/list", session)
        await status("others", "tools/list", session, key="key-of-admin")
        await status("others call", "tools/call", session, key="key-of-admin", **call)
        await status("changed", "tools/list", session[:-2] + "AA")
        await status("none", "tools/call", None, **call)
        await status("stream", "", session, verb="GET")
        await status("end", "", session, verb="DELETE")
        await status("ended", "tools/list", session)
        await status("ended call", "tools/call", session, **call)
        return statuses


async def counted(client):
    return [await text(client.call_tool(f"{server}__count", {})) for server in ("files", "web", "files")]


async def main():
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for word in sys.stdin:
            word = word.strip()
            if word != "count":
                looks = {"some": some, "raw": raw}
                found = await (looks[word]() if word in looks else seen(word))
                print(json.dumps(found), flush=True)
                continue
            if not clients:
                keys = ["key-of-user", "key-of-admin"]
                clients = [await stack.enter_async_context(connected(keys[it % 2])) for it in range(sessions)]
            print(json.dumps(await asyncio.gather(*(counted(client) for client in clients))), flush=True)


asyncio.run(main())
