"""Unit tests of portlb_app/backends."""
