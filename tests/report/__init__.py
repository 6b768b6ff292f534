"""Tests of chaos.report."""
