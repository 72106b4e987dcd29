"""Unit tests of portlb_app/store."""
