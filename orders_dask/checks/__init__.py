"""Checks of a verified load before readers see it: are its figures plausible? docs/checks.md."""
