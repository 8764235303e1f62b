"""
Metrics of a daemon or of a migration, for Prometheus, over HTTP.

It reads what the other rooms count, when it is asked. None of them knows it; without ``--metrics`` it is not even imported.

    families   metric families, made of values
    tunnel     one end of a tunnel
    arrivals   the migrations that have ended, and those under way
    before     the same of the programs before this one, of a daemon whose program was replaced
    departure  one migration at its source
    host       the release, the certificates, and the process
    health     whether a daemon serves
    site       the pages: /metrics, /healthz, /readyz
    service    listens, and serves them

``nbdtun.rules.yml`` beside it has alerts for Prometheus.
"""
