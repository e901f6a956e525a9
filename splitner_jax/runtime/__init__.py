"""What a process stands on: devices, compiling, memory, files, errors."""
