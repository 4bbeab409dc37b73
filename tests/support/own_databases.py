"""A database server of a test's own, in a folder and on a port of its own, that the test may stop and start."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.support.databases import Database, Kind

_START_S = 30
_NOT_YET = retry_if_exception_type(SQLAlchemyError)
_DEBIAN_POSTGRESQL = "/usr/lib/postgresql/*/bin"


class OwnServer:
    """A server that answers on loopback. Its methods block."""

    def __init__(self, kind: Kind, command: list[str], home: Path, port: int, user: str | None) -> None:
        self.kind = kind
        self._command = command
        self._home = home
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        name = "postgres" if kind == "postgresql" else "root"
        database = "postgres" if kind == "postgresql" else "test"
        self.database = Database(kind, f"{kind}://{name}@127.0.0.1:{port}/{database}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._home, user=self._user)
        self._answers()

    def kill(self) -> None:
        """kill -9, as a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @retry(retry=_NOT_YET, stop=stop_after_delay(_START_S), wait=wait_fixed(0.1), reraise=True)
    def _answers(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, (self._home / "log").read_text()[-2000:]
        self.database.execute("SELECT 1")


@contextmanager
def own_server(kind: Kind) -> Iterator[OwnServer]:
    """A new server, already started. The test is skipped where its program is not installed."""
    home = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    try:
        server = _postgresql(home) if kind == "postgresql" else _mariadb(home)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _postgresql(home: Path) -> OwnServer:
    found = [*sorted(Path("/").glob(_DEBIAN_POSTGRESQL[1:])), Path(shutil.which("initdb") or "/").parent]
    binaries = next((folder for folder in found if (folder / "initdb").exists()), None)
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    port, user = _free_port(), _not_root(home, "postgres")
    data = home / "data"
    make = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, user=user, cwd=home)
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(home), "-h", "127.0.0.1"]
    return OwnServer("postgresql", command, home, port, user)


def _mariadb(home: Path) -> OwnServer:
    server, make = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if server is None or make is None:
        pytest.skip("no MariaDB server is installed")
    port, user = _free_port(), _not_root(home, "mysql")
    common = ["--no-defaults", f"--datadir={home / 'data'}"]
    options = ["--auth-root-authentication-method=normal", "--skip-name-resolve"]
    subprocess.run([make, *common, *options], check=True, capture_output=True, user=user, cwd=home)
    files = [f"--socket={home / 's'}", f"--pid-file={home / 'pid'}", f"--tmpdir={home}"]
    command = [server, *common, *files, f"--port={port}", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=16M"]
    return OwnServer("mariadb", command, home, port, user)


def _not_root(home: Path, user: str) -> str | None:
    """Database servers refuse to run as root: give the folder to their user."""
    if os.geteuid() != 0:
        return None
    shutil.chown(home, user)
    return user


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
