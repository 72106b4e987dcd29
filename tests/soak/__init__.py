"""Long proofs: ``python -m tests.soak.NAME`` prints figures and what it promises; the exit code is 1 if that fails.

``make soak`` runs them one after the other; docs/testing.md lists them. CI runs a short form of each, in
tests/ovs/test_soak.py and tests/net/test_soak.py.
"""
