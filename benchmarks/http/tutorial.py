"""The tutorial way: FastAPI, an asyncio Redis client, one script call a request."""

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

_SCRIPT = """
local stock = tonumber(redis.call('GET', KEYS[1]))
if stock < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""

client = redis.asyncio.Redis(unix_socket_path=os.environ["SHARD_SOCKET"], max_connections=64)
deduct = client.register_script(_SCRIPT)


class Order(BaseModel):
    """An order."""

    order_id: str
    quantity: int = 1
    buyer_id: str = ""


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Put something on sale."""
    await client.set("stock:a", 1 << 50)
    yield
    await client.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/items/{sku}/deductions", status_code=201)
async def sell(sku: str, order: Order) -> dict[str, str | int]:
    """Sell."""
    left = await deduct(keys=[f"stock:{sku}"], args=[order.quantity])
    if left < 0:
        raise HTTPException(409, "sold out")
    return {"outcome": "accepted", "sku": sku, "order_id": order.order_id, "quantity": order.quantity}


if __name__ == "__main__":
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="error", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
