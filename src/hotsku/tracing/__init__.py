"""OpenTelemetry traces, where the setting `otel` asks for them. Nothing but this and the gateway's files for it knows
OpenTelemetry; it is imported where it is asked for, so that the extra may be absent.
"""
