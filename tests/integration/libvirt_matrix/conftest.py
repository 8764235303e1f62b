"""Two hosts of libvirt for each test."""

from tests.integration.libvirt_moves.conftest import _libvirt as _libvirt
from tests.integration.libvirt_moves.conftest import bridge as bridge
from tests.integration.libvirt_moves.conftest import ways as ways
