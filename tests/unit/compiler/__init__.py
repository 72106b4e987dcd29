"""Unit tests of portlb_app/compiler."""
