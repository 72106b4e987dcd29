"""`portlb agent`: one file a sub-command."""
