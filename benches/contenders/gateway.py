"""The gateway that tutorials show: checks a key, counts in a dict, passes the request on with httpx.

It is written as well as such a thing is: one client with keep-alive connections, nothing logged, uvloop and httptools
underneath. It buffers answers whole, as tutorials do. AGENT is the agent's URL, LIMIT how many requests each client has.
"""

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, HTTPException, Request, Response

CLIENTS = {f"key-{number:036}": f"client-{number}" for number in range(int(os.environ["CLIENTS"]))}
LIMIT = int(os.environ["LIMIT"])
HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "x-api-key"}

counts: dict[str, int] = {}


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with httpx.AsyncClient(base_url=os.environ["AGENT"]) as app.state.agent:
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
async def handle(path: str, request: Request) -> Response:
    client = CLIENTS.get(request.headers.get("x-api-key", ""))
    if client is None:
        raise HTTPException(401)
    count = counts.get(client, 0) + 1
    if count > LIMIT:
        raise HTTPException(429)
    counts[client] = count
    headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
    headers["x-waykeeper-client"] = client
    answer = await request.app.state.agent.request(
        request.method, f"/{path}", params=request.query_params, headers=headers, content=await request.body()
    )
    headers = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
    return Response(answer.content, answer.status_code, headers)
