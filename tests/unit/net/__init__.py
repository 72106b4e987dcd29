"""Unit tests of portlb_app/net."""
