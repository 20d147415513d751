"""The steps of a load in their order, the tasks that they submit, and the results of a run."""
