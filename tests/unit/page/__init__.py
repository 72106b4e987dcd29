"""Unit tests of portlb_app/page."""
