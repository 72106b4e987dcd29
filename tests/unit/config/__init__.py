"""Unit tests of portlb_app/config."""
