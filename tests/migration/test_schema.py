from __future__ import annotations

from nbdtun.migration.schema import Schema

SCHEMA = Schema(
    [
        {"name": "migrate", "meta-type": "command", "arg-type": "12"},
        {"name": "12", "meta-type": "object", "members": [{"name": "uri", "type": "str"}, {"name": "detach", "type": "bool"}]},
        {"name": "blockdev-add", "meta-type": "command", "arg-type": "20"},
        {
            "name": "20",
            "meta-type": "object",
            "members": [{"name": "driver", "type": "e"}],
            "variants": [{"case": "nbd", "type": "21"}, {"case": "raw", "type": "22"}],
        },
        {"name": "21", "meta-type": "object", "members": [{"name": "reconnect-delay", "type": "int"}]},
        {"name": "22", "meta-type": "object", "members": []},
        {"name": "STOP", "meta-type": "event"},
    ]
)


def test_its_commands() -> None:
    assert SCHEMA.commands() == {"migrate", "blockdev-add"}
    assert repr(SCHEMA) == "<Schema of 7 entries>"


def test_the_arguments_of_a_command() -> None:
    assert SCHEMA.arguments("migrate") == {"uri", "detach"}
    assert SCHEMA.arguments("blockdev-add") == {"driver"}
    assert SCHEMA.arguments("blockdev-add", "nbd") == {"driver", "reconnect-delay"}
    assert SCHEMA.arguments("no-such") == frozenset()
