"""The function library: the Lua files of `functions/`, put together as they are."""

from importlib.resources import files

import redis.asyncio
from redis.exceptions import ResponseError

from hotsku.errors import InvalidSettings

NAME = "hotsku"
_SHARED = ("lib.lua", "records.lua")


def source() -> str:
    """The library's source: what the functions share, then every operation's file."""
    folder = files("hotsku.shard").joinpath("functions")
    scripts = {file.name for file in folder.iterdir() if file.name.endswith(".lua")}
    return "\n".join(
        folder.joinpath(name).read_text("utf-8") for name in [*_SHARED, *sorted(scripts.difference(_SHARED))]
    )


async def load_where_absent(client: redis.asyncio.Redis) -> None:
    """Load the library if the shard has none: loading it again would clear every fence.

    Raises:
        InvalidSettings: the shard has another version of it; upgrading is an explicit step (`hotsku migrate`).
    """
    if await _loaded(client) is None:
        try:
            await client.function_load(source())
        except ResponseError:  # another process was quicker; what it loaded is looked at below
            if await _loaded(client) is None:
                raise
    if not await is_current(client):
        raise InvalidSettings(
            "shard_url: the shard has another version of the hotsku function library; "
            "stop the sale and run `hotsku migrate` to replace it"
        )


async def is_current(client: redis.asyncio.Redis) -> bool:
    """Whether the shard has this version of the library."""
    return await _loaded(client) == source()


async def replace(client: redis.asyncio.Redis) -> None:
    """Load this version of the library over any other. Every partition is fenced until its restart is proven."""
    await client.function_load(source(), replace=True)


async def _loaded(client: redis.asyncio.Redis) -> str | None:
    libraries: list[list[object]] = await client.function_list(NAME, withcode=True)
    if not libraries:
        return None
    entry = [part.decode() if isinstance(part, bytes) else part for part in libraries[0]]
    return str(entry[entry.index("library_code") + 1])
