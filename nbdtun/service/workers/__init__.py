"""
Workers: processes of a daemon, or of a migration, that have its channels, so that these take more than one core. Everything else stays in
the main process.

From the ground up; a module imports only what stands above it here:

    commands  what the main process and a worker ask each other
    hosted    a channel of a worker's, as the main process sees it
    worker    a worker, as the main process sees it
    lines     the workers' log, which the main process writes
    crew      all workers: which of them gets a channel, and what happens where one ends
    hired     the workers of one migration
    keeper    the worker itself: its channels

A worker is of the same host, user and unit, and ends with the main process.
"""
