"""Fixtures of tests that look at a sale on its way."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.sale import Sale, going_sale
from tests.support.servers import TestServer


@pytest.fixture
async def going(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Sale]:
    async with going_sale(module_valkey, tmp_path) as sale:
        assert (await sale.audit()).ok
        yield sale


@pytest.fixture
async def still(going: Sale) -> Sale:
    """The same at rest."""
    await going.apply()
    report = await going.audit()
    assert report.ok
    assert report.at_rest
    return going
