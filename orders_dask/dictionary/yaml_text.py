"""Write documents as YAML."""

from __future__ import annotations

from typing import Any

import yaml


def to_yaml(document: dict[str, Any]) -> str:
    """Return a document as YAML, its keys in their order, no value by reference."""
    return yaml.dump(
        document, Dumper=_WithoutAliases, sort_keys=False, allow_unicode=True, width=100
    )


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """Return that nothing is an alias: equal lists are written out."""
        return True
