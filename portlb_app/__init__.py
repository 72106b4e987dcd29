"""portlb: a stateless layer-4 load balancer for Open vSwitch."""

__version__ = "0.1.0"
