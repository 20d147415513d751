"""The public jobs, a module each: from settings to a result."""
