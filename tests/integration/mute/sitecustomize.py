"""On the path of a destination's daemon, this has libvirt's answer to the handover lost: nothing that it says later comes through."""

from typing import Any

from nbdtun.service.libvirt import destination

FINISH = 306
muted: set[int] = set()


class Mute(destination.Doorkeeper):
    """A gate that lets nothing out once the guest may run."""

    def call(self, message: Any) -> Any:
        """Note the call that lets it run."""
        answer = super().call(message)
        if answer is None and message.procedure == FINISH and not message.body[-1]:
            muted.add(id(self))
        return answer

    def answer(self, message: Any) -> bool:
        """Let it out, or not."""
        return id(self) not in muted and super().answer(message)


destination.Doorkeeper = Mute  # type: ignore[misc]
