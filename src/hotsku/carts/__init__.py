"""Carts: several items under one order, all or nothing."""

from hotsku.carts.carts import Carts

__all__ = ["Carts"]
