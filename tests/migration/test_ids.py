from __future__ import annotations

from nbdtun.migration.ids import PREFIX, SESSION, block_name, nbd_target, new_session, ram_target


def test_a_session_is_unguessable_and_its_targets_contain_it() -> None:
    session, other = new_session(), new_session()
    assert session != other
    assert SESSION.match(session)
    assert session in nbd_target(session)
    assert session in ram_target(session)
    assert nbd_target(session) != ram_target(session)


def test_names_in_qemu_are_short_enough_and_known_for_ours() -> None:
    name = block_name(new_session(), 63)
    assert len(name) <= 31
    assert name.startswith(PREFIX)
