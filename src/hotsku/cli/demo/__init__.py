"""`hotsku demo`: a flash sale that proves itself."""
