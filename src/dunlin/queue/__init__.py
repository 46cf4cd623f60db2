"""Where work waits: tasks with leases, over one small protocol with three engines."""
