"""Measurements that need more than one process to measure."""
