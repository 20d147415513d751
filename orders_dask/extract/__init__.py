"""From the source to typed orders: discover, decode."""
