"""The twin: a cluster in virtual time, whose nodes are entries of a model and whose autoscaler is Ray's own code."""
