"""
The two twistd plugins, `nbdtun-source` and `nbdtun-dest`.

    options     the options that both have
    service     the service that twistd runs: a failure to start is one line
    source_tap  `twistd nbdtun-source`
    dest_tap    `twistd nbdtun-dest`
"""
