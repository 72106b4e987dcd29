"""Unit tests of portlb_app/agent."""
