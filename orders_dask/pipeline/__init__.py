"""The steps in their order, the tasks they submit, and the load that they make."""
