"""What people ask for, a module each: from its settings to its result, through the steps it needs."""
