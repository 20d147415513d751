"""Records to typed orders, rejects and issues."""
