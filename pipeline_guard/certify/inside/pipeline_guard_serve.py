"""Serves ``module:app`` of an agent on a port, with the server that the agent's own Python has for it.

    python -m pipeline_guard_serve main:app 8000

ASGI applications get uvicorn or hypercorn, whichever is installed; aiohttp and Flask bring their own server.
``module:make_app()`` calls a factory.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

HOST = "127.0.0.1"


def load(target: str) -> Any:
    """Import the module and return the application that it names."""
    module_name, _, name = target.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in (name.removesuffix("()") or "app").split("."):
        found = getattr(found, part)
    return found() if name.endswith("()") else found


def serve(app: Any, port: int) -> None:
    """Serve an application until the process is told to end."""
    # The class of an application says what it is, also where it was derived from: Quart's is a Flask's neighbour.
    bases = {base.__module__.partition(".")[0] for base in type(app).__mro__}
    if "aiohttp" in bases:
        from aiohttp import web

        web.run_app(app, host=HOST, port=port, print=None)
    elif "flask" in bases and not hasattr(app, "asgi_app"):
        app.run(host=HOST, port=port, threaded=True, debug=False, use_reloader=False)
    else:
        serve_asgi(app, port)


def serve_asgi(app: Any, port: int) -> None:
    """Serve an ASGI application with the first server that is installed."""
    try:
        import uvicorn
    except ImportError:
        pass
    else:
        uvicorn.run(app, host=HOST, port=port)
        return
    try:
        import asyncio

        from hypercorn.asyncio import serve as hypercorn_serve
        from hypercorn.config import Config
    except ImportError:
        pass
    else:
        config = Config()
        config.bind = [f"{HOST}:{port}"]
        asyncio.run(hypercorn_serve(app, config))
        return
    sys.exit("No ASGI server is installed beside the agent (uvicorn or hypercorn). Start it with --command instead.")


if __name__ == "__main__":
    serve(load(sys.argv[1]), int(sys.argv[2]))
