"""What machine this is, and which versions ran."""

import os
import platform
import shutil
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil

from hotsku.bench.report import Machine
from hotsku.bench.servers import running_server
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.ports import Clock
from hotsku.shard.address import Address
from hotsku.strategies.databases.by_url import open_database

_LIBRARIES = ("redis", "hiredis", "uvloop", "psycopg", "pymysql", "sqlalchemy", "msgspec")
# Version numbers as integers, for columns that are read are integers; 100 * (100 * major + minor) + patch.
_VERSION_SQL = {
    "postgresql": "SELECT current_setting('server_version_num')",
    "mariadb": (
        "SELECT 10000 * substring_index(version(), '.', 1) "
        "+ 100 * substring_index(substring_index(version(), '.', 2), '.', -1) "
        "+ substring_index(substring_index(substring_index(version(), '-', 1), '.', 3), '.', -1)"
    ),
}
_SYNCS = 50


async def describe(clock: Clock, folder: Path, urls: dict[str, str]) -> Machine:
    """The machine; what is written goes to `folder`."""
    versions = {name: version(name) for name in _LIBRARIES} | {"sqlite": sqlite3.sqlite_version}
    versions["valkey"] = await _valkey(folder)
    for name, url in urls.items():
        versions[name] = await _database(name, url)
    return Machine(
        cores=os.cpu_count() or 1,
        cpu=_cpu(),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load_before=round(os.getloadavg()[0], 2),
        fsync_ms=_fsync_ms(clock, folder),
        versions=versions,
    )


def commit() -> str:
    """The commit that this code is of, "+" where it was changed since; "unknown" outside a repository."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    where = Path(__file__).parent
    found = subprocess.run(
        [git, "rev-parse", "--short=12", "HEAD"], cwd=where, capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        return "unknown"
    changed = subprocess.run(
        [git, "status", "--porcelain", "--untracked-files=no"], cwd=where, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")


async def _valkey(folder: Path) -> str:
    async with running_server(folder, on_disk=False) as server:
        client = Address(path=str(server.spec.socket)).client()
        try:
            info = await client.info("server")
            return str(info.get("valkey_version") or info["redis_version"])
        finally:
            await client.aclose()


async def _database(name: str, url: str) -> str:
    try:
        database = open_database(url)
        try:
            rows = await database.statements(lambda session: session.rows(_VERSION_SQL[name], {}))
        finally:
            await database.close()
    except (BackendUnavailable, InvalidSettings):
        return "absent"
    number = rows[0][0]
    # PostgreSQL counts 150020 for 15.20, MariaDB is counted 101119 for 10.11.19.
    if name == "postgresql":
        return f"{number // 10_000}.{number % 10_000}"
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _fsync_ms(clock: Clock, folder: Path) -> float:
    """The median time to write 4 KiB and have them on disk."""
    times = []
    with (folder / "sync").open("wb") as file:
        for _ in range(_SYNCS):
            start_ms = clock.monotonic_ms()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(clock.monotonic_ms() - start_ms)
    return round(median(times), 3)
