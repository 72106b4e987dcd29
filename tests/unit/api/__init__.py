"""Unit tests of portlb_app/api."""
