"""TLS clients that do not come to their handshake: their time has an end, and nobody else waits for it."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.support.folder_processes import eventually
from tests.support.gateway import Gateway, running_gateway
from tests.support.tls import TlsFiles, make_tls_files

_GET = b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@contextmanager
def _serving(folder: Path, files: TlsFiles, deadline_ms: int) -> Iterator[Gateway]:
    environment = {
        "HOTSKU_HTTP_TLS_CERT": str(files.certificate),
        "HOTSKU_HTTP_TLS_KEY": str(files.key),
        "HOTSKU_HTTP_DEADLINE_MS": str(deadline_ms),
    }
    with running_gateway(folder, environment=environment) as running:
        yield running
        done = running.stop()
        assert done.status == 0, done
        assert "Traceback" not in done.err, done.err


def _trusting(files: TlsFiles) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=files.ca)


def _is_served(gateway: Gateway, files: TlsFiles) -> None:
    """A good client is; where the machine stands still in its handshake, it tries again."""

    def answered() -> bool:
        with suppress(httpx.TransportError), gateway.client(verify=_trusting(files)) as http:
            return http.get("/healthz").status_code == 200
        return False

    eventually(answered, "a good client is served")


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_does_not_come(tmp_path: Path, files: TlsFiles, begin: bytes) -> None:
    with _serving(tmp_path, files, 500) as gateway, gateway.connect() as silent:
        silent.send(begin)
        _is_served(gateway, files)
        silent.socket.settimeout(30)  # less than the minute that a loop would give it
        assert silent.ended()
        _is_served(gateway, files)


def test_clients_that_go_away_in_their_handshake(tmp_path: Path, files: TlsFiles) -> None:
    with _serving(tmp_path, files, 500) as gateway:
        for number in range(20):
            connection = gateway.connect()
            connection.send(b"\x16\x03\x01" if number % 2 else b"no TLS at all\r\n\r\n")
            with suppress(OSError):
                connection.reset() if number % 3 else connection.socket.close()
        _is_served(gateway, files)


def test_a_request_that_comes_along_with_the_handshake(tmp_path: Path, files: TlsFiles) -> None:
    """The last flight of the client, and its first request, in one segment."""
    with _serving(tmp_path, files, 60_000) as gateway:
        for _ in range(5):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = _trusting(files).wrap_bio(incoming, outgoing, server_hostname="localhost")
            with gateway.connect() as raw:
                _shake_hands(tls, incoming, outgoing, raw.socket)
                tls.write(_GET)
                raw.send(outgoing.read())
                received = b""
                while b"HTTP/1.1 200" not in received:
                    incoming.write(_received(raw.socket))
                    with suppress(ssl.SSLWantReadError):  # tickets come first
                        received += tls.read(1 << 16)


def _shake_hands(tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, raw: socket.socket) -> None:
    """All but the sending of the last flight."""
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            incoming.write(_received(raw))
        else:
            return


def _received(raw: socket.socket) -> bytes:
    data = raw.recv(1 << 16)
    assert data, "the server hung up"
    return data
