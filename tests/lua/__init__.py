"""Tests of the function library on real servers: every reply, the fence, and state machines beside a model."""
