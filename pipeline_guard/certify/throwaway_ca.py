"""A certificate authority for one certification: made in memory, trusted by the agent's process alone."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_guard.errors import UserError


@dataclass(frozen=True)
class Tls:
    """``server`` is the simulator's side of TLS; ``ca`` is what the agent's process has to trust, in PEM."""

    server: ssl.SSLContext
    ca: bytes


def throwaway_tls(hosts: Iterable[str]) -> Tls:
    """Return a new authority and a certificate of it for ``hosts``.  Raises UserError when trustme is missing."""
    try:
        import trustme
    except ImportError:
        raise UserError(
            "certifying an agent needs the trustme library: pip install 'pipeline-guard[certify]'"
        ) from None
    authority = trustme.CA(organization_name="pipeline-guard, for one certification")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    return Tls(context, authority.cert_pem.bytes())
