"""Mininet topologies made from the same ``lb.yaml`` the controller reads, and the demo that shows them at work."""

import importlib
import logging

# Once imported, Mininet makes every logger that is made later one of its class, which is silent below its own level.
_class = logging.getLoggerClass()
importlib.import_module("mininet.log")
logging.setLoggerClass(_class)
