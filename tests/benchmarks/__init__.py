"""Speed and memory of runs, beside other tools on the same machine: ``make bench``."""
