"""The command lines: flags, messages, exit codes."""
