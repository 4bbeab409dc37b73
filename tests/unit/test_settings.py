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


@pytest.mark.parametrize(("value", "otel"), [(True, True), ("TRUE", True), ("false", False), (False, False)])
def test_flags(value: object, otel: bool) -> None:
    assert load_settings(otel=value).otel is otel


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
        "redis://user:secret@localhost:6379/0",
        "rediss://h?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
        "redis+sentinel://h1:26379,h2/master",
        "redis+sentinel://h/master?sentinel_password=secret",
        "redis+cluster://:secret@h1:6379,h2:6379,[::1]",
        "valkeys+cluster://user:p%40ss@h1",
        "valkey://[::1]:6379/",
    ],
)
def test_shard_urls_that_work(url: str) -> None:
    settings = load_settings(shard_url=url)
    assert settings.shard_url == url
    assert (settings.embedded_folder is None) == (not url.startswith("embedded:"))


@pytest.mark.parametrize("url", ["streams", "amqp://u:secret@h:5672/shop", "kafka://h1,h2:9093", "natss://h1"])
def test_brokers(url: str) -> None:
    settings = load_settings(broker_url=url)
    assert settings.broker_url == url
    assert "secret" not in settings.stack


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/shop",
        "postgres://user:secret@h:5432/shop?sslmode=verify-full&sslrootcert=/ca.pem",
        "postgresql:///shop?host=/run/postgresql",
        "mysql://user:p%40ss@h:3306/shop?ssl_ca=/ca.pem&ssl_verify_identity=true",
        "mariadb://[::1]/shop",
        "mysql:///shop?unix_socket=/run/mysqld.sock",
    ],
)
def test_ledgers_on_servers(url: str) -> None:
    settings = load_settings(ledger_url=url)
    assert settings.ledger_url == url
    assert settings.ledger_path is None
    assert "secret" not in settings.stack
    assert "p%40ss" not in settings.stack


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
        ("shard_url", "redis://host/2"),
        ("shard_url", "redis://h1,h2"),
        ("shard_url", "redis://user@host"),
        ("shard_url", "redis://host?ssl_ca_certs=/ca.pem"),
        ("shard_url", "rediss://host?ssl_check_hostname=no"),
        ("shard_url", "rediss://host?ssl_certfile=/cert.pem"),
        ("shard_url", "redis+sentinel://h1,h2"),
        ("shard_url", "redis+cluster://h1,,h2"),
        ("shard_url", "redis+cluster://h1/1"),
        ("shard_url", "redis+ring://h1"),
        ("shard_url", "redis://host?protocol=3"),
        ("shard_url", "http://host"),
        ("shard_url", 6379),
        ("ledger_url", "sqlite://"),
        ("ledger_url", "sqlite:///"),
        ("ledger_url", "sqlite:///:memory:"),
        ("ledger_url", "sqlite:///x.db?mode=ro"),
        ("ledger_url", "ledger.db"),
        ("ledger_url", "oracle://h/shop"),
        ("ledger_url", "postgresql+psycopg://h/shop"),
        ("ledger_url", "postgresql://h"),
        ("ledger_url", "postgresql://h/"),
        ("ledger_url", "postgresql:///shop"),
        ("ledger_url", "postgresql://h/shop/more"),
        ("ledger_url", "postgresql://h:0/shop"),
        ("ledger_url", "postgresql://h:70000/shop"),
        ("ledger_url", "postgresql://h/shop?sslmode"),
        ("ledger_url", "postgresql://h/shop?sslmode="),
        ("ledger_url", "postgresql://h/shop?ssl_ca=/ca.pem"),
        ("ledger_url", "postgresql://h/shop?sslmode=require&sslmode=disable"),
        ("ledger_url", "mysql://h/shop?sslmode=require"),
        ("ledger_url", "mysql://h/shop?init_command=DROP"),
        ("ledger_url", "mysql://h/shop#x"),
        ("broker_url", "redis://host"),
        ("broker_url", "amqp://"),
        ("broker_url", "nats://h:0"),
        ("shard_timeout_ms", 99),
        ("replica_acks", -1),
        ("quarantine_ms", 59_999),
        ("namespace", ""),
        ("namespace", "a" * 17),
        ("namespace", "HS"),
        ("namespace", "hs\n"),
        ("namespace", "{hs}"),
        ("durability", "Durable"),
        ("otel", 1),
        ("otel", "yes"),
        ("otel", ""),
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


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("HOTSKU_SHRAD_URL", "shard_url"),
        ("HOTSKU_API_KEY", "api_keys"),
        ("hotsku_durabilty", "durability"),
        ("HOTSKU_HTTP_RATELIMIT", "http_rate_limit"),
    ],
)
def test_a_misspelt_variable_is_an_error(variable: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "x")
    name = variable[7:].lower()
    assert refusal() == (
        f"{name} (environment variable {variable}) is not a setting; {meant} is: HOTSKU_{meant.upper()}"
    )


@pytest.mark.parametrize("variable", ["HOTSKU_SERVICE_HOST", "HOTSKU_PORT", "HOTSKU_PORT_8000_TCP_ADDR", "HOTSKU_"])
def test_variables_of_others_are_let_be(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "tcp://10.0.0.1:8000")
    assert load_settings() == Settings()


def test_a_config_that_cannot_be_read(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(Path("none.toml")).startswith("config (argument --config) must be a readable file, not none.toml: ")

    monkeypatch.setenv("HOTSKU_CONFIG", "broken.toml")
    (elsewhere / "broken.toml").write_text("namespace = \n")
    assert refusal().startswith("config (environment variable HOTSKU_CONFIG) must be a TOML file; broken.toml: ")


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in refusal(shard_url="redis://user:hunter2@host:0")
    assert "hunter2" not in refusal(receipt_keys="hunter2")
    assert "hunter2" not in refusal(ledger_url="mysql://user:hunter2@h/shop?ssl_mode=x")
    assert "hunter2" not in refusal(ledger_url="postgresql://h/shop?password=hunter2")
    settings = load_settings(shard_url="redis://user:hunter2@h", receipt_keys="k1:hunter2", api_keys="sell:hunter2")
    assert settings.stack == "shard redis://***@h, ledger sqlite:///./.hotsku/ledger.db, broker streams"
    assert "k1:hunter2" not in repr(settings)
    assert "sell:hunter2" not in repr(settings)
