"""A serving application for real servers: `served:wsgi` under gunicorn, `served:asgi` under uvicorn.

`/?u=<unit>` answers with the revision, `/metrics` with what all workers counted together. MOUNT names the mount.
"""

import os
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from promptrollout_sdk import PromptRollout

rollout = PromptRollout.from_directory(os.environ["MOUNT"], events=["refusals"], scores=["helpfulness"])


def metrics() -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


def unit_in(query: str) -> str:
    return parse_qs(query)["u"][0]


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        body = metrics()
    else:
        a = rollout.assign(unit_in(environ["QUERY_STRING"]))
        with a.request() as r:
            r.tokens(input=3, output=5)
            a.score("helpfulness", 0.5)
            body = a.revision.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/metrics":
        body = metrics()
    else:
        a = rollout.assign(unit_in(scope["query_string"].decode()))
        async with a.request() as r:
            r.tokens(input=3, output=5)
            a.score("helpfulness", 0.5)
            body = a.revision.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
