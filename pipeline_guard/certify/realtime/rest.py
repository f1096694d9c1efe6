"""What the simulated service answers to plain HTTP requests beside the WebSocket, as a function without I/O.

``POST /v1/realtime/client_secrets`` makes a short-lived key as the API does (shapes: the ``openai`` SDK's
``client_secret_create_params`` and ``client_secret_create_response``).  ``GET /v1/models`` lists the session's models.
Everything else of the API is refused, because a live call has no business there: speech recognised, made or thought up
outside the Realtime session is a second path.  The refusal is a 403, which clients do not retry.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_guard.certify.realtime import beta
from pipeline_guard.certify.realtime.events import Ids
from pipeline_guard.certify.realtime.requests import SESSION
from pipeline_guard.certify.realtime.schema import Problem, problem
from pipeline_guard.certify.realtime.session import new_session, updated

REALTIME = "/v1/realtime"
BETA_IS_OFF = Problem(
    "beta_api_shape_disabled",
    "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
)
# Addresses of the beta; clients of today make client secrets instead.
BETA_PATHS = (f"{REALTIME}/sessions", f"{REALTIME}/transcription_sessions")
_MODELS = ("gpt-realtime-2.1", "gpt-realtime")
# Seconds that a client secret is good for unless the request says otherwise (SDK docstring of ``expires_after``).
_SECRET_SECONDS = 600


@dataclass(frozen=True)
class HttpRequest:
    """A request: ``body`` is its beginning, ``size`` the length of all of it in bytes."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    size: int = 0


@dataclass(frozen=True)
class HttpAsked:
    """A request that was answered, at seconds of simulated time."""

    at: float
    method: str
    path: str
    status: int
    size: int
    model: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def answer(
    request: HttpRequest, ids: Ids, api_key: str | None = None, *, tolerate_beta: bool = False
) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON body of the answer; header names of the request are in lower case."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key or (api_key is not None and key != api_key):
        return 401, _error(Problem("invalid_api_key", "Incorrect API key provided."))
    path = request.path.rstrip("/")
    if path == "/v1/models" and request.method == "GET":
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "openai"} for name in _MODELS]
        return 200, {"object": "list", "data": models}
    if path == f"{REALTIME}/client_secrets" and request.method == "POST":
        return _client_secret(request.body, ids)
    if path in BETA_PATHS:
        return _beta_session(request.body, ids) if tolerate_beta else (400, _error(BETA_IS_OFF))
    if not path.startswith("/v1/"):
        return 404, _error(Problem("unknown_url", f"Invalid URL ({request.method} {request.path})"))
    text = f"The simulated service holds Realtime sessions only; {request.method} {path} is outside of them."
    return 403, _error(Problem("not_simulated", text))


def model_asked_for(request: HttpRequest) -> str | None:
    """Return the model that a request names, in JSON or in a form, as far as it stands in what was kept of the body."""
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        _, found, rest = request.body.partition(b'name="model"\r\n\r\n')
        return rest.partition(b"\r\n")[0].decode("utf-8", "replace")[:80] if found else None
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else None


def _client_secret(body: bytes, ids: Ids) -> tuple[int, dict[str, Any]]:
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        return 400, _error(Problem("invalid_json", "We could not parse the JSON body of your request."))
    wanted = asked.get("session") or {"type": "realtime"}
    found = problem(SESSION, wanted, "session")
    if found is not None:
        return 400, _error(found)
    seconds = asked.get("expires_after", {}).get("seconds", _SECRET_SECONDS)
    expires_at = int(time.time()) + int(seconds)
    session = updated(new_session(ids.new("sess"), wanted.get("model", _MODELS[0]), expires_at), wanted)
    return 200, {"value": ids.new("ek"), "expires_at": expires_at, "session": session}


def _beta_session(body: bytes, ids: Ids) -> tuple[int, dict[str, Any]]:
    model = model_asked_for(HttpRequest("", "", {}, body)) or _MODELS[0]
    expires_at = int(time.time()) + 60
    session = beta.session_then(new_session(ids.new("sess"), model, expires_at))
    return 200, {**session, "client_secret": {"value": ids.new("ek"), "expires_at": expires_at}}


def _error(found: Problem) -> dict[str, Any]:
    error = {"message": found.message, "type": "invalid_request_error", "param": found.param, "code": found.code}
    return {"error": error}
