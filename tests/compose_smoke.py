"""Tests the stack that tests/compose.sh has started: from outside, by its ports, and by what the Docker engine says about
its containers. The functions marked with @check run in their order, since the last ones stop parts of the stack.
Python's own library is all that is used.

Usage: compose_smoke.py DIRECTORY-OF-THE-CONFIGURATION FILE-FOR-THE-COUNTS COMPOSE-COMMAND...
"""

import base64
import hashlib
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

CONFIGURATION = pathlib.Path(sys.argv[1])
COUNTS = pathlib.Path(sys.argv[2])
COMPOSE = sys.argv[3:]

AGENTS = ["chat-gpu", "chat-cpu", "tool-execution", "rag-retrieval", "memory-store"]
SERVICES = ["gateway", "auth-service", *AGENTS]
CHAT = {"messages": [{"role": "user", "content": "hello there"}]}
# What the image `run` is given.
RUN = """
listen: [{address: "0.0.0.0:8080"}]
clients: {keys: [{sha256: "%s", client_id: acme, plan: standard}]}
plans: {standard: {requests: 500/minute}}
agents: {echo: {builtin: echo}}
routes: [{prefix: /v1/chat/completions, agents: [echo], methods: [POST], streams: true}]
"""
CHECKS = []


def check(function):
    """Adds a check; its docstring is its name, a sentence about behaviour."""
    CHECKS.append(function)
    return function


# === the stack ===


def compose(*arguments):
    """Runs a compose command and returns what it printed."""
    return run([*COMPOSE, *arguments])


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout


def container(service):
    """The id of a service's container, running or not."""
    name = re.escape(COMPOSE[COMPOSE.index("--project-name") + 1])
    return run(["docker", "ps", "--all", "--quiet", "--filter", f"name=^{name}[-_]{service}[-_]1$"]).strip()


def inspect(service, field):
    return run(["docker", "inspect", "--format", "{{%s}}" % field, container(service)]).strip()


def shell(service, script):
    """Runs shell commands in a service's container, with the rights that the service has."""
    return run(["docker", "exec", container(service), "sh", "-c", script])


def port(service, inside):
    """Where a port of a service is published, as `host:port`."""
    return compose("port", service, str(inside)).strip()


# === requests ===


