"""One frozen settings object, and where its values come from.

Sources, strongest first: arguments, the environment (`HOTSKU_*`), the file named by `--config` or `HOTSKU_CONFIG`,
`./hotsku.toml`, defaults. Both files are TOML with the settings as top-level keys.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from hotsku.errors import InvalidSettings
from hotsku.ledger_url import SQLITE, check_ledger_url
from hotsku.settings_values import (
    ALLOWED,
    ENV_PREFIX,
    MISSING_EXTRA,
    SECRET,
    check_broker_url,
    check_flag,
    check_number,
    check_otel,
    check_shard_url,
    default_ledger_url,
    shown,
    shown_url,
)

CONFIG_VARIABLE = "HOTSKU_CONFIG"
LOCAL_FILE = Path("hotsku.toml")

# How alike a misspelt name and a setting are, as difflib has it.
_ALIKE = 0.85

_ReceiptKeys = Annotated[str, Field(pattern=r"^(@.+|[A-Za-z0-9_-]{1,16}:[^,]+(,[A-Za-z0-9_-]{1,16}:[^,]+)*)$")]
_ApiKeys = Annotated[str, Field(pattern=r"^(@.+|(sell|admin|read):[^,]+(,(sell|admin|read):[^,]+)*)$")]


class Settings(BaseSettings):
    """Everything that is configured: what the constructor is given, and defaults. `load_settings` asks all sources.

    Attributes:
        shard_url: the Valkey or Redis servers, or `embedded:FOLDER` for one of our own.
        ledger_url: the SQL database; by default in the embedded folder.
        broker_url: the message queue; `streams` keeps its topics on the shard.
        namespace: prefix of keys, queues and topics.
        durability: `durable` acknowledges what is on disk, `fast` may forget the last second of a crash.
        shard_timeout_ms: how long a call to a shard waits for its reply.
        replica_acks: so many replicas must have a sale before it is acknowledged; by default, with `durable`, all that
            its shard has.
        quarantine_ms: how long the units of a partition wait whose loss may have taken sales along.
        relay_max_events: events of a partition that trigger the relay by count.
        relay_interval_ms: milliseconds after which the relay sends what waits.
        receipt_keys: keys that sign receipts.
        api_keys: keys that the HTTP gateway accepts; elsewhere than on loopback they have at least 16 characters.
        http_max_in_flight: orders that a server process has under way at once.
        http_max_waiting: requests that may wait until others are done; those that come on top are refused.
        http_deadline_ms: milliseconds after which a request is answered, whatever has become of it.
        http_rate_limit: requests a second of one client in each server process; 0: no limit. By default none on
            loopback, 5,000 elsewhere.
        http_tls_cert, http_tls_key: PEM files; with both the gateway speaks HTTPS.
        otel: whether spans are told to OpenTelemetry; where they go is in the `OTEL_*` variables.

    Raises:
        InvalidSettings: one line that names the setting, where it came from, and what is allowed.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    shard_url: Annotated[str, AfterValidator(check_shard_url)] = "embedded:./.hotsku"
    ledger_url: Annotated[str, AfterValidator(check_ledger_url)] = Field(default_factory=default_ledger_url)
    broker_url: Annotated[str, AfterValidator(check_broker_url)] = "streams"
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,16}$")] = "hs"
    durability: Literal["durable", "fast"] = "durable"
    shard_timeout_ms: Annotated[int, BeforeValidator(check_number), Field(ge=100, le=60_000)] = 3000
    replica_acks: Annotated[int, BeforeValidator(check_number), Field(ge=0, le=5)] | None = None
    quarantine_ms: Annotated[int, BeforeValidator(check_number), Field(ge=60_000, le=86_400_000)] = 600_000
    relay_max_events: Annotated[int, BeforeValidator(check_number), Field(ge=1, le=5000)] = 500
    relay_interval_ms: Annotated[int, BeforeValidator(check_number), Field(ge=10, le=60_000)] = 1000
    receipt_keys: Annotated[_ReceiptKeys | None, Field(repr=False)] = None
    api_keys: Annotated[_ApiKeys | None, Field(repr=False)] = None
    http_max_in_flight: Annotated[int, BeforeValidator(check_number), Field(ge=1, le=1_000_000)] = 4096
    http_max_waiting: Annotated[int, BeforeValidator(check_number), Field(ge=0, le=1_000_000)] = 4096
    http_deadline_ms: Annotated[int, BeforeValidator(check_number), Field(ge=100, le=600_000)] = 10_000
    http_rate_limit: Annotated[int, BeforeValidator(check_number), Field(ge=0, le=10_000_000)] | None = None
    http_tls_cert: Path | None = None
    http_tls_key: Path | None = None
    otel: Annotated[bool, BeforeValidator(check_flag), AfterValidator(check_otel)] = False

    def __init__(self, _origins: Mapping[str, str] | None = None, **values: object) -> None:
        try:
            super().__init__(**values)  # type: ignore[arg-type]  # checked by the model itself
        except ValidationError as error:
            raise InvalidSettings(_explained(error, _origins or {})) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor is given; `load_settings` merges, so that errors can say where a value is from."""
        return (init_settings,)

    @property
    def embedded_folder(self) -> Path | None:
        """The folder of the embedded stack, or None where the shard is a server."""
        folder = self.shard_url.removeprefix("embedded:")
        return Path(folder) if folder != self.shard_url else None

    @property
    def ledger_path(self) -> Path | None:
        """The file of a SQLite ledger, or None where the ledger is a server."""
        path = self.ledger_url.removeprefix(SQLITE)
        return Path(path) if path != self.ledger_url else None

    @property
    def stack(self) -> str:
        """The three back ends in one line for people, without passwords."""
        shard, ledger, broker = map(shown_url, (self.shard_url, self.ledger_url, self.broker_url))
        return f"shard {shard}, ledger {ledger}, broker {broker}"


def load_settings(config: Path | None = None, **arguments: object) -> Settings:
    """The settings, from every source.

    Args:
        config: a TOML file (`--config`); where absent, `HOTSKU_CONFIG` may name one.
        arguments: settings by name; None means that it was not given.

    Raises:
        InvalidSettings: one line that names the setting, where it came from, and what is allowed.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for source_values, source_origins in _sources(config, arguments):
        values |= source_values
        origins |= source_origins
    return Settings(_origins=origins, **values)


