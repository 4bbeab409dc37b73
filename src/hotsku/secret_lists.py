"""Settings that are lists of secrets: `A,B`, or `@FILE` with the same, or one a line."""

from pathlib import Path

from hotsku.errors import InvalidSettings
from hotsku.settings_values import ALLOWED, with_variable


def read_secrets(setting: str, value: str) -> list[str]:
    """The secrets in the value of a setting, at least one.

    Args:
        setting: its name, for the error.

    Raises:
        InvalidSettings: the file cannot be read, or is empty.
    """
    text = _read(setting, value[1:]) if value.startswith("@") else value
    secrets = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    if not secrets:
        raise InvalidSettings(f"{with_variable(setting)} must be {ALLOWED[setting]}; {value[1:]} has no key")
    return secrets


def _read(setting: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        it_is = f"{path} cannot be read: {why}"
        raise InvalidSettings(f"{with_variable(setting)} must be {ALLOWED[setting]}; {it_is}") from None
