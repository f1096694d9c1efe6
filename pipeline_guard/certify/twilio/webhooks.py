"""The HTTP requests that Twilio makes for a call: the webhook for TwiML, and the callbacks on what became of things."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from pipeline_guard.certify.twilio.errors import CallFailed
from pipeline_guard.certify.twilio.signature import HEADER, sign
from pipeline_guard.certify.twilio.twiml import Verb

if TYPE_CHECKING:
    from pipeline_guard.certify.twilio.media_stream import Identity
    from pipeline_guard.certify.twilio_simulator import TwilioCall

# Twilio waits 15 s for a webhook (error 11200 after that).
_TIMEOUT = 15.0


@dataclass(frozen=True)
class Answer:
    """One request and its answer; ``status`` is 0 when there was none, and ``body`` says why."""

    url: str
    form: Mapping[str, str]
    status: int
    body: str


class Webhooks:
    """Makes the requests of one call, signed when the call has an ``auth_token``; ``answers`` holds them in order."""

    def __init__(self, call: TwilioCall) -> None:
        self._call = call
        self.answers: list[Answer] = []
        self.recording: Verb | None = None

    async def fetch_twiml(self, url: str) -> Answer:
        """Ask for TwiML.  Raises CallFailed when there is no answer, or an error (11200)."""
        answer = await self._post(url, {"CallStatus": "ringing", "Direction": "inbound"})
        if answer.status == 0 or answer.status >= 400:
            what = f"HTTP {answer.status}" if answer.status else answer.body
            raise CallFailed(f"11200: the webhook {answer.url} failed: {what}")
        return answer

    async def stream_event(self, verb: Verb, identity: Identity, event: str, error: str = "") -> None:
        """Tell the stream's ``statusCallback``, when it has one."""
        callback = verb.attributes.get("statusCallback")
        if not callback:
            return
        form = {"StreamSid": identity.stream_sid, "StreamEvent": event, "StreamName": verb.attributes.get("name", "")}
        await self._post(callback, {**form, **({"StreamError": error} if error else {})})

    async def call_ended(self) -> None:
        """Tell the call's status callback and the recording's."""
        duration = str(round(self._call.now))
        if self._call.status_callback:
            await self._post(self._call.status_callback, {"CallStatus": "completed", "CallDuration": duration})
        callback = self.recording.attributes.get("recordingStatusCallback") if self.recording else None
        if callback:
            sid = self._call.call_sid.replace("CA", "RE", 1)
            url = f"https://api.twilio.com/2010-04-01/Accounts/{self._call.account_sid}/Recordings/{sid}"
            recorded = {"RecordingSid": sid, "RecordingUrl": url, "RecordingStatus": "completed"}
            await self._post(callback, {**recorded, "RecordingDuration": duration, "RecordingChannels": "1"})

    async def _post(self, url: str, form: Mapping[str, str]) -> Answer:
        call = self._call
        public = urljoin(f"https://{call.public_host}/", urlsplit(url)._replace(scheme="", netloc="").geturl())
        fields = {
            "AccountSid": call.account_sid,
            "CallSid": call.call_sid,
            "From": call.call_from,
            "To": call.call_to,
            "ApiVersion": "2010-04-01",
            **form,
        }
        assert call.webhook is not None
        local = urlsplit(call.webhook)
        target = urlsplit(public)._replace(scheme=local.scheme, netloc=local.netloc).geturl()
        headers = {"Host": call.public_host or "", "X-Forwarded-Proto": "https", "User-Agent": "TwilioProxy/1.1"}
        if call.auth_token:
            headers[HEADER] = sign(call.auth_token, public, fields)
        call.record.add(call.now, "twilio", 0, "note", "request", {"url": public, **form})
        status, body = await asyncio.to_thread(_request, target, fields, headers)
        answer = Answer(public, fields, status, body)
        call.record.add(call.now, "twilio", 0, "note", "answer", {"url": public, "status": status})
        self.answers.append(answer)
        return answer


def _request(url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, str]:
    data = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data, dict(headers), method="POST")
    # A proxy of the environment has no business between a simulator and the agent beside it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return 0, str(error)


async def ask_webhook(url: str, public_host: str, auth_token: str, account_sid: str) -> tuple[int, str]:
    """Ask a webhook outside of any call, as for a call that begins; return status (0 without answer) and body."""
    public = urlsplit(url)._replace(scheme="https", netloc=public_host).geturl()
    form = {
        "AccountSid": account_sid,
        "CallSid": "CA00000000000000000000000000000000",
        "From": "+972501234567",
        "To": "+97231234567",
        "CallStatus": "ringing",
        "Direction": "inbound",
        "ApiVersion": "2010-04-01",
    }
    headers = {"Host": public_host, "X-Forwarded-Proto": "https", HEADER: sign(auth_token, public, form)}
    return await asyncio.to_thread(_request, url, form, headers)
