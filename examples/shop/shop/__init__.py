"""A shop whose orders are packed beside the pages: by celery, with redis between them."""

import os
import time

import redis
from flask import Flask, abort, request
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)
store = redis.from_url(
    os.environ.get("REDIS_URL", "redis://localhost:6379/0"), decode_responses=True
)


@app.get("/up")
def up() -> str:
    """Tell that the shop is open, and redis there."""
    store.ping()
    return "open"


@app.get("/")
def index() -> str:
    """Show how many orders there are, and how many of them are packed."""
    return f"shop: {store.get('packed') or 0} of {store.get('orders') or 0} packed"


@app.post("/orders")
def order() -> tuple[dict[str, int], int]:
    """Take an order, which a worker packs."""
    from shop.jobs import pack

    number = store.incr("orders")
    store.hset(f"order:{number}", mapping={"at": time.time(), "done": 0, "runs": 0})
    pack.delay(number, float(request.args.get("seconds", 0.05)))
    return {"order": number}, 201


@app.get("/orders/<int:number>")
def shown(number: int) -> dict[str, str]:
    """Show an order: how far it is, and how often packing it was begun."""
    return store.hgetall(f"order:{number}") or abort(404)


@sock.route("/orders/<int:number>/progress")
def progress(ws, number: int) -> None:
    """Tell how far an order is until it is packed, in percent."""
    while True:
        done = store.hget(f"order:{number}", "done") or "0"
        ws.send(done)
        if done == "100":
            return
        time.sleep(0.1)


@app.cli.command()
def cleanup() -> None:
    """Forget the orders that were packed."""
    gone = 0
    for key in store.scan_iter("order:*"):
        if store.hget(key, "done") == "100":
            gone += store.delete(key)
    print(f"{gone} orders are forgotten")
