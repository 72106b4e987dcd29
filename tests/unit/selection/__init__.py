"""Unit tests of portlb_app/selection."""
