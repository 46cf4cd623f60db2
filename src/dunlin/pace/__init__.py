"""How fast: sizes and rates, the token bucket, the timetable of rates, retries, what a machine and its load allow.

    sizes        what people write for sizes, rates, durations and ages, and the reverse
    bucket       the one limit on bytes per second of a machine, shared by its processes and threads
    schedule     which limit holds at which time of the day and week
    retry        the one retry policy
    concurrency  how many threads a mover should use
    gate         how many requests a service bears
    machine      processors and memory of this machine or container, and its class
    load         the machine's load, as gauges
    throttle     how many workers a busy machine bears
    duty         a share of the processors
    memory       a limit on resident memory
    window       how many directories are listed at a time, and how many names they hold
    monitor      the limits of the window, moved by how much of them is used

Import the module that is needed: this package imports none of them.
"""
