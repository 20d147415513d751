"""What an order is: tables, derived schemas, and what a bad value gets."""
