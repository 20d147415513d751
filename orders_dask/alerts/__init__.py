"""Alerts: tell people, once, when a run date is not all right, and when it is again."""
