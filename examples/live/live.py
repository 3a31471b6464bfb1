"""Prices that change while one looks: a page, a WebSocket, and a lifespan in each worker."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, WebSocket


def price(usual: float) -> float:
    """Return the price of now."""
    return round(usual * (1 + math.sin(time.time()) / 10), 3)


@contextlib.asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[dict[str, dict[str, float]]]:
    """Keep the prices moving as long as the worker lives."""
    prices = {"tea": price(3), "coffee": price(4)}

    async def move() -> None:
        while True:
            await asyncio.sleep(0.2)
            prices.update(tea=price(3), coffee=price(4))

    moving = asyncio.create_task(move())
    yield {"prices": prices}
    moving.cancel()


app = FastAPI(title="live", lifespan=life)


@app.get("/up")
async def up() -> str:
    """Tell that it is up."""
    return "up"


@app.get("/")
async def index(request: Request) -> dict[str, object]:
    """Show the prices of now."""
    return {"live": request.state.prices}


@app.websocket("/watch")
async def watch(ws: WebSocket) -> None:
    """Tell the prices as they change."""
    await ws.accept()
    while True:
        await ws.send_json(ws.state.prices)
        await asyncio.sleep(0.2)
