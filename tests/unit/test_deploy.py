"""What `deploy/` names is there: settings, commands, metrics, files, services. And its parts fit each other."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.support.documents import ROOT, blocks, prose
from tests.support.metrics import every_family

import hotsku
from hotsku.cli import main as cli
from hotsku.http.metrics import exposed
from hotsku.http.placing import Deduct
from hotsku.settings import Settings, load_settings

Document = dict[str, Any]

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.name != ".env")
_VARIABLE = re.compile(r"\$\{([A-Z_]+)[^}]*\}")


def documents(path: Path) -> list[Document]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `make-env.sh` writes."""
    script = shutil.copy(DEPLOY / "make-env.sh", tmp_path_factory.mktemp("deploy"))
    subprocess.run(["sh", script], check=True, capture_output=True)
    env = Path(script).with_name(".env")
    assert env.stat().st_mode & 0o077 == 0
    return dict(line.split("=", 1) for line in env.read_text("ascii").splitlines())


@pytest.fixture(scope="module")
def compose(secrets: dict[str, str]) -> Document:
    """compose.yaml with the secrets filled in."""
    text = _VARIABLE.sub(lambda found: secrets[found[1]], (DEPLOY / "compose.yaml").read_text("utf-8"))
    return cast(Document, yaml.safe_load(text))


