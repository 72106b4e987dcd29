"""Unit tests of portlb_app/southbound."""
