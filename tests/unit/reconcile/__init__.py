"""Unit tests of portlb_app/reconcile."""