@pytest.fixture(scope="module")
def kubernetes() -> list[Document]:
    """Every object of the base, and the kustomization of the example."""
    base = DEPLOY / "kubernetes" / "base"
    (kustomization,) = documents(base / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == sorted(
        path.name for path in base.iterdir() if path.name != "kustomization.yaml"
    )
    return [each for name in kustomization["resources"] for each in documents(base / name)]


def test_make_env_keeps_what_is_there(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "make-env.sh", tmp_path)
    (tmp_path / ".env").write_text("MINE=1\n")
    subprocess.run(["sh", script], check=True, capture_output=True)
    assert (tmp_path / ".env").read_text("ascii") == "MINE=1\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_files_are_well_formed(path: Path) -> None:
    if path.suffix in (".yaml", ".yml"):
        assert all(isinstance(document, dict) for document in documents(path))
    elif path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".sh":
        subprocess.run(["bash", "-n", path], check=True)
        # The database's image runs in a shell of its own what it may execute; this one needs a function of its shell.
        assert bool(path.stat().st_mode & 0o100) == (path.parent.name != "mysql")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_variable_is_a_setting(path: Path) -> None:
    named = {name.lower() for name in re.findall(r"\bHOTSKU_([A-Z_]+)\b", path.read_text("utf-8"))}
    assert named <= {*Settings.model_fields, "config"}


def test_settings_take_what_compose_gives(compose: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    services = {name: service for name, service in compose["services"].items() if _ours(service)}
    assert set(services) == {"gateway", "worker", "migrate"}
    for service in services.values():
        _takes(service["environment"], monkeypatch)


def test_settings_take_what_kubernetes_gives(kubernetes: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = documents(DEPLOY / "kubernetes" / "example" / "kustomization.yaml")
    maps = {each["metadata"]["name"]: each["data"] for each in kubernetes if each["kind"] == "ConfigMap"}
    given = {s["name"]: dict(line.split("=", 1) for line in s["literals"]) for s in example["secretGenerator"]}
    for container in _containers(kubernetes):
        environment: dict[str, str] = {}
        for source in container["envFrom"]:
            environment |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
            environment |= given[source["secretRef"]["name"]] if "secretRef" in source else {}
        _takes(environment, monkeypatch)
        assert ("HOTSKU_API_KEYS" in environment) >= ("serve" in container["args"])


def test_commands_are_known(compose: Document, kubernetes: list[Document], capsys: pytest.CaptureFixture[str]) -> None:
    (started,) = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    commands: list[list[str]] = [json.loads(started)]
    commands += [service["command"] for service in compose["services"].values() if _ours(service)]
    commands += [container["args"] for container in _containers(kubernetes)]
    commands += _commands((DEPLOY / "README.md").read_text("utf-8"))
    assert len(commands) > 10
    for name, *words in commands:
        assert cli.run([name, "--help"]) == 0, name
        shown = capsys.readouterr().out
        assert [word for word in words if word.startswith("--") and word not in shown] == [], name


def test_readme_names_what_is_there() -> None:
    text = (DEPLOY / "README.md").read_text("utf-8")
    for name in re.findall(r"`([\w.*/-]+\.(?:yaml|yml|conf|acl|sh|sql|json)|[\w-]+/|Dockerfile)`", prose(text)):
        assert list(DEPLOY.rglob(Path(name).name)) or list(DEPLOY.glob(name)), name
    assert not [line for line in text.splitlines() if len(line) > 122 and not line.startswith(("|", "- "))]


def test_images_are_pinned(compose: Document, kubernetes: list[Document]) -> None:
    images = {service["image"] for service in compose["services"].values()}
    images |= {container["image"] for container in _containers(kubernetes)}
    images |= set(re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    for image in images:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+(-[a-z-]+)?", image), image
    assert f"hotsku:{hotsku.__version__}" in images


def test_compose_fits(compose: Document, secrets: dict[str, str]) -> None:
    services, text = compose["services"], (DEPLOY / "compose.yaml").read_text("utf-8")
    assert set(_VARIABLE.findall(text)) == set(secrets)
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        assert set(service["networks"]) <= set(compose["networks"])
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], volume
    (subnet,) = compose["networks"]["backend"]["ipam"]["config"]
    nodes = [services[f"valkey-{n}"]["networks"]["backend"]["ipv4_address"] for n in range(1, 7)]
    assert all(ip_address(node) in ip_network(subnet["subnet"]) for node in nodes)
    assert services["valkey-form"]["command"][2:] == [f"{node}:6379" for node in nodes]
    for name in ("gateway", "worker", "migrate"):
        hosts = services[name]["environment"]["HOTSKU_SHARD_URL"].rpartition("@")[2]
        assert hosts == ",".join(f"{node}:6379" for node in nodes[:3])


def test_kubernetes_fits(kubernetes: list[Document]) -> None:
    named = {(each["kind"], each["metadata"]["name"]): each for each in kubernetes}
    (base,) = documents(DEPLOY / "kubernetes" / "base" / "kustomization.yaml")
    # The name that the network policies select is put on everything there.
    (label,) = base["labels"]
    assert label["includeSelectors"]
    components = set()
    for (kind, name), each in named.items():
        if kind in ("Deployment", "Job"):
            template = each["spec"]["template"]
            components.add(template["metadata"]["labels"]["app.kubernetes.io/component"])
            assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in named
            assert template["spec"]["securityContext"]["runAsNonRoot"], name
        if kind == "HorizontalPodAutoscaler":
            assert ("Deployment", each["spec"]["scaleTargetRef"]["name"]) in named
    for each in named.values():
        selector = each["spec"].get("selector") or each["spec"].get("podSelector") if "spec" in each else None
        if selector:
            chosen = selector.get("matchLabels", selector).get("app.kubernetes.io/component")
            assert chosen is None or chosen in components
    service, deployment = named["Service", "hotsku-gateway"], named["Deployment", "hotsku-gateway"]
    (port,), (container,) = service["spec"]["ports"], deployment["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports[port["targetPort"]] == 8000
    for container in _containers(kubernetes):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    _, text = exposed(every_family(), "")
    labels: dict[str, set[str]] = {"up": {"job", "instance"}}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, {"job", "instance"}).update(sample.labels)
    queries = list(_queries())
    assert len(queries) > 25
    for query in queries:
        bare = re.sub(r'"[^"]*"', '""', query)
        for name, matchers in re.findall(r"\b(hotsku_\w+|up)\b(?:\{([^}]*)\})?", bare):
            assert name in labels, query
            assert set(re.findall(r"(\w+)\s*=", matchers)) <= labels[name], query
        known = set[str]().union(*labels.values())
        for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", bare):
            assert set(re.findall(r"\w+", grouped)) <= known, query
        for route in re.findall(r'route="([^"]*)"', query):
            assert route == Deduct.path


def _queries() -> Iterator[str]:
    (alerts,) = documents(DEPLOY / "prometheus" / "alerts.yml")
    for group in alerts["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "hotsku.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def _takes(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        load_settings()


def _ours(service: Document) -> bool:
    return str(service["image"]).startswith("hotsku:")


def _containers(objects: list[Document]) -> list[Document]:
    return [
        c
        for each in objects
        if "template" in each.get("spec", {})
        for c in each["spec"]["template"]["spec"]["containers"]
    ]


def _commands(text: str) -> list[list[str]]:
    """The `hotsku` commands of the page: also within another command line, as `docker compose exec`."""
    lines = [line.split(" #")[0] for block in blocks(text, "sh") for line in block.splitlines()]
    words = [shlex.split(line) for line in lines]
    return [line[line.index("hotsku") + 1 :] for line in words if "hotsku" in line]
