"""A server in a thread of this process, which serves whichever log a test gives it; and contract tests to run on it."""

from __future__ import annotations

import asyncio
import importlib
import threading
from types import ModuleType
from typing import Any

import freezegun
import uvicorn

from eventlog.app import Log
from eventlog.web.guard import Guard, hosts_of
from eventlog.web.server import BODY_LIMIT, router
from eventlog.web.service import Service

TOKEN = "a-token-of-the-tests"
TRANSACTION = "it holds a transaction, which a server does not lend"
SLOW = "it takes long, and a server adds nothing to it"
WORDS = "a server refuses it in its own words"
# Where a test stops the clock, the loop of the server goes on.
freezegun.configure(extend_ignore_list=["asyncio"])


class ThreadServer:
    """uvicorn in a thread. `serve` puts a log behind it, in the place of the one before."""

    def __init__(self) -> None:
        self._app: Any = None
        self._service: Service | None = None
        config = uvicorn.Config(
            self._answer, host="127.0.0.1", port=0, loop="asyncio", ws="none", lifespan="off", log_config=None,
            access_log=False, interface="asgi3", proxy_headers=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        assert self._ready.wait(20)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            serving = asyncio.create_task(self._server.serve())
            while not self._server.started:
                await asyncio.sleep(0.01)
            self._ready.set()
            await serving

        asyncio.run(main())

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    def serve(self, log: Log) -> None:
        """Serve this log from now on."""
        self.rest()
        self._service = Service(log, request_timeout_s=30, body_limit=BODY_LIMIT)
        hosts = hosts_of(self.port)
        self._app = Guard(router(self._service), self._service, hosts=hosts, token=TOKEN)

    def rest(self) -> None:
        """Serve nothing; followers are sent away."""
        if (service := self._service) is not None:
            self._service = None
            self._loop.call_soon_threadsafe(service.stop.set)
            service.close()

    def stop(self) -> None:
        """End it."""
        self.rest()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


def contract(name: str, *chosen: str, without: dict[str, str] | None = None) -> dict[str, Any]:
    """The tests and fixtures of a module of `tests.contract`: the chosen ones, or all but some, and why those."""
    module: ModuleType = importlib.import_module(name if "." in name else f"tests.contract.{name}")
    own = {key: value for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    tests = {key: value for key, value in own.items() if key.startswith("test_")}
    named = {*chosen, *(without or {})}
    assert named <= tests.keys(), f"{name} has no {named - tests.keys()}"
    fixtures = {key: value for key, value in own.items() if type(value).__name__ == "FixtureFunctionDefinition"}
    return fixtures | {
        key: value for key, value in tests.items() if (key in chosen if chosen else key not in (without or {}))
    }
