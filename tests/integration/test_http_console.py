"""The web console in a real browser, on a real server that wants API keys."""

from collections.abc import Iterator

import httpx
import pytest
from tests.support.browser import Browser, has_browser, open_browser
from tests.support.folder_processes import embedded_folder, eventually
from tests.support.gateway import Gateway, running_gateway

_KEYS = {"HOTSKU_API_KEYS": "read:r-key,sell:s-key,admin:a-key", "HOTSKU_RELAY_INTERVAL_MS": "20"}
_CHOSEN = ".item[aria-pressed=true]"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent, environment=_KEYS) as running:
        yield running
        assert running.stop().status == 0


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client(headers={"X-API-Key": "a-key"}) as client:
        for body in ({"sku": "sneaker", "total": 1_000, "partitions": 4}, {"sku": "a:b+c@d=e", "total": 10}):
            assert client.post("/v1/items", json=body).status_code == 201
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not has_browser():
        pytest.skip("optional: no chromium and chromedriver on PATH")
    with open_browser() as opened:
        yield opened


def figure(browser: Browser, sku: str, name: str) -> str:
    return browser.text(f'.item[data-key="{sku}"] b[data-figure="{name}"]')


def bucket_units(browser: Browser) -> list[int]:
    shown = browser.run("return [...document.querySelectorAll('.bucket span:last-child')].map((e) => e.textContent)")
    assert isinstance(shown, list)
    return [int(text.replace(",", "")) for text in shown]


def test_the_page_is_open_and_has_its_policy(gateway: Gateway) -> None:
    with gateway.client() as stranger:
        answer = stranger.get("/console")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert stranger.get("/v1/items").status_code == 401


def test_it_asks_for_a_key_and_keeps_it_nowhere(gateway: Gateway, http: httpx.Client, browser: Browser) -> None:
    browser.open(f"{gateway.url}/console")
    eventually(lambda: browser.text("#link") == "needs an API key", "it says that it needs a key")
    assert browser.text("#items") == ""
    browser.type_into("#key", "x-key\n")
    eventually(lambda: browser.text("#link") == "needs an API key", "a wrong key is none")
    browser.type_into("#key", "r-key\n")
    eventually(lambda: browser.text("#link") == "live", "the key opens it")
    kept = "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    assert "r-key" not in str(browser.run(kept))
    assert browser.run("return document.querySelector('#key').value") == ""
    browser.open(f"{gateway.url}/console")
    eventually(lambda: browser.text("#link") == "needs an API key", "a new page has no key")


def test_it_shows_a_sale_as_it_goes(gateway: Gateway, http: httpx.Client, browser: Browser) -> None:
    browser.open(f"{gateway.url}/console")
    browser.type_into("#key", "r-key\n")
    eventually(lambda: browser.text(f"{_CHOSEN} .sku") == "a:b+c@d=e", "the first item is chosen")
    browser.click('.item[data-key="sneaker"]')
    eventually(lambda: browser.text("#registry-title") == "Partitions of sneaker", "another one is")
    assert figure(browser, "sneaker", "available") == "1,000"
    orders = [{"order_id": f"o-{n}"} for n in range(300)]
    counts = http.post("/v1/items/sneaker/deductions:batch", json={"orders": orders}).json()["counts"]
    assert counts == {"accepted": 300}
    for number in range(50):
        body = {"order_id": f"h-{number}", "ttl_s": 600}
        assert http.post("/v1/items/sneaker/reservations", json=body).status_code == 201
    eventually(lambda: figure(browser, "sneaker", "sold") == "300", "it shows what was sold")
    eventually(lambda: figure(browser, "sneaker", "held") == "50", "it shows what is held")
    assert figure(browser, "sneaker", "available") == "650"
    sold = "return parseFloat(document.querySelector('.item[data-key=\"sneaker\"] i.sold').style.width)"
    assert browser.run(sold) == 30
    assert browser.run("return document.querySelectorAll('.partition .bucket.active').length") == 4
    parts = http.get("/v1/items/sneaker/partitions").json()["partitions"]
    units = [part[f"left_{name}"] for part in parts for name in "ab"]
    assert sum(units) == 650 - http.get("/v1/items/sneaker").json()["pool"]
    eventually(lambda: bucket_units(browser) == units, "it shows each bucket")
    eventually(lambda: browser.text("#audit").startswith("audit: holds"), "the audit is green")
    assert browser.complaints() == []  # the policy refused nothing