class Response:
    """A response: `status`, `headers` with lower-case names, `text`."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {}
        for name, value in response.getheaders():
            name = name.lower()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.text = response.read().decode()

    def json(self):
        return json.loads(self.text)

    def code(self):
        """The code of a refusal."""
        assert self.headers.get("content-type") == "application/problem+json", self
        return self.json()["error"]["code"]

    def __repr__(self):
        return f"{self.status} {self.headers} {self.text[:300]}"


def request(method, path, key=None, body=None, at=None, headers=None):
    """One request on a connection of its own; to the gateway unless `at` says otherwise."""
    connection, headers = http.client.HTTPConnection(at or gateway, timeout=30), dict(headers or {})
    if key:
        headers["x-api-key"] = key
    if body is not None:
        body, headers["content-type"] = json.dumps(body), "application/json"
    try:
        connection.request(method, path, body, headers)
        return Response(connection.getresponse())
    finally:
        connection.close()


def chat(key, **more):
    return request("POST", "/api/v1/chat", key, CHAT, **more)


def stream(key, events, interval):
    """Asks for an answer in events; yields each as text when it arrives."""
    connection = http.client.HTTPConnection(gateway, timeout=30)
    headers = {"x-api-key": key, "content-type": "application/json", "x-demo-events": str(events), "x-demo-interval": interval}
    connection.request("POST", "/api/v1/chat/stream", json.dumps(CHAT), headers)
    response = connection.getresponse()
    assert response.status == 200, Response(response)
    assert response.getheader("content-type").startswith("text/event-stream")
    for line in response:
        if line.startswith(b"data: "):
            yield line[6:].decode().strip()
    connection.close()


def metric(name, labels=""):
    """The sum of a metric's series whose labels match, from the operators' listener."""
    found = re.findall(rf"^{name}\{{(?=[^}}]*{labels})[^}}]*\}} (\d+)", request("GET", "/stats/prometheus", at=operations).text, re.M)
    return sum(int(value) for value in found)


def until(deadline, what, condition):
    """Waits, at most so many seconds, until the condition returns something true, and returns that."""
    end = time.monotonic() + deadline
    while True:
        if value := condition():
            return value
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(0.1)


def websocket_echo(path, message, headers):
    """Opens a WebSocket, sends a text, and returns the handshake's answer and the text that came back."""
    host, number = gateway.split(":")
    with socket.create_connection((host, int(number)), timeout=10) as connection, connection.makefile("rb") as received:
        lines = [f"GET {path} HTTP/1.1", f"Host: {gateway}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(received.readline, b"\r\n")).decode().lower()
        assert answer.startswith("http/1.1 101"), answer
        mask, text = os.urandom(4), message.encode()
        assert len(text) < 126, "a longer text needs a longer frame header"
        connection.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
        kind, length = received.read(2)
        assert (kind, length) == (0x81, len(text)), (kind, length)
        return answer, received.read(length).decode()


def reconfigure(text, change="", into=""):
    """Puts a changed waykeeper.yaml into place, as an operator would: by renaming."""
    if change:
        assert text.count(change) == 1, f"waykeeper.yaml holds {change!r} {text.count(change)} times"
        text = text.replace(change, into)
    new = CONFIGURATION / "waykeeper.yaml.new"
    new.write_text(text)
    new.chmod(0o644)
    new.rename(CONFIGURATION / "waykeeper.yaml")


def configuration():
    return (CONFIGURATION / "waykeeper.yaml").read_text()


# === checks ===


@check
def no_key():
    """a request without a key is refused, in the shape that clients parse"""
    response = chat(None)
    assert response.status == 401 and response.code() == "missing_key", response
    assert "www-authenticate" in response.headers and response.headers.get("x-request-id"), response
    assert response.json()["instance"] == response.headers["x-request-id"], response


@check
def unknown_key():
    """so is one with a key that the auth service does not know"""
    response = chat("nobody's")
    assert response.status == 401 and response.code() == "invalid_key", response


@check
def known_key():
    """a request with a key is answered by a chat agent, with what is left of the limit"""
    first, second = chat("demo-standard"), chat("demo-standard")
    for response in (first, second):
        assert response.status == 200, response
        assert response.json()["system_fingerprint"] in ("chat-gpu", "chat-cpu"), response
        assert '"plan";q=50;w=60' in response.headers["ratelimit-policy"], response
        assert response.headers["x-ratelimit-limit-requests"] == "50", response
        assert response.headers["x-request-id"], response
    left = [int(re.fullmatch(r'"plan";r=(\d+);t=\d+', response.headers["ratelimit"])[1]) for response in (first, second)]
    assert left[1] == left[0] - 1, left


@check
def what_clients_first_try():
    """all that OpenAI's and Anthropic's clients first try is served: models, embeddings, responses, messages"""
    text = [{"role": "user", "content": "hello there"}]
    models = request("GET", "/v1/models", "demo-premium")
    assert models.status == 200 and models.json()["data"][0]["object"] == "model", models
    embeddings = request("POST", "/v1/embeddings", "demo-premium", {"model": "demo", "input": "hello"})
    assert embeddings.status == 200 and embeddings.json()["data"][0]["embedding"], embeddings
    response = request("POST", "/v1/responses", "demo-premium", {"model": "demo", "input": "hello"})
    assert response.status == 200 and response.json()["object"] == "response", response
    version, asked = {"anthropic-version": "2023-06-01"}, {"model": "demo", "max_tokens": 100, "messages": text}
    message = request("POST", "/v1/messages", "demo-premium", asked, headers=version)
    assert message.status == 200 and message.json()["type"] == "message", message
    count = request("POST", "/v1/messages/count_tokens", "demo-premium", asked, headers=version)
    assert count.status == 200 and count.json()["input_tokens"] > 0, count


@check
def what_the_agent_sees():
    """the agent learns who calls, not by which key, and not what the caller pretends"""
    spoofed = {"x-waykeeper-client": "somebody-else", "x-waykeeper-roles": "admin"}
    response = request("GET", "/api/v1/memory/notes?topic=x", "demo-standard", headers=spoofed)
    assert response.status == 200, response
    seen = response.json()
    assert (seen["agent"], seen["path"]) == ("memory", "/api/v1/memory/notes"), seen
    headers = seen["headers"]
    assert headers["x-waykeeper-client"] == ["acme"] and headers["x-waykeeper-plan"] == ["standard"], headers
    assert headers.get("x-waykeeper-roles", [""]) == [""] and headers["x-waykeeper-agent"] == ["memory"], headers
    assert "x-api-key" not in headers and "demo-standard" not in response.text, headers


@check
def roles():
    """a route with a role is closed to others"""
    assert request("GET", "/api/v1/tools/list").code() == "missing_key"
    refused, allowed = (request("GET", "/api/v1/tools/list", key) for key in ("demo-standard", "demo-admin"))
    assert refused.status == 403 and refused.code() == "forbidden", refused
    assert allowed.status == 200 and allowed.json()["agent"] == "tools", allowed


@check
def remembered():
    """the auth service is asked once for twenty requests with one key"""
    for _ in range(20):
        assert chat("demo-premium").status == 200
    asked = request("GET", "/demo/stats", at=auth).json()["calls"]
    key = hashlib.sha256(b"demo-premium").hexdigest()
    assert asked.get(key) == 1, asked


@check
def streaming():
    """the events of a stream arrive while later ones are not yet sent"""
    sent, arrived = [], []
    for event in stream("demo-premium", events=10, interval="100ms"):
        if event != "[DONE]":
            arrived.append(time.time() * 1000)
            sent.append(json.loads(event)["demo"]["sent_ms"])
    assert event == "[DONE]" and len(sent) >= 10, (event, sent)
    # Three intervals are more than any pause of a busy machine, and less than what a buffer would hold.
    assert all(here < there for here, there in zip(arrived, sent[3:])), (sent, arrived)


@check
def websocket():
    """a WebSocket passes, with the key in the query or as a subprotocol"""
    _, echoed = websocket_echo("/api/v1/chat/ws?api_key=demo-premium", "by query", [])
    assert echoed == "by query", echoed
    answer, echoed = websocket_echo("/api/v1/chat/ws", "by subprotocol", ["Sec-WebSocket-Protocol: chat, waykeeper.key.demo-premium"])
    assert echoed == "by subprotocol", echoed
    assert "sec-websocket-protocol: chat\r\n" in answer, answer


@check
def operations_only():
    """the operators' listener gives metrics and readiness, and nothing else of the admin interface"""
    assert request("GET", "/ready", at=operations).status == 200
    assert metric("waykeeper_requests_total", 'outcome="allowed"') >= 20
    for method, path in (("GET", "/config_dump"), ("GET", "/"), ("POST", "/quitquitquit"), ("POST", "/ready")):
        assert request(method, path, at=operations).status == 404, (method, path)
    # Nor does the admin interface listen where other containers could reach it.
    shell("chat-gpu", "waykeeper probe http://gateway:9902/ready")
    shell("chat-gpu", "! waykeeper probe http://gateway:9901/ready")


@check
def rights():
    """no container runs as root, has capabilities, can gain any, or can write to its files"""
    for service in SERVICES:
        assert shell(service, "id -u").strip() != "0", service
        processes = shell(service, "cat /proc/[0-9]*/status")
        for name, nothing in (("Uid", r"(?!0\b)\d+\s.*"), ("CapEff", "0+"), ("CapPrm", "0+"), ("NoNewPrivs", "1")):
            values = re.findall(rf"^{name}:\s*(.*)$", processes, re.M)
            assert values and all(re.fullmatch(nothing, value) for value in values), (service, name, values)
        shell(service, "! touch /tmp/probe /etc/waykeeper/probe 2>/dev/null")
        assert inspect(service, ".HostConfig.RestartPolicy.Name") == "unless-stopped", service


@check
def reload():
    """a configuration renamed into place is live at once: no request is lost, and a running stream goes on"""
    events, outcomes, done = [], [], threading.Event()

    def listen():
        events.extend(stream("demo-premium", events=20, interval="100ms"))

    def call():
        while not done.is_set():
            outcomes.append(chat("demo-admin").status)
            time.sleep(0.04)  # so that the client's burst of 100 lasts

    threads = [threading.Thread(target=listen), threading.Thread(target=call)]
    for thread in threads:
        thread.start()
    try:
        until(10, "the stream and the calls run", lambda: len(outcomes) >= 3)
        reconfigure(configuration(), 'standard: {requests: "50/minute"}', 'standard: {requests: "7/minute"}')
        until(5, "the new limit is told", lambda: '"plan";q=7;w=60' in chat("demo-standard").headers["ratelimit-policy"])
        threads[0].join(30)
    finally:
        done.set()
        threads[1].join(30)
    assert events and events[-1] == "[DONE]", events[-1:]
    assert set(outcomes) == {200}, outcomes


@check
def limit():
    """a client beyond its limit is told to wait"""
    responses = [chat("demo-standard") for _ in range(8)]
    response = responses[-1]
    assert response.status == 429 and response.code() == "rate_limited", response
    assert int(response.headers["retry-after"]) >= 1 and '"plan";r=0;' in response.headers["ratelimit"], response


@check
def bad_reload():
    """a configuration with a mistake is refused: the log says where, and the old one goes on"""
    discovery = "envoy_extension_config_discovery_http_filter_waykeeper_"
    good, taken, refused = configuration(), metric(discovery + "update_success"), metric(discovery + "update_rejected")
    reconfigure(good, 'agents: ["rag"]', 'agents: ["rga"]')
    until(10, "the configuration is refused", lambda: metric(discovery + "update_rejected") == refused + 1)
    response = chat("demo-standard")
    assert response.status == 429 and '"plan";q=7;w=60' in response.headers["ratelimit-policy"], response
    log = compose("logs", "gateway")
    assert re.search(r'routes\[\d+\]\.agents\[0\]: no agent named "rga"; did you mean "rag"', log), log[-2000:]
    reconfigure(good)
    until(10, "the good one is taken again", lambda: metric(discovery + "update_success") == taken + 1)


@check
def crashed_agent():
    """an agent that crashes is started again; until then its callers are told"""
    # The container may go before the shell in it has said that it is done; that it was started again is looked at below.
    kill = 'for p in /proc/[0-9]*; do if [ "$(cat "$p/comm")" = waykeeper-demo ]; then kill -9 "${p#/proc/}"; fi; done'
    subprocess.run(["docker", "exec", container("memory-store"), "sh", "-c", kill], capture_output=True, timeout=120)

    def answered():
        response = request("GET", "/api/v1/memory/notes", "demo-premium")
        if response.status != 200:
            assert response.status == 503 and response.code() == "agent_unreachable" and "retry-after" in response.headers, response
        return response.status == 200 and int(inspect("memory-store", ".RestartCount")) == 1

    until(60, "the agent answers again", answered)


@check
def validator_down():
    """without the auth service remembered keys still work, and no other gets in"""
    compose("stop", "auth-service")
    assert chat("demo-premium").status == 200
    response = chat("a-new-key")
    assert response.status == 503 and response.code() == "validator_unavailable" and "retry-after" in response.headers, response
    compose("start", "auth-service")
    until(60, "the auth service is asked again", lambda: chat("a-new-key").status == 401)


@check
def gentle_stop():
    """the gateway, told to stop, lets a running stream finish, and ends by itself"""
    events = stream("demo-premium", events=25, interval="100ms")
    next(events)
    stop = threading.Thread(target=compose, args=("stop", "gateway"))
    stop.start()
    assert list(events)[-1] == "[DONE]"
    stop.join(60)
    state = inspect("gateway", ".State.Status"), inspect("gateway", ".State.ExitCode")
    assert state == ("exited", "0"), state


@check
def one_command():
    """by one command, a gateway.yaml in a mounted directory is served and followed; told to stop, it lets a request finish"""
    directory, name = CONFIGURATION.parent / "conf", COMPOSE[COMPOSE.index("--project-name") + 1] + "-run"
    directory.mkdir()
    directory.chmod(0o755)
    text = RUN % hashlib.sha256(b"a-key-of-its-own").hexdigest()

    def write(text):
        new = directory / "gateway.yaml.new"
        new.write_text(text)
        new.chmod(0o644)
        new.rename(directory / "gateway.yaml")

    def limit():
        try:
            response = request("POST", "/v1/chat/completions", "a-key-of-its-own", CHAT, at=at)
        except (OSError, http.client.HTTPException):
            return None  # it is starting
        assert response.status == 200, response
        return re.search(r'"plan";q=(\d+)', response.headers["ratelimit-policy"])[1]

    def said():
        done = subprocess.run(["docker", "logs", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return done.stdout

    write(text)
    run(["docker", "run", "--detach", "--name", name, "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt",
         "no-new-privileges:true", "--volume", f"{directory}:/etc/waykeeper:ro", "--publish", "127.0.0.1:0:8080", "--stop-timeout", "40",
         "waykeeper-run"])
    try:
        at = run(["docker", "port", name, "8080"]).split()[0]
        until(60, "it serves", lambda: limit() == "500")
        assert run(["docker", "exec", name, "id", "-u"]).strip() != "0"
        write(text.replace("500/minute", "600/minute"))
        until(10, "the change is live", lambda: limit() == "600")
        write(text.replace("500/minute", "500/fortnight"))
        until(10, "the fault is told", lambda: "500/fortnight" in said())
        assert limit() == "600"

        host, number = at.split(":")
        body = json.dumps(CHAT).encode()
        with socket.create_connection((host, int(number)), timeout=60) as connection, connection.makefile("rb") as received:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-api-key: a-key-of-its-own\r\n"
                               b"content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body))
            assert received.readline().startswith(b"HTTP/1.1 100") and received.readline() == b"\r\n"
            stop = threading.Thread(target=run, args=(["docker", "stop", "--time", "40", name],))
            stop.start()
            until(20, "it says that it ends", lambda: "waykeeper: ending" in said())
            connection.sendall(body)
            answer = received.readline()
            assert answer.startswith(b"HTTP/1.1 200"), answer
        stop.join(60)
        state = run(["docker", "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name]).split()
        assert state == ["exited", "0"], (state, said())
    except AssertionError as error:
        raise AssertionError(f"{error}\n{said()}") from error
    finally:
        run(["docker", "rm", "--force", "--volumes", name])


gateway, operations, auth = port("gateway", 8080), port("gateway", 9902), port("auth-service", 8000)
passed = failed = 0
for function in CHECKS:
    try:
        function()
        passed += 1
        print(f"compose-test: ok      {function.__doc__}", flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # whatever it is, it is this check's failure, and the others still run
        failed += 1
        print(f"compose-test: FAILED  {function.__doc__}\n    {type(error).__name__}: {error}", flush=True)
if failed:
    print(compose("logs", "--tail", "20"), flush=True)
COUNTS.write_text(f"{passed} {failed}\n")
