"""Tests of raychaos; they mirror the packages."""
