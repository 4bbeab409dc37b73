"""The keys that sign receipts: those of the settings, or those of the embedded folder, which makes its own."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from hotsku.errors import InvalidSettings
from hotsku.receipts import Keys, read_keys
from hotsku.settings import Settings

_FILE = "receipt.keys"
_SECRET_BYTES = 32


def receipt_keys(settings: Settings) -> Keys:
    """The keys, the one that signs first. None at all where the shard is at a URL and the settings have none.

    Raises:
        InvalidSettings: a file with keys cannot be read or made, or does not have keys.
    """
    if settings.receipt_keys is not None:
        return read_keys(settings.receipt_keys)
    if settings.embedded_folder is None:
        return {}
    path = settings.embedded_folder / _FILE
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise InvalidSettings(f"receipt_keys: {path} cannot be made ({error.strerror})") from None
    return read_keys(f"@{path}")


def _make(path: Path) -> None:
    """Make the file with a new key, at once and whole. Where another process was first, its file stays."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"k1:{secrets.token_urlsafe(_SECRET_BYTES)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
        _sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
