"""How many examples a costly property gets: all of them in CI, a third for whoever waits for the tests."""

import os


def examples(thorough: int) -> int:
    return thorough if os.environ.get("CI") else thorough // 3
