"""Carts: one decision for all lines. Every change is a compare-and-set of the cart's row."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, insert, or_, select, true, update

from hotsku.domain.cart import CartLine
from hotsku.errors import InvalidRequest
from hotsku.ledger.tables import carts
from hotsku.ports import CartRow

_LINES = msgspec.json.Decoder(list[tuple[str, int]])


def open_cart(connection: Connection, cart: CartRow) -> CartRow:
    """Make the cart, or find the one that is there."""
    known = find_cart(connection, cart.order_id, cart.buyer_id)
    if known is not None:
        return known
    connection.execute(insert(carts).values(_values(cart)))
    return cart


def find_cart(connection: Connection, order_id: str, buyer_id: str) -> CartRow | None:
    """The cart, if any."""
    row = connection.execute(select(carts).where(_is(order_id, buyer_id))).mappings().one_or_none()
    return None if row is None else _cart(row)


def hold_cart(connection: Connection, order_id: str, buyer_id: str, expires_at_ms: int) -> CartRow:
    """All lines of an open cart are held until `expires_at_ms`. Returns the cart as it is then.

    Raises:
        InvalidRequest: there is none.
    """
    return _change(connection, order_id, buyer_id, true(), {"held": True, "expires_at": expires_at_ms})


def decide_cart(
    connection: Connection, order_id: str, buyer_id: str, state: str, payment_ref: str, refusal: str
) -> CartRow:
    """Decide an open cart; one is confirmed only where all of its lines are held, and none for a refusal's sake where
    they are: another call has held them. Returns the cart as it is then.

    Raises:
        InvalidRequest: there is none.
    """
    guard: ColumnElement[bool] = true()
    if state == "confirmed":
        guard = carts.c.held.is_(True)
    elif refusal:
        guard = carts.c.held.is_(False)
    decided = {"state": state, "payment_ref": payment_ref, "refusal": refusal}
    cart = _change(connection, order_id, buyer_id, guard, decided)
    if (cart.state, state, cart.payment_ref) != ("confirmed", "confirmed", "") or not payment_ref:
        return cart
    # Confirmed before without a payment's name: its lines are to hear it.
    unnamed = and_(_is(order_id, buyer_id), carts.c.state == "confirmed", carts.c.payment_ref == "")
    connection.execute(update(carts).where(unnamed).values(payment_ref=payment_ref, finished=False))
    return find_cart(connection, order_id, buyer_id) or cart


def finish_cart(connection: Connection, order_id: str, buyer_id: str, payment_ref: str) -> None:
    """Every line has followed the decision, and has heard `payment_ref`. Of one that was named since, none has."""
    followed = and_(_is(order_id, buyer_id), carts.c.state != "open", carts.c.payment_ref == payment_ref)
    connection.execute(update(carts).where(followed).values(finished=True))


def due_carts(connection: Connection, now_ms: int, limit: int) -> list[CartRow]:
    """Up to `limit` carts that are to be released or finished: open ones past their time, and decided ones."""
    due = or_(carts.c.state != "open", carts.c.expires_at <= now_ms)
    query = select(carts).where(carts.c.finished.is_(False), due).order_by(carts.c.expires_at).limit(limit)
    return [_cart(row) for row in connection.execute(query).mappings()]


def _change(
    connection: Connection, order_id: str, buyer_id: str, guard: ColumnElement[bool], values: Mapping[str, object]
) -> CartRow:
    cart = _is(order_id, buyer_id)
    connection.execute(update(carts).where(cart, carts.c.state == "open", guard).values(values))
    row = find_cart(connection, order_id, buyer_id)
    if row is None:
        raise InvalidRequest("order_id", "that of a cart")
    return row


def _is(order_id: str, buyer_id: str) -> ColumnElement[bool]:
    return and_(carts.c.buyer_id == buyer_id, carts.c.order_id == order_id)


def _values(cart: CartRow) -> dict[str, object]:
    values = {name.removesuffix("_ms"): value for name, value in msgspec.structs.asdict(cart).items()}
    values["lines"] = msgspec.json.encode([(line.sku, line.quantity) for line in cart.lines]).decode()
    return values


def _cart(row: RowMapping) -> CartRow:
    values = {name: row[name.removesuffix("_ms")] for name in CartRow.__struct_fields__}
    values["lines"] = [CartLine(sku, quantity) for sku, quantity in _LINES.decode(row["lines"])]
    return CartRow(**values)
