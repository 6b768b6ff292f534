"""What raychaos finds: bugs planted in Ray's autoscaler, and how many random schedules on the twin find each."""
