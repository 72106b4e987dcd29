"""Brings switches to their target and keeps them there: events in, commands out."""
