"""The simulators need what the checker does not; says so in a sentence where it is missing."""

from __future__ import annotations

from pipeline_guard.errors import UserError


def require_websockets() -> None:
    """Raise UserError when the ``websockets`` library cannot be imported."""
    try:
        import websockets.asyncio.server  # noqa: F401
    except ImportError:
        raise UserError(
            "the simulators need the websockets library (15 or newer): pip install 'pipeline-guard[certify]'"
        ) from None
