"""The route that tells what became of an order."""

from functools import partial
from urllib.parse import parse_qsl

from hotsku.domain.identity import check_buyer_id, check_id
from hotsku.engine.inventory import Inventory
from hotsku.errors import InvalidRequest
from hotsku.http.answers import Answer, retry_later
from hotsku.http.hot_routes import Call, Work
from hotsku.http.keys import Role
from hotsku.http.order_answers import shown


class ShowOrder:
    """Tells what became of an order."""

    method = "GET"
    path = "/v1/items/{sku}/orders/{order_id}"
    role = Role.READ
    max_body = 0
    places_orders = False

    def __init__(self, stock: Inventory) -> None:
        self._stock = stock

    def read(self, call: Call) -> Work:
        given = parse_qsl(call.query.decode("latin-1"), keep_blank_values=True)
        for name, _ in given:
            if name != "buyer_id":
                raise InvalidRequest(ascii(name)[1:-1][:64], "left out: the query may have buyer_id")
        if len(given) > 1:
            raise InvalidRequest("buyer_id", "there once")
        sku, order_id = call.places
        buyer_id = check_buyer_id(given[0][1] if given else "")
        return Work(1, partial(self._answer, sku, check_id("order_id", order_id), buyer_id), _unread)

    async def _answer(self, sku: str, order_id: str, buyer_id: str) -> Answer:
        return shown(await self._stock.order(sku, order_id, buyer_id))


def _unread() -> Answer:
    return retry_later(503, "unavailable", "the order could not be read in time; try again")
