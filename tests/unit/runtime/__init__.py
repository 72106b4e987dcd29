"""Unit tests of portlb_app/runtime."""
