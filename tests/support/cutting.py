"""Ends a caller's work at any of its calls to a back end, as a crash does; and lets things happen between two calls."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Crash(BaseException):
    """The process is gone: nobody handles it."""


class Scissors:
    """Counts the calls to the back ends behind it.

    Args:
        after: the call after which the caller is gone: it was carried out, and nobody heard the answer. 0: never.
    """

    def __init__(self, after: int = 0) -> None:
        self.calls: list[str] = []
        self._after = after

    def on(self, back_end: T) -> T:
        """The back end, watched."""
        return cast(T, _Watched(back_end, self._count))

    async def _count(self, name: str, call: Awaitable[object]) -> object:
        if self._after and len(self.calls) >= self._after:
            if inspect.iscoroutine(call):
                call.close()
            raise Crash(name)
        self.calls.append(name)
        answer = await call
        if len(self.calls) == self._after:
            raise Crash(name)
        return answer


class Between(Generic[T]):
    """Does something once, after a call of a name has been answered, and before its caller goes on.

    Args:
        times: the how manieth call.
    """

    def __init__(self, name: str, do: Callable[[], Awaitable[object]], times: int = 1) -> None:
        self.done = False
        self._name = name
        self._do = do
        self._left = times

    def on(self, back_end: T) -> T:
        """The back end, watched."""
        return cast(T, _Watched(back_end, self._call))

    async def _call(self, name: str, call: Awaitable[object]) -> object:
        answer = await call
        self._left -= name == self._name
        if not self._left and not self.done:
            self.done = True
            await self._do()
        return answer


class _Watched:
    def __init__(self, back_end: object, call: Callable[[str, Awaitable[object]], Awaitable[object]]) -> None:
        self._back_end = back_end
        self._call = call

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._back_end, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def watched(*args: object, **kwargs: object) -> object:
            return await self._call(name, found(*args, **kwargs))

        return watched