_Source = tuple[dict[str, object], dict[str, str]]  # values, and where each is from


def _sources(config: Path | None, arguments: Mapping[str, object]) -> list[_Source]:
    """The sources that are there, the weakest first."""
    sources: list[_Source] = []
    if LOCAL_FILE.is_file():
        sources.append(_file(LOCAL_FILE, "in the current folder"))
    if config:
        sources.append(_file(config, "argument --config"))
    elif named := os.environ.get(CONFIG_VARIABLE):
        sources.append(_file(Path(named), f"environment variable {CONFIG_VARIABLE}"))
    _refuse_misspelt(os.environ)
    environment = EnvSettingsSource(Settings)()
    sources.append((environment, {name: f"environment variable {ENV_PREFIX}{name.upper()}" for name in environment}))
    given = {name: value for name, value in arguments.items() if value is not None}
    sources.append((given, {}))
    return sources


def _refuse_misspelt(variables: Iterable[str]) -> None:
    """Refuse a variable that is almost a setting's: what was meant would go unheard, and its default would be used.

    Others are let be: an orchestrator makes variables of its own of a service's name.
    """
    for variable in variables:
        name = variable.upper().removeprefix(ENV_PREFIX).lower()
        if variable.upper() == ENV_PREFIX + name.upper() and name not in ALLOWED:
            meant = get_close_matches(name, ALLOWED, 1, _ALIKE)
            if meant:
                raise InvalidSettings(
                    f"{name} (environment variable {variable}) is not a setting; {meant[0]} is:"
                    f" {ENV_PREFIX}{meant[0].upper()}"
                )


def _file(path: Path, named_by: str) -> _Source:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"config ({named_by}) must be a readable file, not {path}: {error.strerror}") from None
    except ValueError as error:  # TOML and UTF-8 errors both
        raise InvalidSettings(f"config ({named_by}) must be a TOML file; {path}: {_one_line(error)}") from None
    return values, dict.fromkeys(values, f"file {path}")


def _explained(error: ValidationError, origins: Mapping[str, str]) -> str:
    """One line for the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    origin = origins.get(name, "argument")
    if first["type"] == "extra_forbidden":
        return f"{name} ({origin}) is not a setting; allowed: {', '.join(ALLOWED)}"
    value = first["input"]
    if first["type"] == MISSING_EXTRA:
        return f"{name} ({origin}) must be false: {first['msg']}"
    it_is = "" if name in SECRET else f", not {shown(value)}"
    return f"{name} ({origin}) must be {ALLOWED[name]}{it_is}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
