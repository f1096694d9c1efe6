"""Runs the application: uvicorn, and a shutdown that lets calls come to their end."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from types import FrameType

import uvicorn

from reference_agent.app import Agent, create_app
from reference_agent.call_log import CallIds
from reference_agent.settings import Settings
from reference_agent.twilio import MAX_MESSAGE

logger = logging.getLogger("reference_agent")


class DrainingServer(uvicorn.Server):
    """On the first signal no new calls are taken, and those under way may finish; the second one ends at once."""

    agent: Agent
    drain_within: float
    _draining: asyncio.Task[None] | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in a process of its own.

        What is loaded by now stays: a full collection would look at all of it, 50 ms in which no call gets a frame.
        """
        self.config.load()
        gc.collect()
        gc.freeze()
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start draining."""
        if self._draining is None and self.agent.calls:
            self.agent.draining = True
            self._draining = asyncio.get_running_loop().create_task(self._drain(sig, frame))
            return
        super().handle_exit(sig, frame)

    async def _drain(self, sig: int, frame: FrameType | None) -> None:
        logger.info("Draining: %d calls under way", len(self.agent.calls))
        loop = asyncio.get_running_loop()
        until = loop.time() + self.drain_within
        while self.agent.calls and loop.time() < until:
            await asyncio.sleep(0.1)
        super().handle_exit(sig, frame)


def build_server(settings: Settings) -> DrainingServer:
    """Return the server, not yet running."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        proxy_headers=False,  # the public address comes from the settings or the Host header, and is signed
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = DrainingServer(config)
    server.agent, server.drain_within = app.state.agent, settings.drain_within
    return server


def serve(settings: Settings) -> None:
    """Serve until a signal."""
    handler = logging.StreamHandler()
    handler.addFilter(CallIds())
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s [%(call)s] %(message)s", handlers=[handler]
    )
    for name in ("httpx", "httpx2", "openai", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
    build_server(settings).run()
