"""Twilio's request signatures: HMAC-SHA1 of the URL and the sorted form fields, base64, under the account's token.

Source: Twilio, "Validating signatures from Twilio", and the validator of its Python library.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

HEADER = "X-Twilio-Signature"


def sign(auth_token: str, url: str, form: Mapping[str, str] | None = None) -> str:
    """Return the signature of a request to ``url``, which is the public one (``https://…`` or ``wss://…``)."""
    signed = url + "".join(key + value for key, value in sorted((form or {}).items()))
    digest = hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()
