"""Unit tests of portlb_app/cli."""
