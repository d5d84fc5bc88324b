"""Stand-ins for a GPU, so that everything but its speed is tested without one."""
