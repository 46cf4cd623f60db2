"""How fast: sizes and rates, the token bucket, the timetable of rates, retries, adaptive concurrency.

    sizes        what people write for sizes, rates, durations and ages, and the reverse
    bucket       the one limit on bytes per second of a machine, shared by its processes and threads
    schedule     which limit holds at which time of the day and week
    retry        the one retry policy
    concurrency  how many threads a mover should use

Import the module that is needed: this package imports none of them.
"""
