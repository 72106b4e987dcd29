"""Mininet topologies made from the same ``lb.yaml`` the controller reads, and the demo that shows them at work."""
