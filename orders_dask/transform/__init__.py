"""Pure Arrow: orders become facts and dimensions, and versions are resolved."""
