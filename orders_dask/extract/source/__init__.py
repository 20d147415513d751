"""Source: the objects of a dump, their listing, and their compression."""
