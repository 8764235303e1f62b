"""
The pre-flight: what can be known of a migration before anything is done for it.

It looks and changes nothing. What it looks at is what a migration looks at too before its first step, by the same functions, so that the
two cannot disagree; here each trouble becomes a :class:`~nbdtun.migration.finding.Finding`, and the looking goes on.
"""
