"""Unit tests of portlb_app/punt."""
