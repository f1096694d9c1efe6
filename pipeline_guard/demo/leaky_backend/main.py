"""Web server of a locksmith's phone agent: answers Twilio's webhook and its media stream."""

import json
import logging
import os

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import Response

from call_session import CallSession
from realtime_client import RealtimeClient

logging.basicConfig(level=logging.INFO)
logger = logging.getLogger(__name__)
app = FastAPI()


@app.post("/incoming-call")
async def incoming_call() -> Response:
    host = os.environ["PUBLIC_HOST"]
    twiml = f'<Response><Connect><Stream url="wss://{host}/media-stream"/></Connect></Response>'
    return Response(content=twiml, media_type="application/xml")


@app.websocket("/media-stream")
async def media_stream(websocket: WebSocket) -> None:
    """One phone call: Twilio's messages until the caller hangs up."""
    await websocket.accept()
    client = RealtimeClient(api_key=os.environ["OPENAI_API_KEY"])
    await client.connect()
    session = CallSession(websocket, client)
    try:
        async for text in websocket.iter_text():
            message = json.loads(text)
            if message["event"] == "start":
                await session.start(message["start"]["streamSid"])
            elif message["event"] == "media":
                await session.handle_media(message["media"]["payload"])
            elif message["event"] == "dtmf":
                await session.handle_dtmf(message["dtmf"]["digit"])
            elif message["event"] == "stop":
                break
    except WebSocketDisconnect:
        logger.info("caller hung up")
    finally:
        await session.close()
