"""All operations of the client, without a driver."""

from hotsku.client.cart_operations import CartOperations
from hotsku.client.item_operations import ItemOperations
from hotsku.client.listing_operations import ListingOperations
from hotsku.client.order_operations import OrderOperations


class Operations(OrderOperations, ListingOperations, CartOperations, ItemOperations):
    """Each method checks its arguments and returns the operation."""
