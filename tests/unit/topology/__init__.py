"""Unit tests of portlb_app/topology."""
