"""TLS clients that do not come to their handshake: their time has an end, their number too, and nobody else waits."""

import resource
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.support.commands import processes
from tests.support.folder_processes import eventually
from tests.support.gateway import Gateway, Raw, post, running_gateway
from tests.support.tls import TlsFiles, make_tls_files

_GET = b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n"
# What a server sets apart, of the files that it may have open, for others than its clients.
_OTHER_FILES = 256
# For what comes at once, and otherwise with the end of a patient deadline.
_AT_ONCE_S = 30


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@contextmanager
def _serving(folder: Path, files: TlsFiles, deadline_ms: int, most_connections: int | None = None) -> Iterator[Gateway]:
    most_files = _OTHER_FILES + most_connections if most_connections else None
    environment = {
        "HOTSKU_HTTP_TLS_CERT": str(files.certificate),
        "HOTSKU_HTTP_TLS_KEY": str(files.key),
        "HOTSKU_HTTP_DEADLINE_MS": str(deadline_ms),
    }
    with running_gateway(folder, environment=environment, most_files=most_files) as running:
        yield running
        done = running.stop()
        assert done.status == 0, done
        assert "Traceback" not in done.err, done.err


def _trusting(files: TlsFiles) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=files.ca)


@contextmanager
def _secured(connection: Raw, files: TlsFiles) -> Iterator[Raw]:
    """The connection, with its handshake behind it."""
    with _trusting(files).wrap_socket(connection.socket, server_hostname="localhost") as secured:
        yield Raw(secured)


def _is_served(gateway: Gateway, files: TlsFiles) -> None:
    """A good client is; where the machine stands still in its handshake, it tries again."""

    def answered() -> bool:
        with suppress(httpx.TransportError), gateway.client(verify=_trusting(files)) as http:
            return http.get("/healthz").status_code == 200
        return False

    eventually(answered, "a good client is served")


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_does_not_come(tmp_path: Path, files: TlsFiles, begin: bytes) -> None:
    with _serving(tmp_path, files, 500, most_connections=2) as gateway:
        for _ in range(3):
            with gateway.connect() as silent:
                silent.send(begin)
                _is_served(gateway, files)
                silent.socket.settimeout(_AT_ONCE_S)  # less than the minute that a loop would give it
                assert silent.ended()
        _is_served(gateway, files)


def test_clients_that_go_away_in_their_handshake(tmp_path: Path, files: TlsFiles) -> None:
    with _serving(tmp_path, files, 500, most_connections=4) as gateway:
        for number in range(20):
            connection = gateway.connect()
            with suppress(OSError):  # it is one too many
                connection.send(b"\x16\x03\x01" if number % 2 else b"no TLS at all\r\n\r\n")
                connection.reset() if number % 3 else connection.socket.close()
        _is_served(gateway, files)


def test_handshakes_count_as_open_connections(tmp_path: Path, files: TlsFiles) -> None:
    with ExitStack() as exits:
        gateway = exits.enter_context(_serving(tmp_path, files, 60_000, most_connections=4))
        served = exits.enter_context(gateway.client(verify=_trusting(files)))
        assert served.get("/healthz").status_code == 200
        silent = [exits.enter_context(gateway.connect()) for _ in range(3)]
        with gateway.connect() as one_more:
            one_more.socket.settimeout(_AT_ONCE_S)
            assert one_more.ended()
        assert 'hotsku_http_dropped_total{reason="too many connections"} 1.0' in served.get("/metrics").text
        eventually(
            lambda: 'hotsku_http_level{of="connections"} 4.0' in served.get("/metrics").text, "all of them are told"
        )
        silent[0].socket.close()
        _is_served(gateway, files)
        with _secured(silent[1], files) as late:
            late.send(_GET)
            assert late.answer().status == 200


def test_a_stop_ends_handshakes_and_answers_what_was_begun(tmp_path: Path, files: TlsFiles) -> None:
    request = post("/v1/items", '{"sku": "s", "total": 1}', "content-type: application/json")
    with _serving(tmp_path, files, 60_000) as gateway:
        with gateway.connect() as silent, gateway.connect() as raw, _secured(raw, files) as begun:
            begun.send(request[:-1])
            _is_served(gateway, files)
            gateway.process.send_signal(signal.SIGTERM)
            silent.socket.settimeout(_AT_ONCE_S)
            assert silent.ended()
            begun.send(request[-1:])
            assert begun.answer().status == 201
        gateway.finish()  # another signal would hurry it


def test_a_stop_waits_for_no_handshake(tmp_path: Path, files: TlsFiles) -> None:
    with _serving(tmp_path, files, 60_000) as gateway, gateway.connect() as silent:
        silent.send(b"\x16\x03\x01")
        _is_served(gateway, files)
        begun_s = time.monotonic()
        gateway.stop()
        assert time.monotonic() - begun_s < _AT_ONCE_S


def test_a_shortage_of_file_descriptors_passes(tmp_path: Path, files: TlsFiles) -> None:
    with _serving(tmp_path, files, 60_000) as gateway:
        (server,) = processes("hotsku.http.process", parent=gateway.process.pid)
        soft, hard = resource.prlimit(server, resource.RLIMIT_NOFILE)
        begun_s = time.monotonic()
        resource.prlimit(server, resource.RLIMIT_NOFILE, (3, hard))
        with gateway.connect() as waiting:
            eventually(lambda: gateway.said("no connection can be taken") >= 3, "it tries again and again")
            assert gateway.said("no connection can be taken") <= 1 + time.monotonic() - begun_s, "but not all the time"
            resource.prlimit(server, resource.RLIMIT_NOFILE, (soft, hard))
            with _secured(waiting, files) as served:
                served.send(_GET)
                assert served.answer().status == 200


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
