"""`:name` in SQL, as the server drivers want it."""

import re
from functools import lru_cache

_NAME = re.compile(r":([a-z_][a-z0-9_]*)")


@lru_cache(maxsize=256)
def percent_style(sql: str) -> str:
    """The same statement with `%(name)s` in the place of `:name`."""
    return _NAME.sub(r"%(\1)s", sql)
