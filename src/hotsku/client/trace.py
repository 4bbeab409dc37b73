"""The caller's trace goes along with each request, where the caller has one."""

import sys


def trace_headers() -> dict[str, str]:
    """What names the span that is current to the gateway: `traceparent`, or as `OTEL_PROPAGATORS` says."""
    headers: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:  # else no span can be current
        from opentelemetry.propagate import inject

        inject(headers)
    return headers
