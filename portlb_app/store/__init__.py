"""Where the configuration is kept."""
