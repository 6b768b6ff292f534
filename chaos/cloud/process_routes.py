"""The part of the Cloud's HTTP API that shows and harms a node's processes, and starts nodes again."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from chaos.cloud.core import Cloud
from chaos.value import Value


class KillAsk(Value):
    """Body of POST /nodes/{node}/processes/kill: start times, in ticks since boot, by PID."""

    processes: dict[int, int] = Field(min_length=1)


def process_routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of one Cloud."""

    async def look(request: web.Request) -> web.Response:
        found = await cloud.processes.look(request.match_info["node"])
        return web.json_response({"processes": [process.model_dump(mode="json") for process in found]})

    async def kill(request: web.Request) -> web.Response:
        ask = KillAsk.model_validate_json(await request.read() or b"{}")
        await cloud.processes.kill(request.match_info["node"], ask.processes)
        return web.json_response({})

    async def restart(request: web.Request) -> web.Response:
        await cloud.restart(request.match_info["node"])
        return web.json_response({})

    async def restart_raylet(request: web.Request) -> web.Response:
        await cloud.restart_raylet(request.match_info["node"])
        return web.json_response({})

    async def prepare_notice(_: web.Request) -> web.Response:
        await cloud.prepare_notice()
        return web.json_response({})

    return [
        web.post("/notices/prepare", prepare_notice),
        web.get("/nodes/{node}/processes", look),
        web.post("/nodes/{node}/processes/kill", kill),
        web.post("/nodes/{node}/restart", restart),
        web.post("/nodes/{node}/raylet/restart", restart_raylet),
    ]
