"""The example business: a locksmith's lead (service, city, confirmation), in Hebrew.

The lead is fed by two sources only: Realtime's transcription of the caller, and the functions that the model calls.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

INSTRUCTIONS = """\
אתה נציג טלפוני של חברת מנעולנים. דבר עברית, קצר וברור, שאלה אחת בכל פעם.
סדר השיחה: ברך ושאל איזה שירות דרוש; אחר כך שאל באיזו עיר; אחר כך חזור על הפרטים ובקש אישור.
כל פרט שנאמר, שמור בפונקציה save_lead. אל תשאל שוב על פרט שכבר נאמר. אחרי אישור, הודה וקרא לפונקציה end_call.
אם המתקשר מבקש אדם, קרא לפונקציה transfer_call."""

_TEXT = {"type": "string"}
_NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "save_lead",
        "description": "Save what the caller said; leave out what is not known yet.",
        "parameters": {
            "type": "object",
            "properties": {"service": _TEXT, "city": _TEXT, "confirmed": {"type": "boolean"}},
            "additionalProperties": False,
        },
    },
    {"type": "function", "name": "end_call", "description": "Hang up after the goodbye.", "parameters": _NOTHING},
    {"type": "function", "name": "transfer_call", "description": "Put the caller through.", "parameters": _NOTHING},
]
# What the transcription is recognised by; the model's own understanding comes through save_lead.
_SERVICES = ("התקנת מנעול חכם", "החלפת צילינדר", "פריצת דלת", "פריצת רכב", "שכפול מפתח")
_CITIES = ("תל אביב", "ירושלים", "חיפה", "באר שבע", "רמת גן", "פתח תקווה", "ראשון לציון", "נתניה")
_YES = ("כן", "נכון", "מאשר", "בסדר")


@dataclass(slots=True)
class Lead:
    """What the caller wants, as far as it is known."""

    service: str | None = None
    city: str | None = None
    confirmed: bool = False

    def hear(self, transcript: str) -> None:
        """Take in Realtime's transcription of a turn."""
        asked = self.service is not None and self.city is not None
        self.service = self.service or next((s for s in _SERVICES if s in transcript), None)
        self.city = self.city or next((c for c in _CITIES if c in transcript), None)
        words = transcript.replace(",", " ").replace(".", " ").split()
        self.confirmed = self.confirmed or (asked and any(word in _YES for word in words))

    def call_tool(self, name: str, arguments: str) -> dict[str, Any]:
        """Carry out a function call of the model and return its result; a bad call is told to the model."""
        try:
            given = json.loads(arguments or "{}")
        except ValueError:
            return {"error": "the arguments are not JSON"}
        if not isinstance(given, dict):
            return {"error": "the arguments are not an object"}
        if name == "save_lead":
            self.service = str(given.get("service") or self.service or "") or None
            self.city = str(given.get("city") or self.city or "") or None
            self.confirmed = self.confirmed or given.get("confirmed") is True
            return self.as_dict()
        return {"ok": True} if name in ("end_call", "transfer_call") else {"error": f"there is no function {name}"}

    def as_dict(self) -> dict[str, Any]:
        """Return the lead as plain data."""
        return {"service": self.service, "city": self.city, "confirmed": self.confirmed}
