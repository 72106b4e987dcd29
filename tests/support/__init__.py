"""What tests of several lanes share; nothing here is a test."""
