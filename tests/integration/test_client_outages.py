"""Both clients where the gateway refuses for a while, or its shard is away; and what API keys do."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.gateway import Gateway, running_gateway
from tests.support.http_proxy import running_http_proxy
from tests.support.servers import TestServer
from tests.support.twins import TWINS, twin
from tests.support.workers import until

from hotsku import BackendUnavailable, InvalidRequest, Order, Outcome, OutcomeUnknown, Overloaded

pytestmark = pytest.mark.anyio


@contextmanager
def _gateway(server: TestServer, folder: Path, **settings: str) -> Iterator[Gateway]:
    environment = {
        "HOTSKU_SHARD_URL": server.url,
        "HOTSKU_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "HOTSKU_RELAY_INTERVAL_MS": "20",
        "HOTSKU_RECEIPT_KEYS": "k1:a-secret-of-the-test",
        **{f"HOTSKU_{name.upper()}": value for name, value in settings.items()},
    }
    with running_gateway(folder, environment=environment) as gateway:
        yield gateway


async def test_who_sends_too_much_is_patient(valkey: TestServer, tmp_path: Path) -> None:
    with _gateway(valkey, tmp_path, http_rate_limit="10") as gateway:
        for kind in TWINS:
            async with (
                running_http_proxy(gateway.port) as proxy,
                twin(kind, proxy.url, budget_s=150, attempt_s=60) as stock,
            ):
                await stock("create_item", kind, 100)
                sold = await asyncio.gather(*(stock("deduct", kind, 1, order_id=f"o-{n}") for n in range(50)))
                assert {(each.outcome, each.replayed) for each in sold} == {(Outcome.ACCEPTED, False)}
                assert len(proxy.requests) > 51, "some were refused, and came again"
                async with twin(kind, proxy.url, budget_s=0.9) as hasty:  # less than it is asked to wait
                    heard: list[object] = []
                    while not any(isinstance(each, Overloaded) for each in heard):
                        heard = await asyncio.gather(*(hasty("item", kind) for _ in range(50)), return_exceptions=True)


@pytest.mark.parametrize("kind", TWINS)
async def test_orders_outlast_their_shard(kind: str, valkey: TestServer, tmp_path: Path) -> None:
    """An order of an outage is decided after it, once, whatever its caller heard meanwhile."""
    with _gateway(valkey, tmp_path) as gateway:
        async with twin(kind, gateway.url, budget_s=150) as patient, twin(kind, gateway.url, budget_s=2) as hasty:
            await patient("create_item", "sku", 100)
            await asyncio.to_thread(valkey.kill)
            for method, orders in (("deduct", {"order_id": "o-1"}), ("reserve", {"order_id": "o-2"})):
                with pytest.raises((OutcomeUnknown, BackendUnavailable)):
                    await hasty(method, "sku", 1, **orders)
            (heard,) = await hasty("deduct_many", "sku", [Order("o-3")])
            assert isinstance(heard, OutcomeUnknown | BackendUnavailable)
            waiting = asyncio.gather(
                patient("deduct", "sku", 1, order_id="o-1"), patient("deduct_many", "sku", [Order("o-3"), Order("o-4")])
            )
            await asyncio.to_thread(valkey.start)
            one, many = await waiting
            assert [each.outcome for each in (one, *many)] == [Outcome.ACCEPTED] * 3
            assert (await patient("reserve", "sku", 1, order_id="o-2")).outcome is Outcome.HELD

            async def at_rest() -> bool:
                return bool((await patient("audit", "sku")).at_rest)

            await until(at_rest)
            item = await patient("item", "sku")
            assert (item.sold, item.held, (await patient("audit", "sku")).ok) == (3, 1, True)


async def test_keys(valkey: TestServer, tmp_path: Path) -> None:
    with _gateway(valkey, tmp_path, api_keys="read:r-key,sell:s-key,admin:a-key") as gateway:
        for kind in TWINS:
            async with twin(kind, gateway.url, api_key="a-key") as admin:
                await admin("create_item", kind, 10)
            async with twin(kind, gateway.url, api_key="s-key") as seller:
                assert (await seller("deduct", kind, 1)).outcome is Outcome.ACCEPTED
                with pytest.raises(InvalidRequest, match=r"api_key must be .* role admin"):
                    await seller("create_item", "other", 10)
            for key in ("wrong", None):
                async with twin(kind, gateway.url, api_key=key) as stranger:
                    with pytest.raises(InvalidRequest, match="api_key must be"):
                        await stranger("item", kind)
