"""Where settings come from, what is allowed, and how a bad one is named."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from hotsku.errors import InvalidSettings
from hotsku.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", *Settings.model_fields):
        monkeypatch.delenv(f"HOTSKU_{name.upper()}", raising=False)
    return tmp_path


def refusal(config: Path | None = None, **arguments: object) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(config, **arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.shard_url == "embedded:./.hotsku"
    assert settings.ledger_url == "sqlite:///./.hotsku/ledger.db"
    assert settings.broker_url == "streams"
    assert (settings.namespace, settings.durability) == ("hs", "durable")
    assert (settings.relay_max_events, settings.relay_interval_ms) == (500, 1000)
    assert (settings.receipt_keys, settings.api_keys) == (None, None)
    assert settings.embedded_folder == Path(".hotsku")
    assert settings.ledger_path == Path(".hotsku/ledger.db")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().namespace = "other"


def test_the_strongest_source_wins(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "hotsku.toml").write_text('namespace = "local"\nrelay_interval_ms = 20\ndurability = "fast"\n')
    assert load_settings().namespace == "local"

    named = elsewhere / "named.toml"
    named.write_text('namespace = "named"\nrelay_interval_ms = 30\n')
    monkeypatch.setenv("HOTSKU_CONFIG", str(named))
    assert load_settings().namespace == "named"

    monkeypatch.setenv("HOTSKU_NAMESPACE", "env")
    assert load_settings().namespace == "env"

    settings = load_settings(namespace="arg")
    assert (settings.namespace, settings.relay_interval_ms, settings.durability) == ("arg", 30, "fast")


def test_the_config_argument_is_stronger_than_the_variable(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (elsewhere / f"{name}.toml").write_text(f'namespace = "{name}"\n')
    monkeypatch.setenv("HOTSKU_CONFIG", "one.toml")
    assert load_settings(Path("two.toml")).namespace == "two"


def test_none_is_not_given_and_neither_is_an_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTSKU_NAMESPACE", "")
    assert load_settings(namespace=None).namespace == "hs"


def test_the_constructor_asks_no_other_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTSKU_NAMESPACE", "env")
    assert Settings(relay_max_events=1).namespace == "hs"
    with pytest.raises(InvalidSettings, match=r"^namespace \(argument\) must be"):
        Settings(namespace="NO")


@pytest.mark.parametrize(
    ("arguments", "ledger_url"),
    [
        ({"shard_url": "embedded:/srv/sale"}, "sqlite:////srv/sale/ledger.db"),
        ({"shard_url": "embedded:shop/"}, "sqlite:///shop/ledger.db"),
        ({"shard_url": "redis://localhost"}, "sqlite:///./.hotsku/ledger.db"),
        ({"shard_url": "embedded:/srv/sale", "ledger_url": "sqlite:///other.db"}, "sqlite:///other.db"),
    ],
)
def test_the_ledger_lies_in_the_embedded_folder(arguments: dict[str, object], ledger_url: str) -> None:
    assert load_settings(None, **arguments).ledger_url == ledger_url


@pytest.mark.parametrize(
    "url",
    [
        "embedded:/srv/a folder",
        "unix:///run/valkey.sock",
        "redis://localhost",
        "redis://user:secret@localhost:6379/2",
        "valkey://[::1]:6379/",
    ],
)
def test_shard_urls_that_work(url: str) -> None:
    settings = load_settings(shard_url=url)
    assert settings.shard_url == url
    assert (settings.embedded_folder is None) == (not url.startswith("embedded:"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("shard_url", ""),
        ("shard_url", "embedded:"),
        ("shard_url", "embedded:a\nb"),
        ("shard_url", "embedded:a?b"),
        ("shard_url", "unix://"),
        ("shard_url", "unix://host/path"),
        ("shard_url", "redis://"),
        ("shard_url", "redis://host:0"),
        ("shard_url", "redis://host:70000"),
        ("shard_url", "redis://host/db"),
        ("shard_url", "redis://host?protocol=3"),
        ("shard_url", "http://host"),
        ("shard_url", 6379),
        ("ledger_url", "sqlite://"),
        ("ledger_url", "sqlite:///"),
        ("ledger_url", "sqlite:///:memory:"),
        ("ledger_url", "sqlite:///x.db?mode=ro"),
        ("ledger_url", "ledger.db"),
        ("broker_url", "redis://host"),
        ("namespace", ""),
        ("namespace", "a" * 17),
        ("namespace", "HS"),
        ("namespace", "hs\n"),
        ("namespace", "{hs}"),
        ("durability", "Durable"),
        ("relay_max_events", 0),
        ("relay_max_events", 5001),
        ("relay_max_events", True),
        ("relay_max_events", 5.0),
        ("relay_max_events", "5e2"),
        ("relay_interval_ms", 9),
        ("relay_interval_ms", 60_001),
        ("receipt_keys", "secret"),
        ("receipt_keys", "k1:"),
        ("api_keys", "boss:secret"),
        ("api_keys", "sell:one,"),
    ],
)
def test_values_that_are_not_allowed(setting: str, value: object) -> None:
    assert refusal(None, **{setting: value}).startswith(f"{setting} (argument) must be ")


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("shard_url", "rediss://h"),
        ("shard_url", "redis+sentinel://h:26379/master"),
        ("shard_url", "redis+cluster://h1:6379,h2:6379"),
        ("ledger_url", "postgresql://h/shop"),
        ("ledger_url", "mysql://h/shop"),
        ("broker_url", "amqp://h"),
        ("broker_url", "kafka://h"),
        ("broker_url", "nats://h"),
    ],
)
def test_what_a_later_version_supports(setting: str, url: str) -> None:
    scheme = url.partition("://")[0]
    line = refusal(None, **{setting: url})
    assert line.startswith(f"{setting} (argument): {scheme}:// is not supported by this version; allowed: ")


def test_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTSKU_RELAY_MAX_EVENTS", "many")
    assert refusal() == (
        "relay_max_events (environment variable HOTSKU_RELAY_MAX_EVENTS) must be an integer from 1 to 5000, not 'many'"
    )


def test_an_error_names_the_file(elsewhere: Path) -> None:
    (elsewhere / "hotsku.toml").write_text('durability = "maybe"\n')
    assert refusal() == "durability (file hotsku.toml) must be durable or fast, not 'maybe'"


def test_a_stronger_good_value_covers_a_bad_one(elsewhere: Path) -> None:
    (elsewhere / "hotsku.toml").write_text('durability = "maybe"\n')
    assert load_settings(durability="fast").durability == "fast"


def test_unknown_keys_are_errors(elsewhere: Path) -> None:
    config = elsewhere / "{shop}.toml"
    config.write_text('shard = "x"\n')
    assert refusal(config).startswith(f"shard (file {config}) is not a setting; allowed: shard_url, ")
    assert refusal(shards=2).startswith("shards (argument) is not a setting; allowed: shard_url, ")


def test_a_config_that_cannot_be_read(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(Path("none.toml")).startswith("config (argument --config) must be a readable file, not none.toml: ")

    monkeypatch.setenv("HOTSKU_CONFIG", "broken.toml")
    (elsewhere / "broken.toml").write_text("namespace = \n")
    assert refusal().startswith("config (environment variable HOTSKU_CONFIG) must be a TOML file; broken.toml: ")


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in refusal(shard_url="redis://user:hunter2@host:0")
    assert "hunter2" not in refusal(receipt_keys="hunter2")
    settings = load_settings(shard_url="redis://user:hunter2@h", receipt_keys="k1:hunter2", api_keys="sell:hunter2")
    assert settings.stack == "shard redis://***@h, ledger sqlite:///./.hotsku/ledger.db, broker streams"
    assert "k1:hunter2" not in repr(settings)
    assert "sell:hunter2" not in repr(settings)
