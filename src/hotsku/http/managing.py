"""What management routes share: what a query may have, how a body is read, and how they answer."""

from typing import TypeVar

from fastapi import Request, Response, params
from msgspec import Struct
from pydantic import BeforeValidator

from hotsku.errors import InvalidRequest
from hotsku.http.answers import JSON, Answer, encode
from hotsku.http.bodies import BUYER_WORDS, ID_WORDS
from hotsku.http.strict_json import Body

T = TypeVar("T", bound=Struct)


def _digits(value: str) -> str:
    # The framework would read 1.0, 1_0 and blanks around it as an integer, too.
    if not (value.isascii() and value.isdigit()):
        raise ValueError
    return value


# What integers of a query are written in.
DIGITS = BeforeValidator(_digits)

MAX_PAGE = 1000
# Seconds: some thirty years.
MAX_AGE_S = 1_000_000_000

# What the names of a query may be.
QUERY_WORDS = {
    "limit": f"an integer from 1 to {MAX_PAGE}",
    "older_than_s": f"an integer from 0 to {MAX_AGE_S}",
    "after": BUYER_WORDS,
    "sku": ID_WORDS,
    "buyer_id": BUYER_WORDS,
}


def only(*names: str) -> params.Depends:
    """The query may have these names, each once."""

    def check(request: Request) -> None:
        given = [name for name, _ in request.query_params.multi_items()]
        for name in given:
            if name not in names:
                raise InvalidRequest(ascii(name)[1:-1][:64], "left out: the query has no such name")
            if given.count(name) > 1:
                raise InvalidRequest(name, "there once")

    return params.Depends(check)


async def read(body: Body[T], request: Request) -> T:
    """The request's body; the gateway has bounded it. Raises `InvalidRequest`."""
    return body.read(await request.body())


def told(value: object, status: int = 200) -> Response:
    """A struct as an answer."""
    return Response(encode(value), status, media_type=JSON.decode())


def response(answer: Answer) -> Response:
    """An answer as the framework has it."""
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, headers | {"content-type": answer.media.decode()})
