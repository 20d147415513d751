"""Monitoring: what is written for Prometheus, OpenTelemetry and OpenLineage."""
