"""Host agents: the redirect protocol on tc/eBPF, for programs that know nothing of it (docs/agents.md)."""
