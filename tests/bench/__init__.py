"""Benchmarks: they measure and print, and judge nothing."""
