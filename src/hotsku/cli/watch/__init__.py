"""`hotsku watch`: stock, live."""
