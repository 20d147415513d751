"""From a loaded run date to what readers see, and back; diff of two loads."""
