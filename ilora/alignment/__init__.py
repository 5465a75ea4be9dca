"""Learning from a reward instead of a label: a classifier as a policy, its answer one label, its reward a number."""
