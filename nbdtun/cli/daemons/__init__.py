"""
The subcommands of the two daemons.

From the ground up:

    serve    the subcommands `dest` and `source`
    config   the subcommand `config`, for their configuration files
    reload   the subcommand `reload`
"""
