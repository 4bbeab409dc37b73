"""The ceiling: plain ASGI that reads a body and answers a constant, on the server that the gateway runs on."""

import socket
import sys
from typing import Any

import uvicorn

_BODY = b'{"outcome":"accepted","replayed":false,"sku":"a","order_id":"o","buyer_id":"u","quantity":1}'
_START = {
    "type": "http.response.start",
    "status": 201,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())],
}
_END = {"type": "http.response.body", "body": _BODY}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer."""
    await receive()
    await send(_START)
    await send(_END)


if __name__ == "__main__":
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
