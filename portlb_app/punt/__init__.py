"""Packets that switches hand to the controller: one handler a reason, fragments, the connection log."""
