"""Unit tests of portlb_app/openflow."""
