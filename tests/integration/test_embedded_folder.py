"""The embedded folder: real processes that share it, are killed with -9, and leave nothing behind."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from tests.support.folder_processes import Folder, embedded_folder, eventually


@pytest.fixture
def folder() -> Iterator[Folder]:
    with embedded_folder() as made:
        yield made


def client(answer: dict[str, str | int | None]) -> "Redis":
    return Redis(unix_socket_path=str(answer["socket"]), decode_responses=True, socket_timeout=60)


def kill_server(answer: dict[str, str | int | None]) -> None:
    assert isinstance(answer["pid"], int)
    os.kill(answer["pid"], signal.SIGKILL)


def test_processes_that_start_at_the_same_moment_share_one_server(folder: Folder) -> None:
    users = [folder.user() for _ in range(4)]
    answers = [user.answer() for user in users]
    assert answers[0]["run_id"]
    assert len({answer["run_id"] for answer in answers}) == 1
    assert [user.leave() for user in users] == [0] * 4
    eventually(folder.ended, "worker and server end after the last user")
    assert folder.flushes() == 1


def test_a_killed_server_is_back_with_its_data(folder: Folder) -> None:
    user = folder.user()
    before = user.answer()
    with client(before) as redis:
        redis.set("kept", "1")
    kill_server(before)
    eventually(lambda: folder.taken("server"), "a new server")
    after = user.ask()
    assert after["run_id"] not in (None, before["run_id"])
    with client(after) as redis:
        assert redis.get("kept") == "1"


def test_without_its_lock_files_a_folder_gets_no_second_server(folder: Folder) -> None:
    """Somebody tidied up. Two servers on one file would each sell all that is in it."""
    first = folder.user()
    before = first.answer()
    for name in ("server", "users", "worker", "start"):
        (folder.path / f"{name}.lock").unlink()
    late = folder.user().answer()
    assert "another Valkey server still uses" in str(late["error"])
    with client(before) as redis:
        assert redis.info("server")["run_id"] == before["run_id"]


def test_users_who_ask_at_once_find_the_same_new_server(folder: Folder) -> None:
    users = [folder.user(), folder.user()]
    before = [user.answer() for user in users]
    kill_server(before[0])
    after = [user.ask() for user in users]
    assert after[0]["run_id"] == after[1]["run_id"] != before[0]["run_id"]


def test_a_killed_worker_is_respawned(folder: Folder) -> None:
    user = folder.user()
    user.answer()
    killed = folder.kill_worker()
    assert folder.worker_pid != killed


def test_a_killed_user_is_not_waited_for(folder: Folder) -> None:
    user = folder.user()
    user.answer()
    user.kill()
    eventually(folder.ended, "worker and server end")
    assert folder.flushes() == 1


def test_everybody_killed_at_once_starts_again_with_the_data(folder: Folder) -> None:
    user = folder.user()
    answer = user.answer()
    with client(answer) as redis:
        redis.set("kept", "1")
    user.kill()
    folder.kill_worker()
    kill_server(answer)
    with client(folder.user().answer()) as redis:
        assert redis.get("kept") == "1"


def test_a_killed_user_and_worker_leave_a_server_that_the_next_ones_take_over(folder: Folder) -> None:
    user = folder.user()
    before = user.answer()
    user.kill()
    folder.kill_worker()
    second = folder.user()
    assert second.answer()["run_id"] == before["run_id"]
    assert second.leave() == 0
    eventually(folder.ended, "worker and server end")


def test_a_user_who_arrives_during_the_stop_waits_and_starts_afresh(folder: Folder) -> None:
    first = folder.user()
    before = first.answer()
    hold = folder.path / "hold"
    hold.touch()
    first.leave()
    eventually(folder.flushes, "the worker is alone")
    late = folder.user()
    hold.unlink()
    after = late.answer()
    assert after["run_id"] not in (None, before["run_id"])
    with client(after) as redis:
        assert redis.get("flushed") == "1"


def test_a_user_who_arrives_in_the_linger_keeps_server_and_worker(folder: Folder) -> None:
    first = folder.user(linger="20")
    before = first.answer()
    worker = folder.worker_pid
    first.leave()
    second = folder.user(linger="20")
    assert second.answer()["run_id"] == before["run_id"]
    assert folder.worker_pid == worker
    assert folder.flushes() == 0


def test_without_a_worker_the_last_user_stops_the_server(folder: Folder) -> None:
    first, second = folder.user(linger="none"), folder.user(linger="none")
    assert first.answer()["run_id"] == second.answer()["run_id"]
    first.leave()
    assert folder.taken("server")
    second.leave()
    assert folder.ended()


def test_a_path_that_is_too_long_for_a_socket() -> None:
    with embedded_folder("long-" * 40) as folder:
        users = [folder.user(), folder.user()]
        before = [user.answer() for user in users]
        socket = Path(str(before[0]["socket"]))
        assert before[0] == before[1]
        assert len(bytes(socket)) < 100
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        kill_server(before[0])
        after = users[0].ask()
        assert after["run_id"] not in (None, before[0]["run_id"])
        assert after["socket"] == before[0]["socket"]
        for user in users:
            user.leave()
        eventually(folder.ended, "worker and server end")
        assert not socket.parent.exists()


def test_a_folder_that_cannot_be_written_is_one_line(folder: Folder) -> None:
    folder.path.write_text("a file")
    answer = folder.user().answer()
    folder.path.unlink()
    assert str(answer["error"]).startswith(
        f"InvalidSettings: shard_url: the folder {folder.path} cannot be used (File "
    )
    assert "\n" not in str(answer["error"])


def test_the_other_durability_is_refused_while_others_are_there(folder: Folder) -> None:
    durable = folder.user()
    assert durable.answer()["run_id"]
    error = str(folder.user("fast").answer()["error"])
    assert error.startswith("OtherDurability: durability must be 'durable', not 'fast'")
    assert durable.ask()["run_id"]


def test_the_other_durability_is_served_once_only_a_lingering_worker_is_left(folder: Folder) -> None:
    durable = folder.user(linger="1")
    before = durable.answer()
    durable.leave()
    after = folder.user("fast").answer()
    assert after["run_id"] not in (None, before["run_id"])
    with client(after) as redis:
        assert redis.config_get("appendfsync") == {"appendfsync": "everysec"}


def _is_deleted(path: Path) -> bool:
    """Delete a folder in which a server may be writing: what it makes meanwhile stands in the way once."""
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def test_a_folder_deleted_in_the_linger_does_not_hurt_its_successor(folder: Folder) -> None:
    first = folder.user(linger="1")
    before = first.answer()
    first.leave()
    eventually(lambda: _is_deleted(folder.path), "the folder can be deleted")
    second = folder.user()
    after = second.answer()
    assert after["run_id"] not in (None, before["run_id"])
    eventually(lambda: not Path(f"/proc/{before['pid']}").exists(), "the deleted folder's server ends")
    assert second.ask()["run_id"] == after["run_id"]
