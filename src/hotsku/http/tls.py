"""TLS by settings: both files or neither, and files that work."""

import ssl
from pathlib import Path

from msgspec import Struct

from hotsku.errors import InvalidSettings
from hotsku.settings import Settings
from hotsku.settings_values import with_variable


class Tls(Struct, frozen=True):
    """A certificate with its chain, and its key."""

    cert: Path
    key: Path


def tls_of(settings: Settings) -> Tls | None:
    """What the settings name; None: plain HTTP.

    Raises:
        InvalidSettings: one file is missing, cannot be read, or does not go with the other.
    """
    cert, key = settings.http_tls_cert, settings.http_tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing = with_variable("http_tls_cert" if cert is None else "http_tls_key")
        raise InvalidSettings(f"{missing} must be the path of a PEM file: TLS needs a certificate and its key")
    for setting, path in (("http_tls_cert", cert), ("http_tls_key", key)):
        _see_that_it_can_be_read(setting, path)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except OSError as error:  # also what ssl raises
        why = error.strerror or error.__class__.__name__
        names = f"{with_variable('http_tls_cert')} and {with_variable('http_tls_key')}"
        raise InvalidSettings(f"{names} must be PEM files that go together, not {cert} and {key}: {why}") from None
    return Tls(cert, key)


def _see_that_it_can_be_read(setting: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        name = with_variable(setting)
        raise InvalidSettings(
            f"{name} must be the path of a PEM file; {path} cannot be read: {error.strerror}"
        ) from None
