"""A campaign of drawn runs: what is tried, by whom, what came of it, and what is kept for the next."""
