"""What the event loop runs on: supervised green threads, file calls and the log in threads of their own."""
