"""The commands, a module each. Importing a module registers its command."""
