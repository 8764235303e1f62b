"""
The two twistd plugins, `nbdtun-source` and `nbdtun-dest`.

    options     the shared options, as options of twistd
    service     the service that twistd runs; a failure to start is one line
    source_tap  `twistd nbdtun-source`
    dest_tap    `twistd nbdtun-dest`
"""
