"""`hotsku bench`: every rung of the ladder, measured side by side in one run. See docs/performance.md."""
