"""How fast this is beside what people would take instead, on the same machine, in the same run: ``make bench``."""
