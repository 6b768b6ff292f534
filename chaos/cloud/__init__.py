"""The Cloud: what Ray's autoscaler launches nodes from, and where launch, node and network harm is done."""
