"""The kinds of cluster: `local` (processes of this machine) and `compose` (containers)."""
