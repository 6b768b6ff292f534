"""Tests of `chaos.cloud.core`, in virtual time."""
