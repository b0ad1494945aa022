"""FastAPI: one client per application, closed with it; answers whole, and streamed as server-sent events."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from liverouter import LiveRouter


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Follow the rows as long as the application serves."""
    async with LiveRouter() as live:
        app.state.model = live.chat_model()
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/answer")
async def answer(question: str) -> dict[str, str]:
    """Answer whole, and say who did."""
    reply = await app.state.model.ainvoke(question)
    return {"answer": reply.text, "served_by": reply.response_metadata["liverouter"]["model"]}


@app.get("/stream")
async def stream(question: str) -> StreamingResponse:
    """Answer in pieces; a reader who leaves ends the provider's stream."""

    async def events() -> AsyncIterator[str]:
        async for chunk in app.state.model.astream(question):
            if chunk.text:
                yield f"data: {json.dumps(chunk.text)}\n\n"
        yield "event: end\ndata: {}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
