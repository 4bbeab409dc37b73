"""The routes that tell of the server itself: does it live, can it sell, its metrics, the console."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI, Request, Response

from hotsku.http import openapi
from hotsku.http.console import console_page
from hotsku.http.managing import only, told
from hotsku.http.pages import Alive, Ready

Metrics = Callable[[str], Awaitable[tuple[str, bytes]]]
Readiness = Callable[[], Awaitable[Mapping[str, str]]]


def health_routes(app: FastAPI, metrics: Metrics, readiness: Readiness) -> None:
    """Add them.

    Args:
        metrics: for an Accept header, the content type and the text of the metrics.
        readiness: each back end's name, and "ok" or what is wrong with it.
    """

    @app.get("/healthz", summary="Does it live?", dependencies=[only()], openapi_extra=openapi.answers(Alive))
    async def healthz() -> Response:
        return told(Alive())

    @app.get("/readyz", summary="Can it sell?", dependencies=[only()], openapi_extra=openapi.readies())
    async def readyz() -> Response:
        back_ends = dict(await readiness())
        ready = all(state == "ok" for state in back_ends.values())
        return told(Ready(ready, back_ends), 200 if ready else 503)

    @app.get("/metrics", summary="For Prometheus", dependencies=[only()], openapi_extra=openapi.measures())
    async def metrics_(request: Request) -> Response:
        media, text = await metrics(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media})

    page, headers = console_page()

    @app.get("/console", summary="The web console", dependencies=[only()], openapi_extra=openapi.shows_a_page())
    async def console() -> Response:
        return Response(page, headers=headers)
