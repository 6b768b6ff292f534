"""Kubernetes as Ray's KubeRay provider and KubeRay's operator see it: a model of its API, scheduler and kubelets."""
